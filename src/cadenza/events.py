"""A Score as a sequence of events and back: an event is a note.

Six fields, predicted in this order (those that do not apply to an event are NOT_APPLICABLE):

    onset     grid steps since the previous event, 0 .. 8 quarters
    kind      metre, tempo, one of 128 instruments, one of 9 drum kits, rest (time passes) or end
    pitch     key number; for a metre or tempo event its value
    duration  index into `NoteEvents.durations`; drums have none
    velocity  loudness level
    shift     eighths of a step away from the grid; only where the corpus holds performances

Events at one step come in the order of their kinds, a chord from its highest note down, so that every
score has exactly one encoding. A piece begins with its metre and tempo and ends on a bar line. The
context is position in the bar, metre, number of the bar within a phrase of eight, and bars left.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cadenza.errors import ModelError
from cadenza.schema import NOT_APPLICABLE, Field, Schema
from cadenza.score import (
    DEFAULT_QPM,
    DRUM_KIT,
    DRUM_KITS,
    METRE,
    NOTE,
    TEMPO,
    IntArray,
    NoteArray,
    Score,
    bar_ticks,
    sort_notes,
)

ONSET, KIND, PITCH, DURATION, VELOCITY, SHIFT = range(6)
POSITION, METRE_CONTEXT, PHRASE, BARS_LEFT = range(4)

# Kinds, in the order in which they come at one step.
METRE_KIND, TEMPO_KIND, FIRST_INSTRUMENT = 0, 1, 2
FIRST_KIT = FIRST_INSTRUMENT + DRUM_KIT
KITS = tuple(DRUM_KITS)
REST_KIND = FIRST_KIT + len(KITS)
END_KIND = REST_KIND + 1
N_KINDS = END_KIND + 1

MAX_NUMERATOR = 24
DENOMINATORS = (1, 2, 4, 8, 16, 32)
N_METRES = 1 + MAX_NUMERATOR * len(DENOMINATORS)  # the first one is "no metre"
TEMPO_STEPS_PER_OCTAVE = 16  # a step is 4.4 %
N_TEMPI = 4 * TEMPO_STEPS_PER_OCTAVE + 1  # 30 .. 480 quarters a minute
FIRST_METRE_VALUE = 128
FIRST_TEMPO_VALUE = FIRST_METRE_VALUE + N_METRES
N_PITCH_VALUES = FIRST_TEMPO_VALUE + N_TEMPI

SHIFTS = 8  # per step
PHRASE_BARS = 8
MAX_BARS_LEFT = 16
UNKNOWN_BARS_LEFT = MAX_BARS_LEFT + 1

EventArray = NDArray[np.int16]


@dataclass(frozen=True)
class EncodedPiece:
    """events (N, fields) and context (N, context fields) of one piece."""

    events: EventArray
    context: EventArray

    def __len__(self) -> int:
        return len(self.events)


@dataclass(frozen=True)
class NoteEvents:
    """The representation: how fine the grid and the loudness are, and whether notes may leave the grid."""

    steps_per_quarter: int = 12
    velocity_levels: int = 16
    microtiming: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.steps_per_quarter <= 96:
            raise ModelError("steps per quarter must be between 1 and 96.")
        if not 1 <= self.velocity_levels <= 127:
            raise ModelError("velocity levels must be between 1 and 127.")

    @property
    def max_onset(self) -> int:
        """Longest time between two events, in steps; longer ones pass in rests."""
        return 8 * self.steps_per_quarter

    @cached_property
    def durations(self) -> IntArray:
        """Durations in steps: every one up to 8 quarters, then whole quarters up to 32."""
        fine = np.arange(1, 8 * self.steps_per_quarter + 1)
        return np.concatenate([fine, np.arange(9, 33) * self.steps_per_quarter])

    @cached_property
    def schema(self) -> Schema:
        """Sizes of the fields and of the context."""
        fields = [
            Field("onset", self.max_onset + 1),
            Field("kind", N_KINDS),
            Field("pitch", N_PITCH_VALUES),
            Field("duration", len(self.durations)),
            Field("velocity", self.velocity_levels),
        ]
        if self.microtiming:
            fields.append(Field("shift", SHIFTS))
        context = (
            Field("position", self.max_position + 1),
            Field("metre", N_METRES),
            Field("phrase", PHRASE_BARS),
            Field("bars_left", UNKNOWN_BARS_LEFT + 1),
        )
        return Schema(tuple(fields), context)

    @property
    def max_position(self) -> int:
        """Last position in a bar that is told apart, in steps."""
        return 16 * self.steps_per_quarter - 1

    @property
    def ticks_per_quarter(self) -> int:
        """Resolution of quantised and decoded scores."""
        return self.steps_per_quarter * (SHIFTS if self.microtiming else 1)

    # -- quantise ---------------------------------------------------------------------------------

    def quantise(self, score: Score) -> Score:
        """The score as far as events can tell it; applying this twice changes nothing.

        Onsets and ends go to the nearest step (onsets to an eighth of one with microtiming), a key
        struck again ends its sounding note, drums last a sixteenth, tempo and loudness take the
        nearest level, repeated tempi and metres and those after the last note are dropped.
        """
        step, shift, duration = self._quantised_times(score)
        notes = np.empty(len(score.notes), dtype=NOTE)
        notes["onset"], notes["duration"] = step, duration
        notes["pitch"] = score.notes["pitch"]
        notes["velocity"] = self._velocity_of(score.notes["velocity"] * self.velocity_levels // 128)
        notes["instrument"] = _known_instrument(score.notes["instrument"])
        notes, shift = self._one_stroke_at_a_time(notes, shift)
        end = int((notes["onset"] + notes["duration"]).max(initial=1))
        ratio = self.steps_per_quarter / score.ticks_per_quarter
        return self._in_ticks(
            notes, shift, _tempo_levels(score.tempi, ratio, end), _metre_values(score.metres, ratio, end)
        )

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
        order = np.lexsort((-notes["duration"], -notes["pitch"], notes["instrument"], notes["onset"]))
        notes, shift = notes[order], shift[order]
        key = notes["instrument"].astype(np.int64) * 128 + notes["pitch"]
        again = (np.diff(key) == 0) & (np.diff(notes["onset"]) == 0)
        keep = np.append(True, ~again)[: len(notes)]
        notes, shift, key = notes[keep], shift[keep], key[keep]
        wanted = np.where(notes["instrument"] >= DRUM_KIT, self._drum_steps, notes["duration"])
        order = np.lexsort((notes["onset"], key))
        same = np.flatnonzero(np.diff(key[order]) == 0)
        wanted[order[same]] = np.minimum(wanted[order[same]], np.diff(notes["onset"][order])[same])
        notes["duration"] = self.durations[np.searchsorted(self.durations, wanted, side="right") - 1]
        return notes, shift

    @property
    def _drum_steps(self) -> int:
        return max(1, self.steps_per_quarter // 4)

    def _velocity_of(self, level: Any) -> IntArray:
        return np.maximum(1, (np.asarray(level, dtype=np.int64) * 2 + 1) * 64 // self.velocity_levels)

    def _in_ticks(
        self, notes: NoteArray, shift: IntArray, tempi: _StepValues, metres: _StepValues
    ) -> Score:
        scale = self.ticks_per_quarter // self.steps_per_quarter
        notes["onset"] = notes["onset"] * scale + shift
        notes["duration"] *= scale
        tempo_array = np.empty(len(tempi.step), dtype=TEMPO)
        tempo_array["tick"], tempo_array["qpm"] = tempi.step * scale, _tempo_of(tempi.value)
        metre_array = np.empty(len(metres.step), dtype=METRE)
        metre_array["tick"] = metres.step * scale
        metre_array["numerator"], metre_array["denominator"] = _metre_of(metres.value)
        return Score(self.ticks_per_quarter, sort_notes(notes), tempo_array, metre_array)

    # -- encode and decode ------------------------------------------------------------------------

    def encode(self, score: Score, *, bars_left_known: bool = False) -> EncodedPiece:
        """Events and context of the quantised score; the law is decode(encode(s)) == quantise(s)."""
        score = self.quantise(score)
        scale = self.ticks_per_quarter // self.steps_per_quarter
        tempi = _tempo_levels(score.tempi, 1 / scale, None)
        metres = _metre_values(score.metres, 1 / scale, None)
        bars = _Bars(metres, self.steps_per_quarter)
        step, rows = self._rows(score, tempi, metres, scale)
        end = bars.line_at_or_after(int((step + _duration_or_zero(rows, self.durations)).max()))
        rows[-1, KIND], step[-1] = END_KIND, end
        order = np.lexsort((-rows[:, PITCH], rows[:, KIND], step))
        rows, step = self._with_rests(rows[order], step[order])
        rows[:, ONSET] = np.diff(step, prepend=0)
        context = bars.context(step, rows[:, KIND] == METRE_KIND, self.max_position)
        if bars_left_known:
            total = bars.number_at(np.array([end]))[0]
            left = np.clip(total - bars.number_at(step), 0, MAX_BARS_LEFT)
            context[:, BARS_LEFT] = left
        return EncodedPiece(rows, context)

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
        is_note = (kind >= FIRST_INSTRUMENT) & (kind < REST_KIND)
        body = events[is_note]
        notes = np.empty(len(body), dtype=NOTE)
        notes["onset"], notes["pitch"] = step[is_note], body[:, PITCH]
        notes["duration"] = self.durations[np.maximum(body[:, DURATION], 0)]
        notes["velocity"] = self._velocity_of(body[:, VELOCITY])
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


def _tempo_levels(tempi: NoteArray, ratio: float, end: int | None) -> _StepValues:
    octaves = np.log2(np.maximum(tempi["qpm"], 1.0) / DEFAULT_QPM)
    level = np.clip(_nearest(octaves * TEMPO_STEPS_PER_OCTAVE) + N_TEMPI // 2, 0, N_TEMPI - 1)
    return _from_start(_nearest(tempi["tick"] * ratio), level, N_TEMPI // 2, end)


def _tempo_of(level: IntArray) -> NDArray[np.float64]:
    return np.asarray(DEFAULT_QPM * 2.0 ** ((level - N_TEMPI // 2) / TEMPO_STEPS_PER_OCTAVE))


def metre_value(numerator: Any, denominator: Any) -> IntArray:
    """Number of a metre; one with a numerator over 24 or an unusual denominator counts as none."""
    numerator, denominator = np.asarray(numerator, dtype=np.int64), np.asarray(denominator, dtype=np.int64)
    power = np.searchsorted(DENOMINATORS, denominator)
    known = np.isin(denominator, DENOMINATORS) & (numerator >= 1) & (numerator <= MAX_NUMERATOR)
    return np.where(known, 1 + (numerator - 1) * len(DENOMINATORS) + power, 0)


def _metre_of(value: IntArray) -> tuple[IntArray, IntArray]:
    numerator = np.where(value > 0, (value - 1) // len(DENOMINATORS) + 1, 0)
    denominator = np.where(value > 0, np.array(DENOMINATORS)[(value - 1) % len(DENOMINATORS)], 4)
    return numerator, denominator


def _metre_values(metres: NoteArray, ratio: float, end: int | None) -> _StepValues:
    value = metre_value(metres["numerator"], metres["denominator"])
    return _from_start(_nearest(metres["tick"] * ratio), value, int(metre_value(4, 4)), end)


def bar_steps(value: int, steps_per_quarter: int) -> int:
    """Length in steps of a bar in the metre with this number."""
    numerator, denominator = _metre_of(np.array([value]))
    return bar_ticks(int(numerator[0]), int(denominator[0]), steps_per_quarter)


class _Bars:
    """Where the bars of a piece are, in steps."""

    def __init__(self, metres: _StepValues, steps_per_quarter: int) -> None:
        self.start, self.value = metres.step, metres.value
        self.length = np.array([bar_steps(int(v), steps_per_quarter) for v in metres.value])
        spans = -(-np.diff(self.start) // self.length[:-1])
        self.bars_before = np.concatenate([[0], np.cumsum(spans)])

    def number_at(self, step: IntArray) -> IntArray:
        """Number of the bar, from 0, to which each step (N,) belongs."""
        metre = np.searchsorted(self.start, step, side="right") - 1
        return np.asarray(self.bars_before[metre] + (step - self.start[metre]) // self.length[metre])

    def line_at_or_after(self, step: int) -> int:
        """First bar line at or after a step behind the last change of metre."""
        return int(self.start[-1] - -(step - self.start[-1]) // self.length[-1] * self.length[-1])

    def context(self, step: IntArray, is_metre: NDArray[np.bool_], max_position: int) -> EventArray:
        """Context (N, 4) of events: a metre event still stands in the bar of the metre before it."""
        metre = np.searchsorted(self.start, step, side="right") - 1 - is_metre
        known = metre >= 0
        inside = step - self.start[metre]
        metric = known & (self.value[metre] > 0)
        context = np.zeros((len(step), 4), dtype=np.int16)
        context[:, POSITION] = np.where(metric, np.minimum(inside % self.length[metre], max_position), 0)
        context[:, METRE_CONTEXT] = np.where(known, self.value[metre], 0)
        bar = self.bars_before[metre] + inside // self.length[metre]
        context[:, PHRASE] = np.where(metric, bar % PHRASE_BARS, 0)
        context[:, BARS_LEFT] = UNKNOWN_BARS_LEFT
        return context


def _nearest(x: Any) -> IntArray:
    """Nearest integers; halves go up, so that a shift of the piece by whole steps shifts all alike."""
    return np.floor(np.asarray(x, dtype=np.float64) + 0.5 + 1e-9).astype(np.int64)


def _known_instrument(instrument: Any) -> IntArray:
    """Instruments (N,) with unknown drum kits replaced by the nearest kit below (General MIDI 2)."""
    instrument = np.asarray(instrument, dtype=np.int64)
    kits = np.array(KITS)
    kit = kits[np.searchsorted(kits, np.maximum(instrument - DRUM_KIT, 0), side="right") - 1]
    return np.where(instrument < DRUM_KIT, instrument, DRUM_KIT + kit)


def kind_of_instrument(instrument: Any) -> IntArray:
    """Event kinds of instruments (N,)."""
    instrument = _known_instrument(instrument)
    kit = np.searchsorted(KITS, np.maximum(instrument - DRUM_KIT, 0))
    return np.where(instrument < DRUM_KIT, FIRST_INSTRUMENT + instrument, FIRST_KIT + kit)


def instrument_of_kind(kind: Any) -> IntArray:
    """Instruments of note kinds (N,)."""
    kind = np.asarray(kind, dtype=np.int64)
    kit = np.array(KITS)[np.clip(kind - FIRST_KIT, 0, len(KITS) - 1)]
    return np.where(kind < FIRST_KIT, kind - FIRST_INSTRUMENT, DRUM_KIT + kit)


def _duration_or_zero(rows: EventArray, durations: IntArray) -> IntArray:
    return np.where(rows[:, DURATION] >= 0, durations[rows[:, DURATION]], rows[:, KIND] >= FIRST_KIT)
