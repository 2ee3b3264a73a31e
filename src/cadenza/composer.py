"""Composer: a trained model that composes; the one object behind the command line and the Python API."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from cadenza.controls import Controls, parse_controls
from cadenza.errors import InputError
from cadenza.events import NoteEvents
from cadenza.export import write_score
from cadenza.files import write_atomic
from cadenza.grammar import NoteGrammar
from cadenza.midi import read_midi
from cadenza.model_folder import ModelFolder, bundled_model
from cadenza.runtime import GraphModel
from cadenza.sampling import Grammar, IntArray, SamplingOptions, generate
from cadenza.score import NOTE, TEMPO, Score, bar_lines
from cadenza.statistics import describe
from cadenza.timing import classify_timing, lay_on_grid
from cadenza.tokens import NotesAndChords, TokenGrammar
from cadenza.version import __version__
from cadenza.vocabulary import KIND, REST_KIND, EventArray
from cadenza.workers import in_processes, team

MAX_BARS, MAX_PIECES, MAX_PROMPT_NOTES = 1024, 256, 50_000
BATCH = 8  # candidates composed side by side; what a piece is like may depend on its neighbours
BARS_WORTH_A_PROCESS = 400  # about where two processes draw level with one, their start included


@dataclass(frozen=True)
class ComposeOptions:
    """What to compose; a sampling value of None takes the model's own default."""

    bars: int = 16  # new ones; a prompt's come on top
    num: int = 1
    seed: int | None = None  # None draws one, which the result tells
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    prompt_bars: int | None = None  # of the prompt; None takes all
    # Controls, in the words of `controls.parse_controls`; None leaves it to the model.
    key: str | None = None  # "D minor", "F# dorian"
    scale: str | None = None  # "C E G A"
    key_strictness: float | None = None  # least share of notes in the key; None stands for all
    tempo: float | None = None  # quarters a minute
    metre: str | None = None  # "3/4"
    seconds: float | None = None  # of new music, to the nearest bar; instead of bars
    instruments: str | None = None  # that alone may play: "violin, cello"
    must_play: str | None = None  # and those that must
    ranges: str | None = None  # "violin: G3-E6, cello: C2-C4"
    polyphony: int | None = None  # notes that an instrument sounds at once, drums aside
    density: str | None = None  # notes in a bar: "4-12"

    def __post_init__(self) -> None:
        checks = (
            (1 <= self.bars <= MAX_BARS, f"bars must be between 1 and {MAX_BARS}, not {self.bars}."),
            (1 <= self.num <= MAX_PIECES, f"num must be between 1 and {MAX_PIECES}, not {self.num}."),
            (self.seed is None or 0 <= self.seed < 2**63, "the seed must be 0 or more."),
            (self.prompt_bars is None or self.prompt_bars >= 1, "prompt bars must be at least 1."),
        )
        for good, message in checks:
            if not good:
                raise InputError(message)
        self.controls()

    def wishes(self) -> dict[str, Any]:
        """The controls that are given, by name."""
        names = parse_controls.__kwdefaults__ or {}
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def controls(self) -> Controls:
        """What the piece must keep to."""
        return parse_controls(**self.wishes())

    def sampling(self, defaults: dict[str, Any]) -> SamplingOptions:
        """Sampling options: what is given here, else the model's."""
        given = {k: v for k, v in asdict(self).items() if k in SamplingOptions.__annotations__}
        return SamplingOptions(**{**defaults, **{k: v for k, v in given.items() if v is not None}})


@dataclass(frozen=True)
class Composition:
    """A composed score and all that is needed to compose it again, with as many neighbours."""

    score: Score
    sidecar: dict[str, Any]

    def save(self, path: str | Path) -> None:
        """Write the score in the format of the suffix."""
        write_score(self.score, path)

    def save_all(self, folder: Path, name: str) -> list[Path]:
        """Write NAME.mid, NAME.svg and the sidecar NAME.json; returns the paths."""
        paths = [folder / f"{name}{suffix}" for suffix in (".mid", ".svg", ".json")]
        for path in paths[:2]:
            write_score(self.score, path)
        write_atomic(paths[2], json.dumps(self.sidecar, indent=1) + "\n")
        return paths


@dataclass(frozen=True)
class Opening:
    """A prompt: its events (N, fields) without their end, and the step at which the new music begins."""

    events: EventArray
    end: int

    @property
    def digest(self) -> str:
        """Short hash, which tells prompts apart."""
        return hashlib.sha256(self.events.astype("<i4").tobytes() + b"%d" % self.end).hexdigest()[:16]


@dataclass(frozen=True)
class Order:
    """Pieces to be composed side by side, from number `first` on; all that it takes beside the model."""

    first: int  # counted from 0
    seed: int
    options: ComposeOptions
    sampling: SamplingOptions
    opening: Opening | None
    prompt: str | None  # the file's name
    grammar: Grammar  # where all of them begin


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

    def compose(
        self,
        *,
        prompt: Score | str | Path | None = None,
        options: ComposeOptions | None = None,
        **changes: Any,
    ) -> Composition:
        """Compose one piece; keyword arguments are those of ComposeOptions.

        prompt: music to continue, whose bars come first in the result.
        """
        options = replace(options or ComposeOptions(), **changes)
        return next(self.compose_many(prompt=prompt, options=replace(options, num=1)))

    def compose_many(
        self,
        *,
        prompt: Score | str | Path | None = None,
        options: ComposeOptions | None = None,
        on_events: Callable[[int], None] | None = None,
        workers: int = 1,
        **changes: Any,
    ) -> Iterator[Composition]:
        """Compose `num` pieces, side by side where there is room, and yield them as soon as they are ready.

        on_events: called with the number of events drawn so far. workers: processes that compose, where there
        is enough to do for several; 0 takes one for each core. The pieces are the same, however many there are.
        A script that asks for several is imported by each of them, and needs `if __name__ == "__main__":`.
        Options and prompt are checked at once.
        """
        workers = team(workers)
        options = replace(options or ComposeOptions(), **changes)
        orders = self._orders(options, prompt)
        if min(workers, len(orders)) > 1 and options.num * options.bars >= BARS_WORTH_A_PROCESS:
            fill = partial(_fill, str(self.folder.path.resolve()), self.precision)
            batches = in_processes(fill, orders, min(workers, len(orders)), on_events)
            return (piece for batch in batches for piece in batch)
        return self._compose(orders, on_events)

    def _compose(
        self, orders: Sequence[Order], on_events: Callable[[int], None] | None
    ) -> Iterator[Composition]:
        drawn = 0

        def count(events: int) -> None:
            nonlocal drawn
            drawn += events
            if on_events is not None:
                on_events(drawn)

        for order in orders:
            yield from self.fill(order, count)

    def again(self, sidecar: dict[str, Any], prompt: Score | str | Path | None = None) -> Composition:
        """Compose the piece of a sidecar once more; raises InputError if that cannot give the same bytes.

        prompt: of a piece whose prompt was no file, or one that lies elsewhere now.
        """
        try:
            model, piece = dict(sidecar["model"]), int(sidecar["piece"])
            words = dict(sidecar["options"])
            path, digest = words.pop("prompt"), sidecar["prompt_digest"]
            options = ComposeOptions(**words, seed=int(sidecar["seed"]))
            made_with = (model["digest"], model["precision"], sidecar["version"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("this is not the JSON file that lies beside a composed piece.") from error
        ours = (self.folder.digest, self.precision, __version__)
        for what, theirs, own in zip(
            ("model", "precision", "version of cadenza"), made_with, ours, strict=True
        ):
            if theirs != own:
                raise InputError(f"the piece was composed with {what} {theirs}, not {own}; use that one.")
        if not 1 <= piece <= options.num:
            raise InputError(f"there is no piece {piece} among {options.num}.")
        order = self._orders(options, path if prompt is None else prompt)[(piece - 1) // BATCH]
        if (order.opening.digest if order.opening else None) != digest:
            raise InputError(
                "the piece continues another prompt; name the file or score that it was composed from."
            )
        return self.fill(order)[(piece - 1) % BATCH]

    def _orders(self, options: ComposeOptions, prompt: Score | str | Path | None) -> list[Order]:
        seed = secrets.randbelow(2**31) if options.seed is None else options.seed
        sampling = options.sampling(self.folder.sampling)
        opening = self._opening(prompt, options.prompt_bars) if prompt is not None else None
        grammar = self._grammar(options, opening)
        name = str(prompt) if isinstance(prompt, str | Path) else None
        return [
            Order(first, seed, options, sampling, opening, name, grammar)
            for first in range(0, options.num, BATCH)
        ]

    def fill(self, order: Order, count: Callable[[int], None] | None = None) -> list[Composition]:
        """Compose the pieces of one order; `count` is told how many events each step brings."""
        numbers = range(order.first, min(order.first + BATCH, order.options.num))
        encoded = self._encoded(order.opening, order.grammar)
        grammars = [order.grammar.copy() for _ in numbers]
        randoms = [np.random.default_rng([order.seed, number]) for number in numbers]
        schema = self.representation.schema
        stream = generate(self.graph, grammars, schema, order.sampling, randoms, encoded)
        found = []
        for number, events in zip(numbers, _collect(stream, len(numbers), encoded, count), strict=True):
            score = self._exact_tempo(self.representation.decode(events), order)
            found.append(Composition(score, self._sidecar(score, order, number + 1)))
        return found

    def _opening(self, prompt: Score | str | Path, bars: int | None) -> Opening:
        if not isinstance(self.representation, NoteEvents):
            raise InputError(
                "this model knows no bars and cannot continue a prompt; use a model of another preset."
            )
        score = prompt if isinstance(prompt, Score) else read_midi(prompt)
        if not len(score):
            raise InputError("the prompt has no notes; choose another file.")
        score = self.representation.quantise(lay_on_grid(score, classify_timing(score)))
        scale = self.representation.ticks_per_quarter // self.representation.steps_per_quarter
        lines = bar_lines(score, score.end)
        end = int(lines[min(bars or len(lines), len(lines) - 1)])
        opening = until(score, end, early=scale // 2)
        if not 0 < len(opening) <= MAX_PROMPT_NOTES:
            raise InputError(
                f"the prompt has {len(opening)} notes in the bars asked for; 1 to {MAX_PROMPT_NOTES:,} can be continued."
            )
        events = self.representation.encode(opening)
        # Without the end, and the rests before it, which may lead beyond the prompt.
        last = int(np.flatnonzero(events[:, KIND] < REST_KIND)[-1])
        return Opening(events[: last + 1], -(-end // scale))

    def _grammar(self, options: ComposeOptions, opening: Opening | None) -> Grammar:
        representation, repertoire = self.representation, self.folder.repertoire
        if isinstance(representation, NotesAndChords):
            if options.wishes():
                raise InputError(
                    f"this model knows notes and chords alone, and cannot keep to {next(iter(options.wishes()))}; "
                    "use a model of another preset."
                )
            return TokenGrammar(representation, options.bars)
        assert isinstance(representation, NoteEvents)
        assert repertoire is not None
        controls = options.controls()
        if opening is None:
            return NoteGrammar(representation, repertoire, options.bars, controls)
        return NoteGrammar.after(
            representation, repertoire, options.bars, opening.events, opening.end, controls
        )

    def _exact_tempo(self, score: Score, order: Order) -> Score:
        """The score with the tempo that was asked for, of which events know the nearest level alone."""
        wanted = order.options.tempo
        if wanted is None:
            return score
        assert isinstance(self.representation, NoteEvents)
        scale = score.ticks_per_quarter // self.representation.steps_per_quarter
        start = order.opening.end * scale if order.opening else 0
        before = score.tempi[score.tempi["tick"] < start]
        tempi = np.concatenate([before, np.array([(start, wanted)], dtype=TEMPO)])
        return replace(score, tempi=tempi)

    def _encoded(self, opening: Opening | None, grammar: Grammar) -> tuple[IntArray, IntArray] | None:
        """Events and context of what is to be continued."""
        if opening is None:
            return None
        assert isinstance(self.representation, NoteEvents)
        assert isinstance(grammar, NoteGrammar)
        at = grammar.at
        context = self.representation.context(opening.events, bars_to_come=at.bars - at.bar_number)
        return opening.events.astype(np.int64), context.astype(np.int64)

    def _sidecar(self, score: Score, order: Order, piece: int) -> dict[str, Any]:
        options = order.options
        return {
            "piece": piece,
            "seed": order.seed,
            "options": {
                "num": options.num,
                "bars": options.bars,
                **asdict(order.sampling),
                "prompt": order.prompt,
                "prompt_bars": options.prompt_bars,
                **options.wishes(),
            },
            "prompt_digest": order.opening.digest if order.opening else None,
            "model": {
                "name": self.folder.path.name,
                "digest": self.folder.digest,
                "precision": self.precision,
            },
            "version": __version__,
            "statistics": {name: round(value, 4) for name, value in describe(score).items()},
        }


@lru_cache(maxsize=1)
def _opened(model: str, precision: str) -> Composer:
    return Composer.from_pretrained(model, precision)


def _fill(model: str, precision: str, order: Order, count: Callable[[int], None]) -> list[Composition]:
    """`Composer.fill` in a process of its own."""
    return _opened(model, precision).fill(order, count)


def until(score: Score, end: int, early: int = 0) -> Score:
    """What begins before tick `end`, less the notes that come up to `early` ticks before it and belong to it.

    Notes that sound on are cut there.
    """
    notes = score.notes[score.notes["onset"] + early < end].astype(NOTE)
    notes["duration"] = np.minimum(notes["duration"], end - notes["onset"])
    return replace(
        score,
        notes=notes,
        tempi=score.tempi[score.tempi["tick"] < end],
        metres=score.metres[score.metres["tick"] < end],
    )


def _collect(
    stream: Iterator[list[tuple[int, list[int]]]],
    batch: int,
    prompt: tuple[IntArray, IntArray] | None,
    count: Callable[[int], None] | None,
) -> list[IntArray]:
    """Events (T, fields) of every candidate, the prompt's in front; `count` is told how many each step brings."""
    opening = prompt[0].tolist() if prompt is not None else []
    pieces: list[list[list[int]]] = [list(opening) for _ in range(batch)]
    for events in stream:
        for candidate, event in events:
            pieces[candidate].append(event)
        if count is not None:
            count(len(events))
    return [np.array(piece, dtype=np.int64) for piece in pieces]
