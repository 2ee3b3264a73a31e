"""A Score as a sequence of events and back: an event is a note.

Six fields, predicted in this order (those that do not apply to an event are NOT_APPLICABLE):

    onset     grid steps since the previous event, 0 .. 8 quarters
    kind      metre, tempo, one of 128 instruments, one of 9 drum kits, rest (time passes) or end
    pitch     key number; for a metre or tempo event its value
    duration  index into `NoteEvents.durations`; drums have none
    velocity  loudness level
    shift     eighths of a step away from the grid; only where the corpus holds performances

Events at one step come in the order of their kinds, a chord from its highest note down, so that every
score has exactly one encoding. A piece begins with its metre and tempo and ends on a bar line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cadenza.context import UNTOLD, Bars, bars_of, context_fields, context_of, sure_events
from cadenza.errors import InputError
from cadenza.gaps import Gap
from cadenza.schema import NOT_APPLICABLE, Field, Schema
from cadenza.score import (
    DRUM_KIT,
    METRE,
    NOTE,
    TEMPO,
    IntArray,
    NoteArray,
    Score,
    canonical_order,
    sort_notes,
)
from cadenza.vocabulary import (
    DURATION,
    END_KIND,
    FIRST_KIT,
    FIRST_METRE_VALUE,
    FIRST_TEMPO_VALUE,
    KIND,
    MAX_STYLES,
    METRE_KIND,
    N_KINDS,
    N_PITCH_VALUES,
    N_TEMPI,
    ONSET,
    PITCH,
    REST_KIND,
    SHIFT,
    SHIFTS,
    STYLE_VOTES,
    TEMPO_KIND,
    VELOCITY,
    EventArray,
    duration_steps,
    instrument_of_kind,
    kind_of_instrument,
    known_instrument,
    metre_of,
    metre_value,
    place,
    plays,
    tempo_level,
    tempo_of,
)

DrawGap = Callable[[int, Sequence[int]], Gap]  # from the number of bars and the kinds that play


@dataclass(frozen=True)
class EncodedPiece:
    """events (N, fields), context (N, context fields) of one piece.

    sure (N,) tells of which events nothing is to be learned, since they are given and nothing may come before them.
    """

    events: EventArray
    context: EventArray
    sure: NDArray[np.bool_] | None = None  # None: none of them

    def __len__(self) -> int:
        return len(self.events)


@dataclass(frozen=True)
class NoteEvents:
    """The representation: how fine the grid and the loudness are, whether notes may leave the grid, which styles are told."""

    steps_per_quarter: int = 12
    velocity_levels: int = 16
    microtiming: bool = False
    styles: tuple[str, ...] = ()  # those that the network is told of, by number

    def __post_init__(self) -> None:
        if not (isinstance(self.steps_per_quarter, int) and 1 <= self.steps_per_quarter <= 96):
            raise InputError("steps per quarter must be a whole number between 1 and 96.")
        if not (isinstance(self.velocity_levels, int) and 1 <= self.velocity_levels <= 127):
            raise InputError("velocity levels must be a whole number between 1 and 127.")
        if len(set(self.styles)) != len(self.styles) or len(self.styles) > MAX_STYLES:
            raise InputError(f"styles must have names of their own, at most {MAX_STYLES}.")

    @property
    def max_onset(self) -> int:
        """Longest time between two events, in steps; longer ones pass in rests."""
        return 8 * self.steps_per_quarter

    @cached_property
    def durations(self) -> IntArray:
        """See `vocabulary.duration_steps`."""
        return duration_steps(self.steps_per_quarter)

    @cached_property
    def schema(self) -> Schema:
        """Sizes of the fields and of the context."""
        fields = [
            Field("onset", self.max_onset + 1),
            Field("kind", N_KINDS),
            Field("pitch", N_PITCH_VALUES),
            Field("duration", len(self.durations), spread=True),
            Field("velocity", self.velocity_levels),
        ]
        if self.microtiming:
            fields.append(Field("shift", SHIFTS))
        sizes = (self.steps_per_quarter, self.max_onset, len(self.durations), self.velocity_levels)
        return Schema(tuple(fields), context_fields(*sizes), clock=ONSET)

    @property
    def ticks_per_quarter(self) -> int:
        """Resolution of quantised and decoded scores."""
        return self.steps_per_quarter * (SHIFTS if self.microtiming else 1)

    # -- quantise ---------------------------------------------------------------------------------

    def quantise(self, score: Score) -> Score:
        """The score as far as events can tell it; applying this twice changes nothing.

        Onsets and ends go to the nearest step (onsets to an eighth of one with microtiming), a key
        struck again ends its sounding note, drums last a step, tempo and loudness take the
        nearest level, repeated tempi and metres and those after the last note are dropped.
        """
        step, shift, duration = self._quantised_times(score)
        notes = np.empty(len(score.notes), dtype=NOTE)
        notes["onset"], notes["duration"] = step, duration
        notes["pitch"] = score.notes["pitch"]
        notes["velocity"] = self.velocity_of(score.notes["velocity"] * self.velocity_levels // 128)
        notes["instrument"] = known_instrument(score.notes["instrument"])
        notes, shift = self._one_stroke_at_a_time(notes, shift)
        end = int((notes["onset"] + notes["duration"]).max(initial=1))
        ratio = self.steps_per_quarter / score.ticks_per_quarter
        return self._in_ticks(
            notes, shift, _tempo_levels(score.tempi, ratio, end), _metre_values(score.metres, ratio, end)
        )

    def steps_of(self, score: Score) -> IntArray:
        """The step (N,) of every note of a score."""
        return self._quantised_times(score)[0]

    def _quantised_times(self, score: Score) -> tuple[IntArray, IntArray, IntArray]:
        """Step, shift in eighths of a step and duration in steps of every note, each (N,)."""
        ratio = self.steps_per_quarter / score.ticks_per_quarter
        onset = score.notes["onset"] * ratio
        if self.microtiming:
            eighths = _nearest(onset * SHIFTS)
            step = (eighths + SHIFTS // 2) // SHIFTS
            shift = eighths - step * SHIFTS
        else:
            step = _nearest(onset)
            shift = np.zeros_like(step)
        end = _nearest(onset + score.notes["duration"] * ratio - shift / SHIFTS)
        return step, shift, np.maximum(1, end - step)

    def _one_stroke_at_a_time(self, notes: NoteArray, shift: IntArray) -> tuple[NoteArray, IntArray]:
        """Notes, timed in steps, with one per step and key, ending where their key is struck again."""
        order = canonical_order(notes)
        notes, shift = notes[order], shift[order]
        key = notes["instrument"].astype(np.int64) * 128 + notes["pitch"]
        again = (np.diff(key) == 0) & (np.diff(notes["onset"]) == 0)
        keep = np.append(True, ~again)[: len(notes)]
        notes, shift, key = notes[keep], shift[keep], key[keep]
        wanted = np.where(notes["instrument"] >= DRUM_KIT, 1, notes["duration"])
        order = np.argsort((key << 32) + notes["onset"], kind="stable")
        same = np.flatnonzero(np.diff(key[order]) == 0)
        wanted[order[same]] = np.minimum(wanted[order[same]], np.diff(notes["onset"][order])[same])
        notes["duration"] = self.durations[np.searchsorted(self.durations, wanted, side="right") - 1]
        return notes, shift

    def velocity_of(self, level: Any) -> IntArray:
        """The middle of the velocities of each level (N,)."""
        level = np.asarray(level, dtype=np.int64)
        lowest = -(-level * 128 // self.velocity_levels)
        highest = -(-(level + 1) * 128 // self.velocity_levels) - 1
        return np.maximum(1, (lowest + highest + 1) // 2)

    def _in_ticks(self, notes: NoteArray, shift: IntArray, tempi: _StepValues, metres: _StepValues) -> Score:
        scale = self.ticks_per_quarter // self.steps_per_quarter
        notes["onset"] = notes["onset"] * scale + shift
        notes["duration"] *= scale
        tempo_array = np.empty(len(tempi.step), dtype=TEMPO)
        tempo_array["tick"], tempo_array["qpm"] = tempi.step * scale, tempo_of(tempi.value)
        metre_array = np.empty(len(metres.step), dtype=METRE)
        metre_array["tick"] = metres.step * scale
        metre_array["numerator"], metre_array["denominator"] = metre_of(metres.value)
        return Score(self.ticks_per_quarter, sort_notes(notes), tempo_array, metre_array)

    # -- encode and decode ------------------------------------------------------------------------

    def encode(self, score: Score) -> EventArray:
        """Events (N, fields) of the quantised score; the law is decode(encode(s)) == quantise(s)."""
        score = self.quantise(score)
        scale = self.ticks_per_quarter // self.steps_per_quarter
        tempi = _tempo_levels(score.tempi, 1 / scale, None)
        metres = _metre_values(score.metres, 1 / scale, None)
        step, rows = self._rows(score, tempi, metres, scale)
        end = int((step + _duration_or_zero(rows, self.durations)).max())
        bars = Bars(metres.step, metres.value, self.steps_per_quarter)
        rows[-1, KIND], step[-1] = END_KIND, bars.line_at_or_after(end)
        order = np.argsort(place(step, rows[:, KIND], rows[:, PITCH]), kind="stable")
        rows, step = self._with_rests(rows[order], step[order])
        rows[:, ONSET] = np.diff(step, prepend=0)
        return rows

    def encode_piece(
        self,
        score: Score,
        *,
        bars_to_come: int | None = None,
        matches: bool = True,
        gap: DrawGap | None = None,
        style: str | None = None,
    ) -> EncodedPiece:
        """Events and their context.

        bars_to_come: how many bars follow after the piece, 0 if it ends; None does not tell the end.
        matches: whether the context tells what followed when the same events were heard before.
        gap: draws what counts as new; all else is given, and told ahead of time.
        style: to be told, if the network knows it.
        """
        events = self.encode(score)
        around = None
        if gap is not None:
            step = np.cumsum(events[:, ONSET].astype(np.int64))
            bars = int(bars_of(events, self.steps_per_quarter).number_of(step[-1:])[0])
            around = gap(max(1, bars), kinds_of(events))
        shares = {} if style is None else {style: 1.0}
        context = self.context(
            events, bars_to_come=bars_to_come, matches=matches, gap=around, votes=self.votes(shares)
        )
        sure = None if around is None else sure_events(events, context)
        return EncodedPiece(events, context, sure=sure)

    def votes(self, shares: Mapping[str, float]) -> tuple[int, ...]:
        """What the style columns hold for a mixture of styles (see `context`), each with its share of a sum of 1; of
        styles that the network was not told of, nothing."""
        known = {self.styles.index(name): share for name, share in shares.items() if name in self.styles}
        votes: list[int] = []
        for _ in range(
            STYLE_VOTES if known else 0
        ):  # each to the style that lacks the most (largest remainder)
            votes.append(max(known, key=lambda number: known[number] * STYLE_VOTES - votes.count(number)))
        return tuple(sorted(votes)) or UNTOLD

    def context(
        self,
        events: EventArray,
        *,
        bars_to_come: int | None = None,
        matches: bool = True,
        gap: Gap | None = None,
        votes: tuple[int, ...] = UNTOLD,
    ) -> EventArray:
        """Context (N, context fields) of events (N, fields), as `encode_piece` gives it, around a gap."""
        return context_of(
            events,
            self.steps_per_quarter,
            self.max_onset,
            bars_to_come=bars_to_come,
            matches=matches,
            gap=gap,
            styles=votes,
        )

    def _rows(
        self, score: Score, tempi: _StepValues, metres: _StepValues, scale: int
    ) -> tuple[IntArray, EventArray]:
        """Steps (N,) and fields (N, F), without onsets, of metres, tempi and notes and a last empty row."""
        n_metres, n_tempi, notes = len(metres.step), len(tempi.step), score.notes
        first_note = n_metres + n_tempi
        rows = np.full((first_note + len(notes) + 1, len(self.schema.fields)), NOT_APPLICABLE, dtype=np.int16)
        onset_step = (notes["onset"].astype(np.int64) + scale // 2) // scale
        step = np.concatenate([metres.step, tempi.step, onset_step, [0]])
        rows[:n_metres, KIND] = METRE_KIND
        rows[:n_metres, PITCH] = FIRST_METRE_VALUE + metres.value
        rows[n_metres:first_note, KIND] = TEMPO_KIND
        rows[n_metres:first_note, PITCH] = FIRST_TEMPO_VALUE + tempi.value
        body = rows[first_note:-1]
        body[:, KIND] = kind_of_instrument(notes["instrument"])
        body[:, PITCH] = notes["pitch"]
        duration = np.searchsorted(self.durations, notes["duration"] // scale)
        body[:, DURATION] = np.where(notes["instrument"] < DRUM_KIT, duration, NOT_APPLICABLE)
        body[:, VELOCITY] = notes["velocity"].astype(np.int64) * self.velocity_levels // 128
        if self.microtiming:
            body[:, SHIFT] = notes["onset"] - onset_step * scale + SHIFTS // 2
        return step, rows

    def _with_rests(self, rows: EventArray, step: IntArray) -> tuple[EventArray, IntArray]:
        """Rests inserted wherever more than the longest onset passes between two events."""
        count = np.maximum(0, -(-np.diff(step, prepend=0) // self.max_onset) - 1)
        if not count.any():
            return rows, step
        before = np.repeat(np.arange(len(step)), count)
        nth = np.arange(len(before)) - np.repeat(np.cumsum(count) - count, count) + 1
        previous = np.concatenate([[0], step[:-1]])[before]
        rest = np.full(rows.shape[1], NOT_APPLICABLE, dtype=np.int16)
        rest[KIND] = REST_KIND
        return np.insert(rows, before, rest, axis=0), np.insert(step, before, previous + nth * self.max_onset)

    def decode(self, events: NDArray[Any]) -> Score:
        """Score of events (N, F); what follows the end event is ignored."""
        events = np.asarray(events, dtype=np.int64)
        ends = np.flatnonzero(events[:, KIND] == END_KIND)
        events = events[: ends[0]] if len(ends) else events
        step = np.cumsum(events[:, ONSET])
        kind = events[:, KIND]
        is_note = plays(kind)
        body = events[is_note]
        notes = np.empty(len(body), dtype=NOTE)
        notes["onset"], notes["pitch"] = step[is_note], body[:, PITCH]
        notes["duration"] = self.durations[np.maximum(body[:, DURATION], 0)]
        notes["velocity"] = self.velocity_of(body[:, VELOCITY])
        notes["instrument"] = instrument_of_kind(body[:, KIND])
        shift = body[:, SHIFT] - SHIFTS // 2 if self.microtiming else np.zeros(len(body), dtype=np.int64)
        notes, shift = self._one_stroke_at_a_time(notes, shift)
        tempi, metres = kind == TEMPO_KIND, kind == METRE_KIND
        return self._in_ticks(
            notes,
            shift,
            _changes(step[tempi], events[tempi, PITCH] - FIRST_TEMPO_VALUE),
            _changes(step[metres], events[metres, PITCH] - FIRST_METRE_VALUE),
        )

    # -- save and load ----------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` needs to build this again."""
        return {"type": "note-events", **asdict(self)}


@dataclass(frozen=True)
class _StepValues:
    """A step function of time: it takes value[i] at step[i]; both (N,)."""

    step: IntArray
    value: IntArray


def _changes(step: IntArray, value: IntArray) -> _StepValues:
    """The step function with the last value at each step, without repeated values."""
    last = np.append(np.diff(step) != 0, True)[: len(step)]
    step, value = step[last], value[last]
    new = np.append(True, np.diff(value) != 0)[: len(step)]
    return _StepValues(step[new], value[new])


def _from_start(step: IntArray, value: IntArray, default: int, end: int | None) -> _StepValues:
    if not len(step) or step[0] > 0:
        step, value = np.insert(step, 0, 0), np.insert(value, 0, default)
    before_end = step < end if end is not None else slice(None)
    return _changes(step[before_end], value[before_end])


def kinds_of(events: EventArray) -> list[int]:
    """The instruments and kits that play in events (N, fields)."""
    kinds = np.unique(events[:, KIND])
    return [int(kind) for kind in kinds[plays(kinds)]]


def _tempo_levels(tempi: NoteArray, ratio: float, end: int | None) -> _StepValues:
    return _from_start(_nearest(tempi["tick"] * ratio), tempo_level(tempi["qpm"]), N_TEMPI // 2, end)


def _metre_values(metres: NoteArray, ratio: float, end: int | None) -> _StepValues:
    value = metre_value(metres["numerator"], metres["denominator"])
    return _from_start(_nearest(metres["tick"] * ratio), value, int(metre_value(4, 4)), end)


def _nearest(x: Any) -> IntArray:
    """Nearest integers; halves go up, so that a shift of the piece by whole steps shifts all alike."""
    return np.floor(np.asarray(x, dtype=np.float64) + 0.5 + 1e-9).astype(np.int64)


def _duration_or_zero(rows: EventArray, durations: IntArray) -> IntArray:
    return np.where(rows[:, DURATION] >= 0, durations[rows[:, DURATION]], rows[:, KIND] >= FIRST_KIT)
