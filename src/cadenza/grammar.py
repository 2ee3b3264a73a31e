"""What may follow: the rules of `NoteEvents` applied while sampling.

Everything that these rules allow decodes to a valid score of exactly the wanted number of bars: events
in canonical order, metres only on bar lines, every note closed by the last bar line. Two more rules
keep the music within what the corpus does: only its instruments, metres and keys, and no key struck
more often in a row than its pieces do (the usual failure of such networks is one note for ever).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cadenza.context import N_CONTEXT, ContextTracker
from cadenza.errors import InputError
from cadenza.events import NoteEvents
from cadenza.schema import NEVER, NOT_APPLICABLE
from cadenza.vocabulary import (
    DURATION,
    END_KIND,
    FIRST_INSTRUMENT,
    FIRST_KIT,
    FIRST_METRE_VALUE,
    FIRST_TEMPO_VALUE,
    KIND,
    METRE_KIND,
    N_KINDS,
    N_PITCH_VALUES,
    ONSET,
    PITCH,
    REST_KIND,
    SHIFT,
    SHIFTS,
    TEMPO_KIND,
    EventArray,
)

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Repertoire:
    """What a corpus uses, as event values; saved with the model."""

    kinds: tuple[int, ...]  # instruments and kits, beside metre, tempo and end
    metres: tuple[int, ...]  # pitch values of metre events
    tempi: tuple[int, ...]  # pitch values of tempo events
    pitch_ranges: dict[int, tuple[int, int]]  # of each kind that plays, lowest and highest key
    longest_run: int  # how often one key is struck in a row, in all but the most insistent pieces

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Repertoire:
        """Inverse of `to_dict`; raises ValueError, KeyError or TypeError if it is damaged."""
        found = cls(
            tuple(map(int, data["kinds"])),
            tuple(map(int, data["metres"])),
            tuple(map(int, data["tempi"])),
            {int(kind): (int(low), int(high)) for kind, (low, high) in data["pitch_ranges"].items()},
            int(data["longest_run"]),
        )
        in_range = (
            (found.kinds, FIRST_INSTRUMENT, REST_KIND),
            (found.metres, FIRST_METRE_VALUE, FIRST_TEMPO_VALUE),
            (found.tempi, FIRST_TEMPO_VALUE, N_PITCH_VALUES),
            (tuple(p for pair in found.pitch_ranges.values() for p in pair), 0, 128),
        )
        for values, low, high in in_range:
            if not values or not all(low <= value < high for value in values):
                raise ValueError("values out of range")
        if set(found.pitch_ranges) != set(found.kinds) or found.longest_run < 1:
            raise ValueError("kinds and pitch ranges disagree")
        return found

    @classmethod
    def of(cls, pieces: Sequence[EventArray]) -> Repertoire:
        """What these pieces use."""
        events = np.concatenate(pieces)
        kind, pitch = events[:, KIND], events[:, PITCH]
        playing = [int(k) for k in np.unique(kind) if FIRST_INSTRUMENT <= k < REST_KIND]
        ranges = {k: (int(pitch[kind == k].min()), int(pitch[kind == k].max())) for k in playing}
        runs = [_longest_run(piece) for piece in pieces]
        return cls(
            kinds=tuple(playing),
            metres=tuple(int(v) for v in np.unique(pitch[kind == METRE_KIND])),
            tempi=tuple(int(v) for v in np.unique(pitch[kind == TEMPO_KIND])),
            pitch_ranges=ranges,
            longest_run=max(4, round(float(np.quantile(runs, 0.9)))),
        )

    def with_piece(self, piece: EventArray) -> Repertoire:
        """This and what one more piece uses."""
        other = Repertoire.of([piece])
        ranges = dict(self.pitch_ranges)
        for kind, (low, high) in other.pitch_ranges.items():
            own_low, own_high = ranges.get(kind, (low, high))
            ranges[kind] = (min(low, own_low), max(high, own_high))
        return Repertoire(
            tuple(sorted({*self.kinds, *other.kinds})),
            tuple(sorted({*self.metres, *other.metres})),
            tuple(sorted({*self.tempi, *other.tempi})),
            ranges,
            self.longest_run,
        )


def _longest_run(events: NDArray[Any]) -> int:
    """Longest row of notes on one key by one pitched instrument with nothing else of it in between."""
    longest = 1
    for kind in np.unique(events[:, KIND]):
        if FIRST_INSTRUMENT <= kind < FIRST_KIT:
            pitch = events[events[:, KIND] == kind, PITCH]
            changes = np.flatnonzero(np.diff(pitch, prepend=-2, append=-2))
            longest = max(longest, int(np.diff(changes).max()))
    return longest


class NoteGrammar:
    """State of a piece being composed, which ends after `bars` bars.

    Use: for each field in turn `bias`, with the fields chosen so far in `event`, and `fill_context` if the
    field tells any; then `advance` with the whole event. Biases are made once and looked up from then on.
    """

    def __init__(self, representation: NoteEvents, repertoire: Repertoire, bars: int) -> None:
        if bars < 1:
            raise InputError("the number of bars must be at least 1.")
        self.representation, self.repertoire = representation, repertoire
        self.n_events = 0
        self.at = ContextTracker(representation.steps_per_quarter, representation.max_onset, bars)
        self.last_end = self.not_before = 0
        self.done = False
        self.run_pitch, self.run_length = [-1] * N_KINDS, [0] * N_KINDS
        self.durations: list[int] = representation.durations.tolist()
        self._use(repertoire)

    def _use(self, used: Repertoire) -> None:
        self.repertoire = used
        self.biases: dict[tuple[int, ...], FloatArray] = {}
        self.kind_ok = np.zeros(N_KINDS, bool)
        self.kind_ok[[METRE_KIND, TEMPO_KIND, *used.kinds]] = True
        self.pitch_ok = np.zeros((N_KINDS, N_PITCH_VALUES), bool)
        self.pitch_ok[METRE_KIND, list(used.metres)] = True
        self.pitch_ok[TEMPO_KIND, list(used.tempi)] = True
        for kind, (low, high) in used.pitch_ranges.items():
            self.pitch_ok[kind, low : high + 1] = True
        self.lowest_pitch: list[int] = self.pitch_ok.argmax(axis=1).tolist()
        self.highest_kind = max(used.kinds)

    @classmethod
    def after(
        cls, representation: NoteEvents, repertoire: Repertoire, bars: int, prompt: EventArray, end: int
    ) -> NoteGrammar:
        """State after the events of a prompt (without an end event): `bars` more bars follow step `end`."""
        grammar = cls(representation, repertoire, bars)
        grammar._use(repertoire.with_piece(prompt))
        for event in prompt.tolist():
            grammar.advance(event)
        at = grammar.at
        grammar.not_before = end
        at.bars = at.bar_number - -(end - at.bar_start) // at.bar_length + bars
        return grammar

    def copy(self) -> NoteGrammar:
        """One that goes on from here by itself; both look biases up in one place."""
        other = copy.copy(self)
        other.at = self.at.copy()
        other.run_pitch, other.run_length = self.run_pitch.copy(), self.run_length.copy()
        return other

    def no_context(self) -> list[int]:
        """Context of which nothing is known yet."""
        return [NOT_APPLICABLE] * N_CONTEXT

    def fill_context(self, field: int, event: list[int], context: list[int]) -> None:
        """Set what follows for the context from this field of the next event."""
        self.at.fill(field, event, context)

    def bias(self, field: int, event: list[int]) -> FloatArray | None:
        """What to add to the logits (size,) of this field: 0 where it may take the value, else NEVER.

        None if the next event does not have it.
        """
        kind = event[KIND]
        if field == ONSET:
            return self._onsets()
        if field == KIND:
            return self._kinds(event[ONSET])
        if field == PITCH:
            return self._pitches(event[ONSET], kind) if kind < REST_KIND else None
        if not FIRST_INSTRUMENT <= kind < REST_KIND:
            return None
        if field == DURATION:
            return self._durations(event[ONSET]) if kind < FIRST_KIT else None
        if field == SHIFT:
            return self._shifts(event)
        return self._bias((field,), lambda: np.ones(self.representation.velocity_levels, bool))

    def _bias(self, key: tuple[int, ...], allowed: Callable[[], BoolArray]) -> FloatArray:
        found = self.biases.get(key)
        if found is None:
            found = self.biases[key] = np.where(allowed(), np.float32(0), np.float32(NEVER))
        return found

    def _onsets(self) -> FloatArray:
        """None beyond the last bar line or before the end of the prompt; 0 only where the chord can grow."""
        at, longest = self.at, self.representation.max_onset
        if self.n_events < 2:  # metre and tempo open the piece
            first, last = 0, 0
        else:
            full = at.last_kind >= self.highest_kind and at.last_pitch <= self.lowest_pitch[at.last_kind]
            first, last = max(int(full), self.not_before - at.now), min(longest, at.horizon - at.now)
            if first > last:  # only a rest leads to where the next event may be
                first = last = longest

        def allowed() -> BoolArray:
            onsets = np.arange(longest + 1)
            return (onsets >= first) & (onsets <= last)

        return self._bias((ONSET, first, last), allowed)

    def _kinds(self, onset: int) -> FloatArray:
        """Those that may come at this step, in their order within a step; rests where nothing else can."""
        at, step = self.at, self.at.now + onset
        if self.n_events < 2:
            return self._one_kind(METRE_KIND if self.n_events == 0 else TEMPO_KIND)
        if step >= at.horizon:
            return self._one_kind(END_KIND)
        rest_possible = onset == self.representation.max_onset
        if step < self.not_before:
            return self._one_kind(REST_KIND)
        on_line = (step - at.bar_start) % at.bar_length == 0 and self.last_end <= step
        lowest = 0
        if onset == 0:
            can_grow = at.last_kind >= FIRST_INSTRUMENT and at.last_pitch > self.lowest_pitch[at.last_kind]
            lowest = at.last_kind + (0 if can_grow else 1)

        def allowed() -> BoolArray:
            ok = self.kind_ok & (np.arange(N_KINDS) >= lowest)
            ok[METRE_KIND] &= on_line
            if rest_possible and not ok.any():
                ok[REST_KIND] = True
            return ok

        return self._bias((KIND, lowest, on_line, rest_possible), allowed)

    def _one_kind(self, kind: int) -> FloatArray:
        return self._bias((KIND, kind), lambda: np.arange(N_KINDS) == kind)

    def _pitches(self, onset: int, kind: int) -> FloatArray:
        """Within the instrument's range, below the chord so far, not one that has been struck too often."""
        in_chord = onset == 0 and kind == self.at.last_kind
        limit = self.at.last_pitch if in_chord else N_PITCH_VALUES
        is_worn = (
            FIRST_INSTRUMENT <= kind < FIRST_KIT and self.run_length[kind] >= self.repertoire.longest_run
        )
        worn = self.run_pitch[kind] if is_worn else NOT_APPLICABLE

        def allowed() -> BoolArray:
            ok: BoolArray = self.pitch_ok[kind] & (np.arange(N_PITCH_VALUES) < limit)
            if worn >= 0 and ok.sum() > 1:
                ok[worn] = False
            return ok

        return self._bias((PITCH, kind, limit, worn), allowed)

    def _durations(self, onset: int) -> FloatArray:
        """Those that end by the last bar line."""
        left = min(self.at.horizon - self.at.now - onset, self.durations[-1])
        return self._bias((DURATION, left), lambda: self.representation.durations <= left)

    def _shifts(self, event: list[int]) -> FloatArray:
        """None that leads out of the piece, before its start or behind its last bar line."""
        step = self.at.now + event[ONSET]
        from_zero = step == 0
        to_zero = step + self._steps(event) >= self.at.horizon

        def allowed() -> BoolArray:
            shift = np.arange(SHIFTS) - SHIFTS // 2
            return ((shift >= 0) | (not from_zero)) & ((shift <= 0) | (not to_zero))

        return self._bias((SHIFT, from_zero, to_zero), allowed)

    def _steps(self, event: list[int]) -> int:
        return self.durations[event[DURATION]] if event[DURATION] >= 0 else 1

    def advance(self, event: list[int]) -> None:
        """Go on to after this event."""
        kind, pitch = event[KIND], event[PITCH]
        self.n_events += 1
        self.at.advance(event)
        if FIRST_INSTRUMENT <= kind < REST_KIND:
            self.last_end = max(self.last_end, self.at.now + self._steps(event))
        self.run_length[kind] = self.run_length[kind] + 1 if self.run_pitch[kind] == pitch else 1
        self.run_pitch[kind] = pitch
        self.done = kind == END_KIND
