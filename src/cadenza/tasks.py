"""What is to be composed: a new piece, or something out of a user's own music.

A task says where drawing begins (the state of the rules, and the events that are there already) and how what was
drawn becomes a score. All of them draw events of one network by one sampler.

    (none)        a new piece
    prompt        what goes on from a piece
    infill        new bars, or new parts, in a piece
    vary          the same, in places chosen at random
    humanise      a piece's notes, with loudness and timing drawn
    orchestrate   a piece's notes, with players drawn; a key that several strike at once is struck by one
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from cadenza.closing import Closing
from cadenza.context import UNTOLD
from cadenza.controls import Controls, kinds_named
from cadenza.dataset import Representation
from cadenza.errors import InputError
from cadenza.events import NoteEvents
from cadenza.filling import FillGrammar, OrchestraGrammar
from cadenza.form import FREE, Form, Parts, Reprise, Returns
from cadenza.gaps import Gap
from cadenza.grammar import NoteGrammar
from cadenza.leaning import Leaning
from cadenza.midi import read_midi
from cadenza.options import CONTROLS, ComposeOptions, parse_bars, refuse
from cadenza.repertoire import Repertoire
from cadenza.sampling import Grammar, IntArray
from cadenza.score import TEMPO, NoteArray, Score, bar_lines, instrument_name, until
from cadenza.source import Source
from cadenza.timing import classify_timing, lay_on_grid
from cadenza.tokens import NotesAndChords, TokenGrammar
from cadenza.vocabulary import (
    FIRST_KIT,
    KIND,
    METRE_KIND,
    PITCH,
    REST_KIND,
    SHIFT,
    VELOCITY,
    EventArray,
    instrument_of_kind,
    plays,
)

USES = ("prompt", "infill", "vary", "humanise", "orchestrate")
ENOUGH_FORMS = 8  # to draw one among
MAX_SOURCE_NOTES = 50_000
DEFAULT_AMOUNT = 0.3
Told = tuple[IntArray, IntArray]  # events (T, fields) and context (T, context fields) that are there already


class Task(Protocol):
    """One of the tasks."""

    @property
    def digest(self) -> str | None:
        """Short hash, which tells tasks on different music apart."""

    @property
    def told(self) -> Told | None:
        """Events that are there already."""

    @property
    def bars(self) -> int:
        """About how many bars are drawn."""

    @property
    def start(self) -> int:
        """The tick of a finished piece at which new music begins."""

    @property
    def grows(self) -> bool:
        """Whether the first of its events make a piece already."""

    def begin(self, number: int, seed: int) -> Grammar:
        """The rules for piece `number`, having walked what is there already."""

    def score(self, events: IntArray, grammar: Grammar) -> Score:
        """The piece of these events (T, fields), those that were there included."""

    def new(self, events: IntArray, grammar: Grammar) -> Score | None:
        """The new notes of that piece alone; None if these are all from `start` on."""


def task_of(
    use: str | None,
    music: Score | str | Path | None,
    options: ComposeOptions,
    representation: Representation,
    repertoire: Repertoire | None,
    leaning: Leaning | None,
    votes: tuple[int, ...] = UNTOLD,
) -> Task:
    """The task of that name, or a new piece; raises InputError for what cannot be done.

    leaning: how new pieces and continuations are kept near a mood and a style. votes: what tells the network its style.
    """
    check(use, options)
    if isinstance(representation, NotesAndChords):
        return _tokens(use, options, representation)
    assert isinstance(representation, NoteEvents)
    assert repertoire is not None
    if use is None or music is None:
        grammar = NoteGrammar(representation, repertoire, options.bars, options.controls())
        grammar.leaning, grammar.at.styles = leaning, votes
        grammar.closing = Closing(repertoire.endings, representation)
        forms = _forms(options, repertoire, grammar)
        return NewPiece(representation, options.tempo, grammar, options.bars, forms)
    if not isinstance(music, Score | str | Path):
        raise InputError(f"{music!r} is no music; give a score or the path of a MIDI file.")
    score = music if isinstance(music, Score) else read_midi(music)
    if use == "prompt":
        return Continuation.of(score, options, representation, repertoire, leaning, votes)
    source = Source.of(score, representation)
    if len(source.events) > MAX_SOURCE_NOTES:
        raise InputError(f"the piece has over {MAX_SOURCE_NOTES:,} notes; cut it.")
    if use == "orchestrate":
        return Orchestration.of(source, options, repertoire)
    if use == "humanise":
        return Humanising(source, repertoire)
    if use == "vary":
        return Varying.of(source, options, repertoire)
    return Filling.of(source, options, repertoire)


_DOING = {
    None: "composing a new piece",
    "prompt": "continuing a piece",
    "infill": "filling a gap",
    "vary": "varying a piece",
    "humanise": "humanising a piece",
    "orchestrate": "orchestrating a piece",
}
# Of the options that not every task knows, those that each does.
_ALLOWED: dict[str | None, tuple[str, ...]] = {
    None: (*CONTROLS, "form", "style", "mood", "original"),
    "prompt": (*CONTROLS, "form", "style", "mood", "original", "prompt_bars"),
    "infill": ("fill_bars", "tracks", "key", "scale", "ranges", "polyphony", "original"),
    "vary": ("fill_bars", "tracks", "amount", "key", "scale", "ranges", "polyphony", "original"),
    "humanise": (),
    "orchestrate": ("instruments", "ranges"),
}
_LIMITED = sorted({name for names in _ALLOWED.values() for name in names})


def check(use: str | None, options: ComposeOptions) -> None:
    """Raise InputError for options that do not go with a task, whatever the music and the model."""
    refuse(options, [name for name in _LIMITED if name not in _ALLOWED[use]], _DOING[use])
    if use == "infill" and options.fill_bars is None and options.tracks is None:
        raise InputError("say what to fill: bars such as 9-12, tracks such as bass, or both.")


def _tokens(use: str | None, options: ComposeOptions, representation: NotesAndChords) -> Task:
    if use is not None:
        raise InputError(
            f"this model knows no bars, and is of no help in {_DOING[use]}; use a model of another preset."
        )
    if (options.style, options.mood, options.form) != (None, None, None):
        raise InputError("this model knows no styles, moods and forms; use a model of another preset.")
    if options.wishes():
        raise InputError(
            f"this model knows notes and chords alone, and cannot keep to {next(iter(options.wishes()))}; "
            "use a model of another preset."
        )
    return NewPiece(representation, None, TokenGrammar(representation, options.bars), options.bars)


@dataclass(frozen=True)
class NewPiece:
    """A piece out of nothing."""

    representation: Representation
    tempo: float | None  # exact, of which events know the nearest level alone
    grammar: Grammar
    bars: int
    forms: tuple[Returns, ...] = ()
    digest: str | None = None
    told: Told | None = None
    start: int = 0
    grows: bool = True

    def begin(self, number: int, seed: int) -> Grammar:
        """See Task."""
        return _formed(self.grammar, self.forms, number, seed)

    def new(self, events: IntArray, grammar: Grammar) -> None:
        """See Task."""

    def score(self, events: IntArray, grammar: Grammar) -> Score:
        """See Task."""
        return _with_tempo(self.representation.decode(events), self.tempo, 0)


@dataclass(frozen=True)
class Opening:
    """A prompt: its events (N, fields) without their end, the step at which the new music begins, and its tempi."""

    events: EventArray
    end: int
    tempi: NoteArray  # as in the file, of which events know the nearest levels alone

    @classmethod
    def of(cls, score: Score, bars: int | None, representation: NoteEvents) -> Opening:
        """The first bars of a score, or all of it."""
        if not len(score):
            raise InputError("the prompt has no notes; choose another file.")
        laid = lay_on_grid(score, classify_timing(score))
        score = representation.quantise(laid)
        scale = representation.ticks_per_quarter // representation.steps_per_quarter
        lines = bar_lines(score, score.end)
        if bars is not None and bars > len(lines) - 1:
            raise InputError(f"the prompt has {len(lines) - 1} bars, not {bars}; ask for at most so many.")
        end = int(lines[min(bars or len(lines), len(lines) - 1)])
        opening = until(score, end, early=scale // 2)
        if not 0 < len(opening) <= MAX_SOURCE_NOTES:
            raise InputError(
                f"the prompt has {len(opening)} notes in the bars asked for; 1 to {MAX_SOURCE_NOTES:,} can be continued."
            )
        events = representation.encode(opening)
        # Without the end, and the rests before it, which may lead beyond the prompt.
        last = int(np.flatnonzero(events[:, KIND] < REST_KIND)[-1])
        tempi = laid.tempi.copy()
        tempi["tick"] = np.round(tempi["tick"] * (score.ticks_per_quarter / laid.ticks_per_quarter))
        return cls(events[: last + 1], -(-end // scale), tempi[tempi["tick"] < end])


@dataclass(frozen=True)
class Continuation:
    """New bars after those of a prompt."""

    representation: NoteEvents
    tempo: float | None
    opening: Opening
    grammar: NoteGrammar
    told: Told
    bars: int
    forms: tuple[Returns, ...]
    grows: bool = True

    @property
    def start(self) -> int:
        """See Task."""
        scale = self.representation.ticks_per_quarter // self.representation.steps_per_quarter
        return self.opening.end * scale

    @classmethod
    def of(
        cls,
        score: Score,
        options: ComposeOptions,
        representation: NoteEvents,
        repertoire: Repertoire,
        leaning: Leaning | None,
        votes: tuple[int, ...],
    ) -> Continuation:
        """Go on from a score."""
        opening = Opening.of(score, options.prompt_bars, representation)
        grammar = NoteGrammar.after(
            representation, repertoire, options.bars, opening.events, opening.end, options.controls()
        )
        grammar.leaning, grammar.at.styles = leaning, votes
        grammar.closing = Closing(repertoire.endings, representation).after(opening.events)
        to_come = grammar.at.bars - grammar.at.bar_number
        context = representation.context(opening.events, bars_to_come=to_come, votes=votes)
        told = opening.events.astype(np.int64), context.astype(np.int64)
        forms = _forms(options, repertoire, grammar)
        return cls(representation, options.tempo, opening, grammar, told, options.bars, forms)

    @property
    def digest(self) -> str:
        """See Task."""
        opening = self.opening
        data = opening.events.astype("<i4").tobytes() + b"%d" % opening.end + opening.tempi.tobytes()
        return hashlib.sha256(data).hexdigest()[:16]

    def begin(self, number: int, seed: int) -> Grammar:
        """See Task."""
        return _formed(self.grammar, self.forms, number, seed)

    def new(self, events: IntArray, grammar: Grammar) -> None:
        """See Task."""

    def score(self, events: IntArray, grammar: Grammar) -> Score:
        """See Task."""
        score = replace(self.representation.decode(events), tempi=self.opening.tempi)
        return _with_tempo(score, self.tempo, self.start)


def _forms(options: ComposeOptions, repertoire: Repertoire, grammar: NoteGrammar) -> tuple[Returns, ...]:
    """Forms among which a piece's is drawn: that of the letters, for which these rules let the metre be, or the corpus's, of
    which those count that a piece of so many bars does not begin again, or the longest. Raises InputError for more letters
    than bars."""
    if options.form == FREE:
        return ()
    if options.form is None:
        forms = sorted(map(Form.parse, repertoire.forms), key=lambda form: -len(form.back))
        long = [form for form in forms if len(form.back) >= grammar.at.bars]
        return tuple(long if len(long) >= ENOUGH_FORMS else forms[:ENOUGH_FORMS])
    parts = Parts.parse(options.form)
    if options.seconds is None and len(parts.letters) > grammar.at.bars:
        raise InputError(
            f"{grammar.at.bars} bars are too few for the {len(parts.letters)} parts of {options.form}."
        )
    grammar.changes.discard(METRE_KIND)  # bars of other lengths could not return
    return (parts,)


def _formed(grammar: Grammar, forms: Sequence[Returns], number: int, seed: int) -> Grammar:
    """These rules for piece `number`, led through one of the forms, if there are any."""
    found = grammar.copy()
    if isinstance(found, NoteGrammar) and forms:
        drawn = np.random.default_rng([seed, number, 1]).integers(len(forms))
        found.reprise = Reprise(forms[int(drawn)])
    return found


def _with_tempo(score: Score, tempo: float | None, start: int) -> Score:
    """The score with this very tempo from tick `start` on."""
    if tempo is None:
        return score
    before = score.tempi[score.tempi["tick"] < start]
    return replace(score, tempi=np.concatenate([before, np.array([(start, tempo)], dtype=TEMPO)]))


def _tracks(source: Source, options: ComposeOptions, repertoire: Repertoire) -> tuple[list[int], Controls]:
    """The kinds that are new in a gap, and what they must keep to: all of the piece's, or those that are named,
    which means the piece's own where it has some of that name."""
    controls = options.controls()
    if options.tracks is None:
        return source.kinds, controls
    kinds = kinds_named(options.tracks, source.kinds, repertoire.with_piece(source.events).kinds)
    names = [instrument_name(int(number)) for number in instrument_of_kind(np.array(kinds))]
    return kinds, replace(controls, instruments=tuple(names))


@dataclass(frozen=True)
class _OfSource:
    """What tasks on a whole piece share."""

    source: Source

    @property
    def grows(self) -> bool:
        """See Task."""
        return False

    @property
    def digest(self) -> str:
        """See Task."""
        return self.source.digest

    @property
    def bars(self) -> int:
        """See Task."""
        return self.source.bars

    @property
    def start(self) -> int:
        """See Task."""
        return 0

    def new(self, events: IntArray, grammar: Grammar) -> Score | None:
        """See Task."""
        return None


class _OfGap(_OfSource):
    """What tasks that fill a gap share."""

    def score(self, events: IntArray, grammar: Grammar) -> Score:
        """See Task."""
        assert isinstance(grammar, FillGrammar)
        return self.source.filled(grammar.gap, events, grammar.is_new)

    def new(self, events: IntArray, grammar: Grammar) -> Score:
        """See Task."""
        assert isinstance(grammar, FillGrammar)
        return self.source.new(events, grammar.is_new)


@dataclass(frozen=True)
class Filling(_OfGap):
    """New notes in a gap of a piece."""

    grammar: FillGrammar  # having walked what comes before the gap
    told: Told

    @property
    def start(self) -> int:
        """See Task."""
        return self.source.tick(self.grammar.first_new)

    @classmethod
    def of(cls, source: Source, options: ComposeOptions, repertoire: Repertoire) -> Filling:
        """Raises InputError for tracks that the model cannot play, or bars that are not there."""
        kinds, controls = _tracks(source, options, repertoire)
        gap, representation = source.gap(parse_bars(options.fill_bars), kinds), source.representation
        grammar = FillGrammar(
            representation, repertoire, source.events, source.free_from, gap, kinds, controls
        )
        before = int(np.searchsorted(source.steps, grammar.first_new, side="left"))
        for event in source.events[:before].tolist():
            grammar.advance(event)
        context = representation.context(source.events, bars_to_come=0, gap=gap)
        told = source.events[:before].astype(np.int64), context[:before].astype(np.int64)
        return cls(source, grammar, told)

    def begin(self, number: int, seed: int) -> Grammar:
        """See Task."""
        return self.grammar.copy()


@dataclass(frozen=True)
class Varying(_OfGap):
    """New notes in bars of a piece's instruments, chosen anew for every candidate.

    So nothing is there already for all of them, and candidates begin at the start.
    """

    gap: Gap  # within which bars are chosen
    amount: float
    kinds: list[int]
    controls: Controls
    repertoire: Repertoire
    told: Told | None = None

    @classmethod
    def of(cls, source: Source, options: ComposeOptions, repertoire: Repertoire) -> Varying:
        """Raises InputError for tracks or bars that are not there."""
        kinds, controls = _tracks(source, options, repertoire)
        if not set(kinds) & set(source.kinds):
            raise InputError(f"the piece has no {options.tracks} to vary; name instruments that play in it.")
        gap = source.gap(parse_bars(options.fill_bars), kinds)
        amount = DEFAULT_AMOUNT if options.amount is None else options.amount
        task = cls(source, gap, amount, kinds, controls, repertoire)
        task.begin(0, 0)
        return task

    def begin(self, number: int, seed: int) -> Grammar:
        """See Task."""
        gap = self.source.some_of(self.gap, self.amount, np.random.default_rng([seed, number, 1]))
        return FillGrammar(
            self.source.representation,
            self.repertoire,
            self.source.events,
            self.source.free_from,
            gap,
            self.kinds,
            self.controls,
        )


@dataclass(frozen=True)
class Humanising(_OfSource):
    """The notes of a piece with loudness and, where the model knows it, timing as the model would play them."""

    repertoire: Repertoire
    told: Told | None = None

    def begin(self, number: int, seed: int) -> Grammar:
        """See Task."""
        source = self.source
        loose = frozenset({VELOCITY, SHIFT})
        gap = source.gap(None, [])
        return FillGrammar(
            source.representation,
            self.repertoire,
            source.events,
            source.free_from,
            gap,
            source.kinds,
            loose=loose,
        )

    def score(self, events: IntArray, grammar: Grammar) -> Score:
        """See Task."""
        return self.source.humanised(events)


@dataclass(frozen=True)
class Orchestration(_OfSource):
    """The notes of a piece with players drawn among some instruments: those that are named, or an ensemble of as many
    players as the piece has, drawn anew for every candidate."""

    able: Repertoire
    grammar: OrchestraGrammar  # for all of the instruments
    named: bool
    told: Told | None = None

    @classmethod
    def of(cls, source: Source, options: ComposeOptions, repertoire: Repertoire) -> Orchestration:
        """Raises InputError for instruments that the model does not know, or notes that none of them can play."""
        able = options.controls().narrowed(repertoire, source.representation.steps_per_quarter)
        kinds = [kind for kind in able.kinds if kind < FIRST_KIT]
        if not kinds:
            raise InputError("drums cannot play a piece's notes; name other instruments.")
        grammar = OrchestraGrammar(source.representation, able, source.events, kinds, source.bars)
        return cls(source, able, grammar, options.instruments is not None)

    def begin(self, number: int, seed: int) -> OrchestraGrammar:
        """See Task."""
        if self.named:
            return self.grammar.copy()
        source, kinds = self.source, self._ensemble(np.random.default_rng([seed, number, 1]))
        return OrchestraGrammar(source.representation, self.able, source.events, kinds, source.bars)

    def _ensemble(self, random: np.random.Generator) -> list[int]:
        """Kinds that can play all keys of the piece, more often those that play in more pieces of the corpus."""
        events, kinds, own = self.source.events, self.grammar.kinds, self.source.kinds
        pitched = plays(events[:, KIND]) & (events[:, KIND] < FIRST_KIT)
        keys, players = set(events[pitched, PITCH].tolist()), sum(kind < FIRST_KIT for kind in own)
        shares = np.array([self.able.shares[kind] for kind in kinds])
        order = random.choice(kinds, len(kinds), replace=False, p=shares / shares.sum()).tolist()
        order.sort(key=lambda kind: kind in own)  # others first, since they are chosen anew
        found: list[int] = []
        for kind in order:
            low, high = self.able.pitch_ranges[kind]
            reached = {key for key in keys if low <= key <= high}
            if reached:
                found.append(kind)
                keys -= reached
        others = [kind for kind in order if kind not in found]
        return sorted(found + others[: max(0, players - len(found))])

    def score(self, events: IntArray, grammar: Grammar) -> Score:
        """See Task."""
        return self.source.orchestrated(events)
