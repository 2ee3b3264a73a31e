"""A user's piece that is to be filled, varied, humanised or orchestrated: as it lies in its file, and as events.

Its notes stay as they are in the file. Events know their nearest steps; what is drawn goes back to the file's ticks.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cadenza.context import Bars, bars_of
from cadenza.errors import InputError
from cadenza.events import NoteEvents, kinds_of
from cadenza.gaps import Gap
from cadenza.score import DRUM_KIT, NOTE, IntArray, NoteArray, Score, seconds_at, sort_notes
from cadenza.timing import FREE_QPM, classify_timing, lay_on_grid, leading_bars
from cadenza.vocabulary import (
    KIND,
    N_KINDS,
    ONSET,
    PITCH,
    REST_KIND,
    SHIFT,
    SHIFTS,
    VELOCITY,
    EventArray,
    instrument_of_kind,
    kind_of_instrument,
    place,
)

MAX_TICK, MAX_RESOLUTION = 2**31 - 1, 2**15 - 1  # ticks a quarter that a MIDI file can tell


@dataclass(frozen=True)
class Source:
    """A piece of a user: `score` as in its file, `laid` on its own grid (the same notes in the same order)."""

    representation: NoteEvents
    score: Score
    laid: Score

    @classmethod
    def of(cls, score: Score, representation: NoteEvents) -> Source:
        """Raises InputError for a piece without notes, or one that is too long."""
        if not len(score):
            raise InputError("the piece has no notes; choose another file.")
        laid = lay_on_grid(score, classify_timing(score))
        resolution = math.lcm(score.ticks_per_quarter, representation.ticks_per_quarter)
        # Where files cannot be so fine, what is drawn goes to the nearest tick.
        factor = resolution // score.ticks_per_quarter if resolution <= MAX_RESOLUTION else 1
        ticks = [score.end, laid.end, *score.tempi["tick"][-1:], *score.metres["tick"][-1:]]
        if factor * max(map(int, ticks)) > MAX_TICK:
            raise InputError("the piece is too long for its resolution; cut it.")
        return cls(representation, _finer(score, factor), laid)

    @cached_property
    def events(self) -> EventArray:
        """All of it as events (N, fields)."""
        return self.representation.encode(self.laid)

    @property
    def digest(self) -> str:
        """Short hash, which tells pieces apart."""
        score, found = self.score, hashlib.sha256(b"%d" % self.score.ticks_per_quarter)
        for part in (score.notes, score.tempi, score.metres, self.events.astype("<i4")):
            found.update(part.tobytes())
        return found.hexdigest()[:16]

    @cached_property
    def steps(self) -> IntArray:
        """The step (N,) of every event."""
        return np.cumsum(self.events[:, ONSET].astype(np.int64))

    @cached_property
    def bars(self) -> int:
        """How many bars there are, empty ones before the first note aside."""
        return max(1, int(self._bars.number_of(self.steps[-1:])[0]))

    @cached_property
    def _bars(self) -> Bars:
        return bars_of(self.events, self.representation.steps_per_quarter)

    @cached_property
    def kinds(self) -> list[int]:
        """The instruments and kits that play."""
        return kinds_of(self.events)

    @cached_property
    def leading_bars(self) -> int:
        """Empty bars at the start of the file, which events leave out."""
        return leading_bars(self.score, self.laid)

    @cached_property
    def _factor(self) -> int:
        return self.score.ticks_per_quarter // self.laid.ticks_per_quarter

    @cached_property
    def _offset(self) -> int:
        """How many ticks earlier the laid piece begins."""
        return int(self.score.notes["onset"].min()) - self._factor * int(self.laid.notes["onset"].min())

    def gap(self, bars: Sequence[tuple[int, int]] | None, kinds: Sequence[int]) -> Gap:
        """These kinds in these bars (first, last), counted from 1 as in the file; None means all bars."""
        free = np.zeros((self.bars, N_KINDS), bool)
        for first, last in [(1, self.bars + self.leading_bars)] if bars is None else bars:
            low, high = first - 1 - self.leading_bars, last - self.leading_bars
            if not 0 <= low < high <= self.bars:
                raise InputError(
                    f"bars {first}-{last} do not lie within the piece, which has bars "
                    f"{1 + self.leading_bars} to {self.bars + self.leading_bars}."
                )
            free[low:high, list(kinds)] = True
        return Gap.of(free, sorted({*self.kinds, *kinds}))

    def some_of(self, gap: Gap, amount: float, rng: np.random.Generator) -> Gap:
        """Each instrument's bars of a gap with this chance, and at least one of them."""
        cells = np.argwhere(gap.free[:, self.kinds])
        chosen = rng.random(len(cells)) < amount
        if len(cells) and not chosen.any():
            chosen[rng.integers(len(cells))] = True
        free = np.zeros_like(gap.free)
        bar, kind = cells[chosen].T
        free[bar, np.array(self.kinds)[kind]] = True
        return Gap.of(free, self.kinds)

    @cached_property
    def _places(self) -> tuple[IntArray, IntArray, IntArray]:
        """Step, bar and kind of every note of the file, each (N,)."""
        step = self.representation.steps_of(self.laid)
        bar = self._bars.number_of(step)
        return step, np.minimum(bar, self.bars - 1), kind_of_instrument(self.score.notes["instrument"])

    @cached_property
    def free_from(self) -> IntArray:
        """Of every event (N,), the first step at which its key no longer sounds in the file."""
        step, _, kind = self._places
        ratio = self.representation.steps_per_quarter / self.laid.ticks_per_quarter
        end = np.ceil((self.laid.notes["onset"] + self.laid.notes["duration"]) * ratio - 1e-9).astype(
            np.int64
        )
        rank = place(step, kind, self.laid.notes["pitch"].astype(np.int64))
        of_events = place(self.steps, *self.events[:, [KIND, PITCH]].T.astype(np.int64))
        found = self.steps.copy()
        order = np.argsort(of_events, kind="stable")
        where = order[np.minimum(np.searchsorted(of_events[order], rank), len(order) - 1)]
        np.maximum.at(found, where[of_events[where] == rank], end[of_events[where] == rank])
        return found

    def tick(self, step: int) -> int:
        """The file's tick of a step."""
        return int(self._ticks(np.array([step / self.representation.steps_per_quarter]))[0])

    def filled(self, gap: Gap, events: IntArray, is_new: Sequence[bool]) -> Score:
        """The file's notes outside the gap, as they are, and those of the events that are new."""
        _, bar, kind = self._places
        kept = self.score.notes[~gap.free[bar, kind]]
        new = self.new(events, is_new).notes
        return replace(self.score, notes=sort_notes(np.concatenate([kept, new])))

    def new(self, events: IntArray, is_new: Sequence[bool]) -> Score:
        """The notes of the events that are new, in the file's ticks."""
        silent = events.copy()
        silent[~np.array(is_new), KIND] = REST_KIND
        notes = self._in_file(self.representation.decode(silent))
        return replace(self.score, notes=sort_notes(notes))

    def _in_file(self, drawn: Score) -> NoteArray:
        """Notes on the grid of events, in the file's ticks."""
        notes = drawn.notes.astype(NOTE)
        start = self._ticks(notes["onset"] / drawn.ticks_per_quarter)
        end = self._ticks((notes["onset"] + notes["duration"]) / drawn.ticks_per_quarter)
        notes["onset"] = np.maximum(0, start)
        notes["duration"] = np.maximum(1, end - start)
        return notes

    def _ticks(self, quarters: NDArray[np.float64]) -> IntArray:
        """The file's ticks at so many quarters (N,) from where events begin."""
        if not self.laid.is_free:
            return np.round(quarters * self.score.ticks_per_quarter).astype(np.int64) + self._offset
        knots = np.unique([0, *self.score.tempi["tick"].tolist(), 2 * self.score.end + 1])
        seconds = seconds_at(self.score, knots)
        first = float(seconds_at(self.score, self.score.notes["onset"].min()))
        return np.round(np.interp(first + quarters * 60 / FREE_QPM, seconds, knots)).astype(np.int64)

    def humanised(self, events: IntArray) -> Score:
        """The file's notes with the loudness of these events and, where they know it, their timing."""
        step, _, kind = self._places
        at = np.cumsum(events[:, ONSET])
        drawn = {
            (s, k, p): n
            for n, (s, k, p) in enumerate(
                zip(at.tolist(), events[:, KIND].tolist(), events[:, PITCH].tolist(), strict=True)
            )
        }
        notes = self.score.notes.copy()
        which = np.array(
            [drawn[note] for note in zip(step.tolist(), kind.tolist(), notes["pitch"].tolist(), strict=True)]
        )
        notes["velocity"] = self.representation.velocity_of(events[which, VELOCITY])
        if self.representation.microtiming:
            shift = (events[which, SHIFT] - SHIFTS // 2) / SHIFTS
            onset = self._ticks((step + shift) / self.representation.steps_per_quarter)
            notes["onset"] = np.maximum(0, onset)
        return replace(self.score, notes=sort_notes(notes))

    def orchestrated(self, events: IntArray) -> Score:
        """The file's notes, each with the instrument of the event at its step and key; drums as they are."""
        step, _, _ = self._places
        at = np.cumsum(events[:, ONSET])
        instrument = instrument_of_kind(events[:, KIND])
        players = {
            (s, p): i
            for s, p, i in zip(at.tolist(), events[:, PITCH].tolist(), instrument.tolist(), strict=True)
            if i < DRUM_KIT
        }
        notes, seen, kept = self.score.notes.copy(), set(), []
        for n in np.argsort(-notes["duration"], kind="stable").tolist():
            stroke = (int(step[n]), int(notes["pitch"][n]))
            if notes["instrument"][n] < DRUM_KIT:
                if stroke in seen:
                    continue
                seen.add(stroke)
                notes["instrument"][n] = players[stroke]
            kept.append(n)
        return replace(self.score, notes=sort_notes(notes[np.sort(kept)]))


def _finer(score: Score, factor: int) -> Score:
    """The same at so many times as many ticks a quarter."""
    if factor == 1:
        return score
    notes, tempi, metres = score.notes.copy(), score.tempi.copy(), score.metres.copy()
    notes["onset"] *= factor
    notes["duration"] *= factor
    tempi["tick"] *= factor
    metres["tick"] *= factor
    return Score(score.ticks_per_quarter * factor, notes, tempi, metres)
