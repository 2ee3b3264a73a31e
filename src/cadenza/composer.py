"""Composer: a trained model that composes; the one object behind the command line and the Python API."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from cadenza.candidates import Candidate, Queue, Standards
from cadenza.character import parse_mood
from cadenza.context import UNTOLD
from cadenza.errors import InputError
from cadenza.events import NoteEvents
from cadenza.export import write_score
from cadenza.files import write_atomic
from cadenza.leaning import Leaning
from cadenza.likeness import likeness
from cadenza.model_folder import ModelFolder, bundled_model
from cadenza.options import ComposeOptions
from cadenza.originality import Originality
from cadenza.repertoire import Repertoire
from cadenza.runtime import GraphModel
from cadenza.sampling import SamplingOptions, generate
from cadenza.score import Score
from cadenza.statistics import describe
from cadenza.tasks import USES, Task, task_of
from cadenza.version import __version__
from cadenza.workers import in_processes, team

PIECES_AT_ONCE = 16  # at most, that a process hands over together; 32 fill no more of the places
KEEPING_NOTES = ("humanise", "orchestrate")  # the uses that play a user's notes, and add none
DRAFT_SECONDS = 0.15  # between looks at what is written of a piece
BARS_WORTH_A_PROCESS = 400  # about where two processes draw level with one, their start included


@dataclass(frozen=True)
class Composition:
    """A composed score and all that is needed to compose it again."""

    score: Score
    sidecar: dict[str, Any]

    def save(self, path: str | Path) -> None:
        """Write the score in the format of the suffix."""
        write_score(self.score, path)

    def save_all(self, folder: Path, name: str) -> list[Path]:
        """Write NAME.mid, the piano roll NAME.svg, the sheet music NAME.musicxml and the sidecar NAME.json; returns the
        paths."""
        *paths, sidecar = [folder / f"{name}{suffix}" for suffix in (".mid", ".svg", ".musicxml", ".json")]
        for path in paths:
            write_score(self.score, path)
        write_atomic(sidecar, json.dumps(self.sidecar, indent=1) + "\n")
        return [*paths, sidecar]


Music = Score | str | Path
OnDraft = Callable[[int, Score], None]  # told a piece's number, from 1 on, and what of it is written by now


@dataclass(frozen=True)
class Order:
    """Pieces to be composed side by side; all that it takes beside the model."""

    numbers: range  # counted from 0
    seed: int
    options: ComposeOptions
    sampling: SamplingOptions
    use: str | None  # what the music is for (see `tasks`)
    file: str | None  # the music's file
    task: Task

    def divided(self, workers: int) -> list[Order]:
        """The same for so many processes."""
        parts = workers * -(-len(self.numbers) // (workers * PIECES_AT_ONCE))
        size = -(-len(self.numbers) // parts)
        return [
            replace(self, numbers=self.numbers[at : at + size]) for at in range(0, len(self.numbers), size)
        ]


class Composer:
    """A trained model, ready to compose; same options and seed, same bytes."""

    def __init__(self, folder: ModelFolder, precision: str | None = None) -> None:
        self.folder = folder
        self.representation = folder.representation
        self.precision = precision or folder.precisions[0]
        self.graph: GraphModel = folder.graph(self.precision)

    @classmethod
    def from_pretrained(cls, path: str | Path | None = None, precision: str | None = None) -> Composer:
        """Open a model folder; None opens the bundled model. precision: "int8" or "fp32"; None takes
        the one that suits the model.
        """
        return cls(ModelFolder.open(path if path is not None else bundled_model()), precision)

    def compose(self, *, options: ComposeOptions | None = None, **changes: Any) -> Composition:
        """Compose one piece; keyword arguments are those of ComposeOptions and the music of `compose_many`."""
        music = {use: changes.pop(use) for use in USES if use in changes}
        options = replace(options or ComposeOptions(), **changes)
        return next(self.compose_many(options=replace(options, num=1), **music))

    def compose_many(
        self,
        *,
        prompt: Music | None = None,
        infill: Music | None = None,
        vary: Music | None = None,
        humanise: Music | None = None,
        orchestrate: Music | None = None,
        options: ComposeOptions | None = None,
        on_events: Callable[[int], None] | None = None,
        on_draft: OnDraft | None = None,
        workers: int = 1,
        **changes: Any,
    ) -> Iterator[Composition]:
        """Compose `num` pieces, side by side where there is room, and yield them as soon as they are ready, or, where several
        processes compose, some at a time.

        prompt, infill, vary, humanise, orchestrate: music of the user, of which one may be given (see `tasks`): to go
        on from, its bars first in the result; to fill a gap in, of bars `fill_bars` and instruments `tracks`; to vary
        by `amount`; to play with loudness and timing; to play on other instruments.
        on_events: called with the number of events drawn so far. on_draft: called several times a second with the
        number of each piece that is being written and its score so far, where one process composes new pieces or
        continuations; a piece that is drawn anew begins again. workers: processes that compose, where there
        is enough to do for several; 0 takes one for each core. However many processes there are, the pieces are the same.
        A script that asks for several is imported by each of them, and needs `if __name__ == "__main__":`.
        Options and music are checked at once.
        """
        workers = team(workers)
        options = replace(options or ComposeOptions(), **changes)
        music = dict(zip(USES, (prompt, infill, vary, humanise, orchestrate), strict=True))
        given = {use: piece for use, piece in music.items() if piece is not None}
        if len(given) > 1:
            raise InputError(f"give one of {' and '.join(given)}, not both.")
        order = self._order(options, *next(iter(given.items()), (None, None)))
        workers = min(workers, options.num, 2 * options.num * order.task.bars // BARS_WORTH_A_PROCESS)
        if workers > 1:
            fill = partial(_fill, str(self.folder.path.resolve()), self.precision)
            parts = in_processes(fill, order.divided(workers), workers, on_events)
            return (piece for part in parts for piece in part)
        return self.fill(order, _summed(on_events), on_draft)

    def again(self, sidecar: dict[str, Any], music: Music | None = None) -> Composition:
        """Compose the piece of a sidecar once more; raises InputError if that cannot give the same bytes.

        music: what it was made from, if that was no file, or one that lies elsewhere now.
        """
        try:
            model, piece = dict(sidecar["model"]), int(sidecar["piece"])
            made_from = dict(sidecar["made_from"]) if sidecar["made_from"] is not None else {}
            options = ComposeOptions(**sidecar["options"], seed=int(sidecar["seed"]))
            use, path = made_from.get("use"), made_from.get("file")
            made_with = ([model["name"], model["digest"]], [model["precision"]], [sidecar["version"]])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("this is not the JSON file that lies beside a composed piece.") from error
        ours = ([self.folder.path.name, self.folder.digest], [self.precision], [__version__])
        for what, theirs, own in zip(
            ("model", "precision", "version of cadenza"), made_with, ours, strict=True
        ):
            if theirs[-1] != own[-1]:  # a folder may have been renamed
                names = " ".join(map(str, theirs)), " ".join(own)
                raise InputError(
                    f"the piece was composed with {what} {names[0]}, not {names[1]}; use that one."
                )
        if not 1 <= piece <= options.num:
            raise InputError(f"there is no piece {piece} among {options.num}.")
        source = path if music is None else music
        if use is not None and (source is None or use not in USES):
            raise InputError("the piece was made from music that was no file; give it as well.")
        if music is None and isinstance(path, str) and not Path(path).exists():
            raise InputError(f"the piece was made from {path}, which is not there; name that file as well.")
        order = replace(self._order(options, use, source), numbers=range(piece - 1, piece))
        if order.task.digest != made_from.get("digest"):
            raise InputError(
                "the piece was made from other music; name the file or score that it was made from."
            )
        return next(self.fill(order))

    def notes_on(self, options: ComposeOptions, use: str | None = None) -> list[str]:
        """What a user should know before composing: what words stand for, what this model cannot do."""
        notes = []
        stands_for = ", ".join(parse_mood(options.mood))
        if options.mood is not None and options.mood != stands_for:
            notes.append(f"mood {options.mood} stands for {stands_for}")
        rigid = isinstance(self.representation, NoteEvents) and not self.representation.microtiming
        if use == "humanise" and rigid:
            notes.append("this model learned from scores, and gives loudness alone; timing stays as it is")
        return notes

    def _order(self, options: ComposeOptions, use: str | None, music: Music | None) -> Order:
        seed = secrets.randbelow(2**31) if options.seed is None else options.seed
        sampling = options.sampling(self.folder.sampling)
        if options.original and self.folder.index is None:
            raise InputError(
                "the model has no index of the pieces that it learned from, and cannot tell what is original; "
                "train it again without --no-index."
            )
        repertoire = self._repertoire(options)
        leaning, votes = self._leaning(options, repertoire), self._votes(options)
        task = task_of(use, music, options, self.representation, repertoire, leaning, votes)
        file = str(music) if isinstance(music, str | Path) else None
        return Order(range(options.num), seed, options, sampling, use, file, task)

    def _repertoire(self, options: ComposeOptions) -> Repertoire | None:
        """What may be used: of styles that are named, what they use, and of tempi those that suit mood and style."""
        found = self.folder.repertoire
        if found is None or not isinstance(self.representation, NoteEvents):
            return None
        character = self.folder.character
        if options.style is not None:
            shares = character.shares(options.style)
            found = found.among([self.folder.styles[name] for name in shares], list(shares.values()))
        aims = character.aims(options.mood, options.style)
        if "tempo" in aims and options.tempo is None:
            found = found.with_tempi(*aims["tempo"])
        return found

    def _leaning(self, options: ComposeOptions, repertoire: Repertoire | None) -> Leaning | None:
        """How to keep near the mood and the style that are asked for; a scale tells the mode by itself."""
        whole, representation, character = self.folder.repertoire, self.representation, self.folder.character
        if repertoire is None or whole is None or not isinstance(representation, NoteEvents):
            return None
        aims = character.aims(options.mood, options.style)
        if options.key is not None or options.scale is not None:
            aims.pop("mode", None)
        favoured = {} if options.style is None else repertoire.favoured(whole)
        if not aims and not favoured:
            return None
        steps, loudness = representation.steps_per_quarter, representation.velocity_levels
        widths = {name: high - low for name, (low, high) in character.thirds.items()}
        return Leaning(aims, widths, steps, loudness, favoured)

    def _votes(self, options: ComposeOptions) -> tuple[int, ...]:
        """What tells the network the style that is asked for."""
        if options.style is None or not isinstance(self.representation, NoteEvents):
            return UNTOLD
        return self.representation.votes(self.folder.character.shares(options.style))

    def fill(
        self,
        order: Order,
        count: Callable[[int], None] | None = None,
        on_draft: OnDraft | None = None,
    ) -> Iterator[Composition]:
        """Compose the pieces of an order, and yield each as soon as it and those before it are ready; `count` is told
        how many events each step brings.

        Drawn anew are pieces for drums alone that nobody asked for, and, where that is asked for, those that may be
        memorised.
        """
        queue = Queue(order.task, order.numbers, order.seed, self._standards(order))
        schema, looked = self.representation.schema, time.monotonic()
        for step in generate(self.graph, queue.take, schema, order.sampling, order.task.told):
            for number, event in step:
                queue.add(number, event)
            if count is not None:
                count(len(step))
            if on_draft is not None and order.task.grows and time.monotonic() - looked > DRAFT_SECONDS:
                for number, score in queue.drafts():
                    on_draft(number + 1, score)
                looked = time.monotonic()
            for number, candidate in queue.finished():
                yield Composition(candidate.score, self._sidecar(candidate, order, number + 1))

    def _standards(self, order: Order) -> Standards:
        return Standards(
            judge=lambda new: self._judge(new, order),
            melodic=self._is_to_have_pitches(order),
            refuse=lambda shared: bool(order.options.original) and self._may_be_memorised(shared),
        )

    def _is_to_have_pitches(self, order: Order) -> bool:
        """Whether pieces for drums alone would surprise: nobody asked for any, and most of the corpus is none."""
        options = order.options
        asked = any((order.use, options.style, options.instruments, options.must_play))
        notes = isinstance(self.representation, NoteEvents)
        return notes and not asked and self.folder.is_mostly_pitched

    def _judge(self, score: Score, order: Order) -> Originality | None:
        """What a piece's new notes share with those learned from; None if nobody can tell, or it has no new ones."""
        if self.folder.index is None or order.use in KEEPING_NOTES:
            return None
        return self.folder.index.judge(score, order.task.start)

    def _may_be_memorised(self, shared: Originality | None) -> bool:
        return shared is not None and self.folder.baseline.is_exceeded_by(shared)

    def _sidecar(self, candidate: Candidate, order: Order, piece: int) -> dict[str, Any]:
        score, shared = candidate.score, candidate.shared
        made_from = {"use": order.use, "file": order.file, "digest": order.task.digest}
        return {
            "piece": piece,
            "seed": order.seed,
            "options": replace(order.options, **asdict(order.sampling)).asked(),
            "made_from": made_from if order.use else None,
            "model": {
                "name": self.folder.path.name,
                "digest": self.folder.digest,
                "precision": self.precision,
            },
            "version": __version__,
            "originality": None
            if shared is None
            else {
                **shared.to_dict(),
                "may_be_memorised": self._may_be_memorised(shared),
                "by_people": asdict(self.folder.baseline),
            },
            "likeness": round(likeness(score, self.folder.usual, order.task.start), 4),
            "statistics": {name: round(value, 4) for name, value in describe(score).items()},
        }


@lru_cache(maxsize=1)
def _opened(model: str, precision: str) -> Composer:
    return Composer.from_pretrained(model, precision)


def _fill(model: str, precision: str, order: Order, count: Callable[[int], None]) -> list[Composition]:
    """`Composer.fill` in a process of its own."""
    return list(_opened(model, precision).fill(order, count))


def _summed(on_total: Callable[[int], None] | None) -> Callable[[int], None] | None:
    """What tells the sum of all that it is told, if anybody is to be told."""
    if on_total is None:
        return None
    total = 0

    def count(more: int) -> None:
        nonlocal total
        total += more
        on_total(total)

    return count
