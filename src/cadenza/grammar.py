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

from cadenza.errors import InputError
from cadenza.events import (
    DURATION,
    END_KIND,
    FIRST_INSTRUMENT,
    FIRST_KIT,
    FIRST_METRE_VALUE,
    KIND,
    MAX_BARS_LEFT,
    METRE_KIND,
    N_KINDS,
    N_PITCH_VALUES,
    ONSET,
    PHRASE_BARS,
    PITCH,
    REST_KIND,
    TEMPO_KIND,
    VELOCITY,
    EncodedPiece,
    NoteEvents,
    bar_steps,
)
from cadenza.score import IntArray

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
        """Inverse of `to_dict`."""
        return cls(
            tuple(data["kinds"]),
            tuple(data["metres"]),
            tuple(data["tempi"]),
            {int(kind): (low, high) for kind, (low, high) in data["pitch_ranges"].items()},
            data["longest_run"],
        )

    @classmethod
    def of(cls, pieces: Sequence[EncodedPiece]) -> Repertoire:
        """What these pieces use."""
        events = np.concatenate([piece.events for piece in pieces])
        kind, pitch = events[:, KIND], events[:, PITCH]
        playing = [int(k) for k in np.unique(kind) if FIRST_INSTRUMENT <= k < REST_KIND]
        ranges = {k: (int(pitch[kind == k].min()), int(pitch[kind == k].max())) for k in playing}
        runs = [_longest_run(piece.events) for piece in pieces]
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
    (batch, fields); after the onset also `context`; then `advance` with the whole event.
    """

    def __init__(self, representation: NoteEvents, repertoire: Repertoire, batch: int, bars: int) -> None:
        if bars < 1:
            raise InputError("the number of bars must be at least 1.")
        self.representation, self.batch, self.bars = representation, batch, bars
        self.repertoire = repertoire
        self.spq = representation.steps_per_quarter
        self.rows = np.arange(batch)
        self.n_events = 0
        self.now, self.bar_start, self.bar_number = (np.zeros(batch, np.int64) for _ in range(3))
        self.bar_length = np.full(batch, 4 * self.spq)
        self.metre = np.zeros(batch, np.int64)
        self.known_metre = np.zeros(batch, bool)
        self.last_kind = np.full(batch, -1)
        self.last_pitch = np.zeros(batch, np.int64)
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
        self.metre_steps = {
            value: bar_steps(value - FIRST_METRE_VALUE, self.spq) for value in used.metres
        }

    @classmethod
    def after(
        cls, representation: NoteEvents, repertoire: Repertoire, batch: int, bars: int, prompt: EncodedPiece
    ) -> NoteGrammar:
        """State after a whole encoded piece, whose end is undone: `bars` more bars follow its last one."""
        grammar = cls(representation, repertoire, batch, bars)
        grammar._admit(prompt)
        for event in prompt.events[:-1].astype(np.int64):
            grammar.advance(np.repeat(event[None], batch, axis=0))
        end = grammar.now + int(prompt.events[-1, ONSET])
        in_metre = -(-(end - grammar.bar_start) // grammar.bar_length)
        grammar.bars = int(grammar.bar_number[0] + in_metre[0]) + bars
        grammar.not_before = end
        return grammar

    def _admit(self, piece: EncodedPiece) -> None:
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

    @property
    def horizon(self) -> IntArray:
        """Step (batch,) of the last bar line, if the metre stays."""
        return self.bar_start + (self.bars - self.bar_number) * self.bar_length

    def context(self, event: IntArray) -> IntArray:
        """Context (batch, 4) of the next event, once its onset is known."""
        since = self.now + event[:, ONSET] - self.bar_start
        bar = self.bar_number + since // self.bar_length
        metric = self.known_metre & (self.metre > 0)
        position = np.minimum(since % self.bar_length, self.representation.max_position)
        return np.stack(
            [
                np.where(metric, position, 0),
                np.where(self.known_metre, self.metre, 0),
                np.where(metric, bar % PHRASE_BARS, 0),
                np.clip(self.bars - bar, 0, MAX_BARS_LEFT),
            ],
            axis=1,
        )

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
        return None

    def _allowed_onsets(self) -> BoolArray:
        if self.n_events < 2:  # metre and tempo open the piece
            return np.broadcast_to(self.onsets == 0, (self.batch, len(self.onsets)))
        step = self.now[:, None] + self.onsets
        ok: BoolArray = (step <= self.horizon[:, None]) & (step >= self.not_before[:, None])
        chord_is_full = self.last_pitch <= self.lowest_pitch[self.last_kind]
        ok[(self.last_kind >= self.highest_kind) & chord_is_full, 0] = False
        too_far = ~ok.any(axis=1)  # only a rest leads to where the next event may be
        ok[too_far, -1] = True
        return ok

    def _allowed_kinds(self, event: IntArray) -> BoolArray:
        kinds = np.arange(N_KINDS)
        if self.n_events < 2:
            first = METRE_KIND if self.n_events == 0 else TEMPO_KIND
            return np.broadcast_to(kinds == first, (self.batch, N_KINDS))
        step = self.now + event[:, ONSET]
        ok = np.repeat(self.kind_ok[None], self.batch, axis=0)
        ok[:, METRE_KIND] &= self._metre_may_change(step)
        same_step = event[:, ONSET] == 0
        ordered = kinds > self.last_kind[:, None]
        more = (self.last_kind >= FIRST_INSTRUMENT) & (self.last_pitch > self.lowest_pitch[self.last_kind])
        ordered[self.rows, self.last_kind] |= more
        ok &= ordered | ~same_step[:, None]
        horizon = self.horizon
        early = step < self.not_before
        ok[early] = False
        stuck = ~ok.any(axis=1) | early
        ok[stuck & (event[:, ONSET] == self.onsets[-1]), REST_KIND] = True
        at_end = step >= horizon
        ok[at_end] = kinds == END_KIND
        return ok

    def _metre_may_change(self, step: IntArray) -> BoolArray:
        on_line = (step - self.bar_start) % self.bar_length == 0
        return on_line & (step < self.horizon) & (self.last_end <= step)

    def _allowed_pitches(self, event: IntArray) -> BoolArray:
        kind = event[:, KIND]
        ok: BoolArray = self.pitch_ok[kind]
        same_chord = (event[:, ONSET] == 0) & (kind == self.last_kind)
        ok &= (np.arange(N_PITCH_VALUES) < self.last_pitch[:, None]) | ~same_chord[:, None]
        run = self.run_length[self.rows, kind] >= self.repertoire.longest_run
        run &= (kind >= FIRST_INSTRUMENT) & (kind < FIRST_KIT)
        again = self.run_pitch[self.rows, kind]
        worn = run & (ok.sum(axis=1) > 1)
        ok[self.rows[worn], again[worn]] = False
        ok[kind >= REST_KIND] = True
        return ok

    def _allowed_durations(self, event: IntArray) -> BoolArray:
        left = self.horizon - (self.now + event[:, ONSET])
        ok: BoolArray = self.representation.durations <= left[:, None]
        ok[~self.applies(DURATION, event)] = True
        return ok

    def advance(self, event: IntArray) -> None:
        """Go on to after this event (batch, fields); candidates that have ended stay where they are."""
        kind, pitch = event[:, KIND], event[:, PITCH]
        alive = ~self.done
        self.n_events += 1
        self.now = np.where(alive, self.now + event[:, ONSET], self.now)
        bars = (self.now - self.bar_start) // self.bar_length
        self.bar_number += bars
        self.bar_start += bars * self.bar_length
        self._change_metre(alive & (kind == METRE_KIND), pitch)
        self.last_kind = np.where(kind == REST_KIND, -1, kind)
        self.last_pitch = pitch.copy()
        is_note = alive & self.applies(VELOCITY, event)
        steps = np.where(event[:, DURATION] >= 0, self.representation.durations[event[:, DURATION]], 1)
        self.last_end = np.where(is_note, np.maximum(self.last_end, self.now + steps), self.last_end)
        again = self.run_pitch[self.rows, kind] == pitch
        self.run_length[self.rows, kind] = np.where(again, self.run_length[self.rows, kind] + 1, 1)
        self.run_pitch[self.rows, kind] = pitch
        self.done |= kind == END_KIND

    def _change_metre(self, changed: BoolArray, pitch: IntArray) -> None:
        if not changed.any():
            return
        for row in np.flatnonzero(changed):
            value = int(pitch[row])
            if self.now[row] > self.bar_start[row]:  # a prompt may change its metre within a bar
                self.bar_number[row] += 1
            self.bar_start[row] = self.now[row]
            self.metre[row] = value - FIRST_METRE_VALUE
            self.bar_length[row] = self.metre_steps[value]
        self.known_metre |= changed
