"""What may follow: the rules of `NoteEvents` applied while sampling, for a batch of candidates at once.

Everything that these rules allow decodes to a valid score of exactly the wanted number of bars: events
in canonical order, metres only on bar lines, every note closed by the last bar line. Two more rules
keep the music within what the corpus does: only its instruments, metres and keys, and no key struck
more often in a row than its pieces do (the usual failure of such networks is one note for ever).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cadenza.context import N_CONTEXT, ContextTracker
from cadenza.errors import InputError
from cadenza.events import NoteEvents
from cadenza.schema import NOT_APPLICABLE
from cadenza.score import IntArray
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
    VELOCITY,
    EventArray,
)

BoolArray = NDArray[np.bool_]


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
    """State of `batch` candidates, each of which ends after `bars` bars.

    Use: for each field in turn `applies` and `allowed`, with the fields chosen so far in `event`
    (batch, fields), and `fill_context`; then `advance` with the whole event.
    """

    def __init__(self, representation: NoteEvents, repertoire: Repertoire, batch: int, bars: int) -> None:
        if bars < 1:
            raise InputError("the number of bars must be at least 1.")
        self.representation, self.batch = representation, batch
        self.repertoire = repertoire
        self.rows = np.arange(batch)
        self.n_events = 0
        self.at = ContextTracker(representation.steps_per_quarter, representation.max_onset, batch, bars)
        self.last_end = np.zeros(batch, np.int64)
        self.not_before = np.zeros(batch, np.int64)
        self.done = np.zeros(batch, bool)
        self.run_pitch = np.full((batch, N_KINDS), -1)
        self.run_length = np.zeros((batch, N_KINDS), np.int64)
        self._tables()

    def _tables(self) -> None:
        used = self.repertoire
        self.kind_ok = np.zeros(N_KINDS, bool)
        self.kind_ok[[METRE_KIND, TEMPO_KIND, *used.kinds]] = True
        self.pitch_ok = np.zeros((N_KINDS, N_PITCH_VALUES), bool)
        self.pitch_ok[METRE_KIND, list(used.metres)] = True
        self.pitch_ok[TEMPO_KIND, list(used.tempi)] = True
        for kind, (low, high) in used.pitch_ranges.items():
            self.pitch_ok[kind, low : high + 1] = True
        self.lowest_pitch = self.pitch_ok.argmax(axis=1)
        self.highest_kind = int(np.flatnonzero(self.kind_ok).max())
        self.onsets = np.arange(self.representation.max_onset + 1)

    @classmethod
    def after(
        cls,
        representation: NoteEvents,
        repertoire: Repertoire,
        batch: int,
        bars: int,
        prompt: EventArray,
        end: int,
    ) -> NoteGrammar:
        """State after the events of a prompt (without an end event): `bars` more bars follow step `end`."""
        grammar = cls(representation, repertoire, batch, bars)
        grammar._admit(prompt)
        for event in prompt.astype(np.int64):
            grammar.advance(np.repeat(event[None], batch, axis=0))
        at = grammar.at
        grammar.not_before = np.full(batch, end)
        in_metre = -(-(grammar.not_before - at.bar_start) // at.bar_length)
        at.bars = int(at.bar_number[0] + in_metre[0]) + bars
        return grammar

    def _admit(self, piece: EventArray) -> None:
        """Allow what a prompt uses, too."""
        prompt = Repertoire.of([piece])
        used = self.repertoire
        ranges = dict(used.pitch_ranges)
        for kind, (low, high) in prompt.pitch_ranges.items():
            own_low, own_high = ranges.get(kind, (low, high))
            ranges[kind] = (min(low, own_low), max(high, own_high))
        self.repertoire = Repertoire(
            tuple(sorted({*used.kinds, *prompt.kinds})),
            tuple(sorted({*used.metres, *prompt.metres})),
            tuple(sorted({*used.tempi, *prompt.tempi})),
            ranges,
            used.longest_run,
        )
        self._tables()

    def no_context(self) -> IntArray:
        """Context (batch, context fields) of which nothing is known yet."""
        return np.full((self.batch, N_CONTEXT), NOT_APPLICABLE, np.int64)

    def fill_context(self, field: int, event: IntArray, context: IntArray) -> None:
        """Set what follows for context (batch, context fields) from this field of the next event."""
        self.at.fill(field, event, context)

    def applies(self, field: int, event: IntArray) -> BoolArray:
        """Whether (batch,) the next event has this field."""
        kind = event[:, KIND]
        if field in (ONSET, KIND):
            return np.ones(self.batch, bool)
        if field == PITCH:
            return kind < REST_KIND
        is_note = (kind >= FIRST_INSTRUMENT) & (kind < REST_KIND)
        return is_note & (kind < FIRST_KIT) if field == DURATION else is_note

    def allowed(self, field: int, event: IntArray) -> BoolArray | None:
        """Values (batch, size) that this field may take; None if all. Rows that do not apply are all True."""
        if field == ONSET:
            return self._allowed_onsets()
        if field == KIND:
            return self._allowed_kinds(event)
        if field == PITCH:
            return self._allowed_pitches(event)
        if field == DURATION:
            return self._allowed_durations(event)
        if field == SHIFT:
            return self._allowed_shifts(event)
        return None

    def _allowed_onsets(self) -> BoolArray:
        if self.n_events < 2:  # metre and tempo open the piece
            return np.broadcast_to(self.onsets == 0, (self.batch, len(self.onsets)))
        step = self.at.now[:, None] + self.onsets
        ok: BoolArray = (step <= self.at.horizon[:, None]) & (step >= self.not_before[:, None])
        chord_is_full = self.at.last_pitch <= self.lowest_pitch[self.at.last_kind]
        ok[(self.at.last_kind >= self.highest_kind) & chord_is_full, 0] = False
        too_far = ~ok.any(axis=1)  # only a rest leads to where the next event may be
        ok[too_far, -1] = True
        return ok

    def _allowed_kinds(self, event: IntArray) -> BoolArray:
        kinds = np.arange(N_KINDS)
        if self.n_events < 2:
            first = METRE_KIND if self.n_events == 0 else TEMPO_KIND
            return np.broadcast_to(kinds == first, (self.batch, N_KINDS))
        step = self.at.now + event[:, ONSET]
        ok = np.repeat(self.kind_ok[None], self.batch, axis=0)
        ok[:, METRE_KIND] &= self._metre_may_change(step)
        same_step = event[:, ONSET] == 0
        ordered = kinds > self.at.last_kind[:, None]
        more = (self.at.last_kind >= FIRST_INSTRUMENT) & (
            self.at.last_pitch > self.lowest_pitch[self.at.last_kind]
        )
        ordered[self.rows, self.at.last_kind] |= more
        ok &= ordered | ~same_step[:, None]
        horizon = self.at.horizon
        early = step < self.not_before
        ok[early] = False
        stuck = ~ok.any(axis=1) | early
        ok[stuck & (event[:, ONSET] == self.onsets[-1]), REST_KIND] = True
        at_end = step >= horizon
        ok[at_end] = kinds == END_KIND
        return ok

    def _metre_may_change(self, step: IntArray) -> BoolArray:
        on_line = (step - self.at.bar_start) % self.at.bar_length == 0
        return on_line & (step < self.at.horizon) & (self.last_end <= step)

    def _allowed_pitches(self, event: IntArray) -> BoolArray:
        kind = event[:, KIND]
        ok: BoolArray = self.pitch_ok[kind]
        same_chord = (event[:, ONSET] == 0) & (kind == self.at.last_kind)
        ok &= (np.arange(N_PITCH_VALUES) < self.at.last_pitch[:, None]) | ~same_chord[:, None]
        run = self.run_length[self.rows, kind] >= self.repertoire.longest_run
        run &= (kind >= FIRST_INSTRUMENT) & (kind < FIRST_KIT)
        again = self.run_pitch[self.rows, kind]
        worn = run & (ok.sum(axis=1) > 1)
        ok[self.rows[worn], again[worn]] = False
        ok[kind >= REST_KIND] = True
        return ok

    def _allowed_durations(self, event: IntArray) -> BoolArray:
        left = self.at.horizon - (self.at.now + event[:, ONSET])
        ok: BoolArray = self.representation.durations <= left[:, None]
        ok[~self.applies(DURATION, event)] = True
        return ok

    def _allowed_shifts(self, event: IntArray) -> BoolArray:
        """None that leads out of the piece, before its start or behind its last bar line."""
        step = self.at.now + event[:, ONSET]
        length = np.where(event[:, DURATION] >= 0, self.representation.durations[event[:, DURATION]], 1)
        shift = np.arange(SHIFTS) - SHIFTS // 2
        ok: BoolArray = (shift >= 0) | (step > 0)[:, None]
        ok &= (shift <= 0) | (step + length < self.at.horizon)[:, None]
        return ok

    def advance(self, event: IntArray) -> None:
        """Go on to after this event (batch, fields); candidates that have ended stay where they are."""
        kind, pitch = event[:, KIND], event[:, PITCH]
        alive = ~self.done
        self.n_events += 1
        self.at.advance(event, alive)
        is_note = alive & self.applies(VELOCITY, event)
        steps = np.where(event[:, DURATION] >= 0, self.representation.durations[event[:, DURATION]], 1)
        self.last_end = np.where(is_note, np.maximum(self.last_end, self.at.now + steps), self.last_end)
        again = self.run_pitch[self.rows, kind] == pitch
        self.run_length[self.rows, kind] = np.where(again, self.run_length[self.rows, kind] + 1, 1)
        self.run_pitch[self.rows, kind] = pitch
        self.done |= kind == END_KIND
