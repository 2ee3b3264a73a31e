"""What may follow where a user's piece is at hand: its notes are given, and drawing fills in the rest.

`FillGrammar` keeps all notes outside a gap, in place and in order, and lets new ones come between them.
`OrchestraGrammar` keeps all notes but draws who plays them. Both are rules like those of `grammar`: what they
allow needs no mending.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cadenza.context import ContextTracker, Given, bars_of
from cadenza.controls import NOTHING, Controls
from cadenza.errors import InputError
from cadenza.events import NoteEvents
from cadenza.gaps import Gap
from cadenza.grammar import BoolArray, FloatArray, NoteGrammar
from cadenza.repertoire import Repertoire
from cadenza.schema import NEVER
from cadenza.score import IntArray, instrument_name, pitch_name
from cadenza.vocabulary import (
    DURATION,
    END_KIND,
    FIRST_INSTRUMENT,
    FIRST_KIT,
    KIND,
    N_KINDS,
    N_PITCH_VALUES,
    ONSET,
    PITCH,
    REST_KIND,
    SHIFTS,
    VELOCITY,
    EventArray,
    instrument_of_kind,
    is_played,
    plays,
)


def _mask(allowed: BoolArray) -> FloatArray:
    """What to add to logits so that only the allowed values can be drawn."""
    return np.where(allowed, np.float32(0), np.float32(NEVER))


def _leant(size: int, able: Sequence[int], suited: Sequence[int]) -> FloatArray:
    """What to add to logits (size,) so that only able values can be drawn, and suited ones are the likelier."""
    found = np.full(size, NEVER, np.float32)
    found[list(able)] = 0
    found[list(suited)] = SUITED
    return found


def _only(representation: NoteEvents, field: int, value: int) -> FloatArray:
    return _mask(np.arange(representation.schema.fields[field].size) == value)


SUITED = (
    4.0  # added to the logit of the player in whose register a note lies; networks like to go on with one
)


class FillGrammar(NoteGrammar):
    """Rules for a piece whose events (N, fields) are given but for a gap, in which these kinds play.

    free_from (N,): the step from which on each event's key may be struck again without cutting the note in the file.
    loose: fields of given notes that are drawn all the same.
    """

    def __init__(
        self,
        representation: NoteEvents,
        repertoire: Repertoire,
        piece: EventArray,
        free_from: IntArray,
        gap: Gap,
        kinds: Sequence[int],
        controls: Controls = NOTHING,
        loose: frozenset[int] = frozenset(),
    ) -> None:
        steps, longest, bars = representation.steps_per_quarter, representation.max_onset, len(gap.who)
        super().__init__(representation, repertoire.with_piece(piece), bars)
        self.controls, self.loose, self.gap = controls, loose, gap
        self._use(controls.narrowed(self.repertoire, steps, kinds))
        self.at = ContextTracker(steps, longest, bars, Given(piece, gap, steps, longest))
        self._keep(piece, free_from)
        self._open(piece)
        self.next = 0  # of the kept events
        self.kind_at_most = END_KIND
        self.sounds_until = np.zeros((N_KINDS, 128), np.int64)  # by kept notes
        self.is_new: list[bool] = []  # of each event so far

    def _keep(self, piece: EventArray, free_from: IntArray) -> None:
        """Note the events that are given, with their steps, and until when they sound in the file."""
        step = np.cumsum(piece[:, ONSET].astype(np.int64))
        bar = bars_of(piece, self.representation.steps_per_quarter).number_of(step)
        kept = (piece[:, KIND] < FIRST_INSTRUMENT) | (plays(piece[:, KIND]) & self.gap.given(piece, bar))
        self.kept = list(zip(step[kept].tolist(), piece[kept].tolist(), strict=True))
        self.kept_until: list[int] = free_from[kept].tolist()
        self.end = int(step[-1])

    def _open(self, piece: EventArray) -> None:
        """Note in which bars which kinds may play, and where those bars are."""
        able = np.zeros(N_KINDS, bool)
        able[list(self.repertoire.kinds)] = True
        self.free = self.gap.free & able & self.pitch_ok.any(axis=1)
        bars = bars_of(piece, self.representation.steps_per_quarter)
        self.bar_of_step = np.minimum(bars.number_of(np.arange(self.end + 1)), len(self.free) - 1)
        self.new_kinds: list[int] = np.flatnonzero(self.free.any(axis=0)).tolist()
        self.run_end = self._run_ends()
        new = np.flatnonzero(np.isin(self.bar_of_step[:-1], np.flatnonzero(self.free.any(axis=1))))
        self.first_new, self.last_new = (int(new[0]), int(new[-1])) if len(new) else (self.end, self.end)

    def _run_ends(self) -> IntArray:
        """The step at which new notes of a kind that begin in a bar have to end (bars, N_KINDS)."""
        starts = np.searchsorted(self.bar_of_step, np.arange(len(self.free)))
        ends = np.append(starts[1:], self.end)
        found = np.empty(self.free.shape, np.int64)
        found[-1] = ends[-1]
        for bar in range(len(ends) - 2, -1, -1):
            found[bar] = np.where(self.free[bar + 1], found[bar + 1], ends[bar])
        return found

    def copy(self) -> FillGrammar:
        """See NoteGrammar."""
        other = super().copy()
        assert isinstance(other, FillGrammar)
        other.sounds_until, other.is_new = self.sounds_until.copy(), self.is_new.copy()
        return other

    def bias(self, field: int, event: list[int]) -> FloatArray | None:
        """See NoteGrammar."""
        if field == ONSET:
            return self._fill_onsets()
        step, kind = self.at.now + event[ONSET], event[KIND]
        if field == KIND:
            return self._fill_kinds(step, event[ONSET])
        if self._is_kept(step, kind):
            value = self.kept[self.next][1][field]
            if field not in self.loose:
                return None if value < 0 else _only(self.representation, field, value)
        elif field == PITCH and kind < REST_KIND:
            return self._new_pitches(step, event[ONSET], kind)
        elif field == DURATION and FIRST_INSTRUMENT <= kind < FIRST_KIT:
            left = int(self.run_end[self.bar_of_step[step], kind]) - step
            return self._bias((DURATION, left), lambda: self.representation.durations <= left)
        return super().bias(field, event)

    def _shifts(self, event: list[int]) -> FloatArray:
        """As the grammar's, and none that leads back into a given bar or note."""
        found, step, kind = super()._shifts(event), self.at.now + event[ONSET], event[KIND]
        bar = self.bar_of_step[step]
        begins = step == 0 or self.bar_of_step[step - 1] != bar
        given_before = begins and not (bar > 0 and self.free[bar - 1, kind])
        if given_before or self.sounds_until[kind, event[PITCH]] == step:
            return np.where(np.arange(SHIFTS) < SHIFTS // 2, np.float32(NEVER), found)
        return found

    def _is_kept(self, step: int, kind: int) -> bool:
        """Whether the next kept event is of this kind and comes here; new ones of its kind do not."""
        if self.next == len(self.kept):
            return False
        at, event = self.kept[self.next]
        return at == step and event[KIND] == kind

    def _next_step(self) -> int:
        """Of the next kept event, or of the end."""
        return self.kept[self.next][0] if self.next < len(self.kept) else self.end

    def _fill_onsets(self) -> FloatArray:
        """Where new notes may come, and the next kept event, for which all that is later counts, too."""
        now, longest = self.at.now, self.representation.max_onset
        last = self._next_step() - now
        self.longest_onset = min(last, longest)
        reach = min(last, longest + 1)
        ok = np.zeros(longest + 1, bool)
        for kind in self.new_kinds:
            first = max(0, self._ready(kind) - now)
            ok[first:reach] |= self.free[self.bar_of_step[now + first : now + reach], kind]
        if last > 0 and ok[0]:
            ok[0] = bool(self._new_kinds(now, 0).any())
        ok[self.longest_onset :] = True
        return _mask(ok)

    def _ready(self, kind: int) -> int:
        """The first step at which a kind may play something new, where its bars are free."""
        sounding = self.sounds_until[kind][self.pitch_ok[kind, :128]].min(initial=self.end)
        return max(int(sounding), self.limits.ready(kind))

    def _new_kinds(self, step: int, onset: int) -> BoolArray:
        """Which kinds (N_KINDS,) may play a new note at this step, in their order within it."""
        ok: BoolArray = self.free[self.bar_of_step[step]].copy()
        if onset == 0:
            ok[: self._lowest_kind()] = False
        for kind in np.flatnonzero(ok).tolist():
            ok[kind] = self.limits.ready(kind) <= step and bool(self._keys(step, onset, kind).any())
        return ok

    def _keys(self, step: int, onset: int, kind: int) -> BoolArray:
        """The keys (N_PITCH_VALUES,) that a kind may strike: within range and scale, below the chord so far,
        and not sounding from a kept note."""
        in_chord = onset == 0 and kind == self.at.last_kind
        ok: BoolArray = self.pitch_ok[kind] & (
            np.arange(N_PITCH_VALUES) < (self.at.last_pitch if in_chord else N_PITCH_VALUES)
        )
        ok[:128] &= self.sounds_until[kind] <= step
        return ok

    def _fill_kinds(self, step: int, onset: int) -> FloatArray:
        """The new ones that come before the next kept event, for which all that are later count, too."""
        self.kind_at_most = END_KIND
        if step >= self._next_step():
            if self.next == len(self.kept):
                return self._one_kind(END_KIND)
            self.kind_at_most = self.kept[self.next][1][KIND]
        ok = self._new_kinds(step, onset)
        if self.kind_at_most < END_KIND:
            ok[self.kind_at_most :] = True
        elif onset == self.representation.max_onset:
            ok[REST_KIND] = True
        return _mask(ok)

    def _new_pitches(self, step: int, onset: int, kind: int) -> FloatArray:
        ok = self._keys(step, onset, kind)
        worn = self.run_pitch[kind]
        if kind < FIRST_KIT and self.run_length[kind] >= self.repertoire.longest_run and ok.sum() > 1:
            ok[worn] = False
        return _mask(ok)

    def taken(self, field: int, value: int) -> int:
        """See NoteGrammar."""
        return min(value, self.kind_at_most) if field == KIND else super().taken(field, value)

    def advance(self, event: list[int]) -> None:
        """See NoteGrammar."""
        step, kind = self.at.now + event[ONSET], event[KIND]
        kept = self._is_kept(step, kind)
        if kept:
            if is_played(kind):
                until = max(self.sounds_until[kind, event[PITCH]], self.kept_until[self.next])
                self.sounds_until[kind, event[PITCH]] = until
            self.next += 1
        super().advance(event)
        self.is_new.append(is_played(kind) and not kept)
        self.done |= step > self.last_new and not self.loose


class OrchestraGrammar(NoteGrammar):
    """Rules for a piece (N, fields) whose pitched notes are given to other kinds, each within its range."""

    def __init__(
        self,
        representation: NoteEvents,
        repertoire: Repertoire,
        piece: EventArray,
        kinds: Sequence[int],
        bars: int,
    ) -> None:
        super().__init__(representation, repertoire.with_piece(piece), bars)
        self.kinds = [kind for kind in sorted(kinds) if kind < FIRST_KIT]
        self.spans = {kind: repertoire.pitch_ranges[kind] for kind in self.kinds}
        self.last_player = [self._last_player(pitch) for pitch in range(128)]
        self.best_player = [self._best_player(pitch) for pitch in range(128)]
        self.steps_of: list[tuple[int, list[list[int]]]] = []
        for step, event in zip(
            np.cumsum(piece[:, ONSET].astype(np.int64)).tolist(), piece.tolist(), strict=True
        ):
            if event[KIND] == REST_KIND:
                continue
            if not self.steps_of or self.steps_of[-1][0] != step:
                self.steps_of.append((step, []))
            self._keep(self.steps_of[-1][1], event)
        self.next = 0  # of the steps
        self.left = self.steps_of[0][1].copy()  # of its events, those that are still to come
        self._check()

    def _last_player(self, pitch: int) -> int:
        """The last kind, in the order within a step, that can play a key; -1 if none can."""
        return max((k for k, (low, high) in self.spans.items() if low <= pitch <= high), default=-1)

    def _best_player(self, pitch: int) -> int:
        """The kind in the middle of whose range a key lies the nearest; -1 if none can play it."""
        able = [k for k, (low, high) in self.spans.items() if low <= pitch <= high]
        return min(able, key=lambda k: abs(2 * pitch - sum(self.spans[k])), default=-1)

    @staticmethod
    def _keep(at_step: list[list[int]], event: list[int]) -> None:
        """Add an event; of several notes on one key, the longest is kept."""
        if FIRST_INSTRUMENT <= event[KIND] < FIRST_KIT:
            for other in at_step:
                if FIRST_INSTRUMENT <= other[KIND] < FIRST_KIT and other[PITCH] == event[PITCH]:
                    other[DURATION] = max(other[DURATION], event[DURATION])
                    other[VELOCITY] = max(other[VELOCITY], event[VELOCITY])
                    return
        at_step.append(event)

    def _check(self) -> None:
        for _, events in self.steps_of:
            for event in events:
                if FIRST_INSTRUMENT <= event[KIND] < FIRST_KIT and self.last_player[event[PITCH]] < 0:
                    raise InputError(
                        f"{pitch_name(event[PITCH])} lies outside the ranges of {self._ranges()}; name one more "
                        "that can play it, or wider ranges."
                    )

    def _ranges(self, most: int = 8) -> str:
        """The instruments with the keys that they can play."""
        names = map(instrument_name, instrument_of_kind(self.kinds).tolist())
        spans = [
            f"{name} ({pitch_name(low)}-{pitch_name(high)})"
            for name, (low, high) in zip(names, self.spans.values(), strict=True)
        ]
        return ", ".join(spans) if len(spans) <= most else f"all {len(spans)} instruments"

    def copy(self) -> OrchestraGrammar:
        """See NoteGrammar."""
        other = super().copy()
        assert isinstance(other, OrchestraGrammar)
        other.left = [event.copy() for event in self.left]
        return other

    def _pitched(self) -> list[list[int]]:
        """The notes that are to be played now, once metre and tempo are told."""
        if self.left and self.left[0][KIND] < FIRST_INSTRUMENT:
            return []
        return [event for event in self.left if FIRST_INSTRUMENT <= event[KIND] < FIRST_KIT]

    def bias(self, field: int, event: list[int]) -> FloatArray | None:
        """See NoteGrammar."""
        if field == ONSET:
            onset = min(self.steps_of[self.next][0] - self.at.now, self.representation.max_onset)
            return _only(self.representation, ONSET, onset)
        if self.at.now + event[ONSET] < self.steps_of[self.next][0]:
            return _only(self.representation, KIND, REST_KIND) if field == KIND else None
        notes = self._pitched()
        if not notes:
            value = self.left[0][field]
            return None if value < 0 else _only(self.representation, field, value)
        if field == KIND:
            keys = {kind: self._keys(kind, event[ONSET], notes) for kind in self.kinds}
            able = [kind for kind, found in keys.items() if found]
            # The first one, since those before it can no longer play what suits them.
            suited = [kind for kind in able if self._suited(kind, keys[kind])][:1]
            return _leant(N_KINDS, able, suited)
        if field == PITCH:
            able = self._keys(event[KIND], event[ONSET], notes)
            return _leant(N_PITCH_VALUES, able, self._suited(event[KIND], able))
        (note,) = (other for other in notes if other[PITCH] == event[PITCH])
        return None if note[field] < 0 else _only(self.representation, field, note[field])

    def _suited(self, kind: int, keys: Sequence[int]) -> list[int]:
        """Those of the keys that suit a kind best."""
        return [key for key in keys if self.best_player[key] == kind]

    def _keys(self, kind: int, onset: int, notes: Sequence[list[int]]) -> list[int]:
        """Which of these notes the kind may play next, so that all others can still be played after it."""
        if onset == 0 and kind < self.at.last_kind:
            return []
        low, high = self.spans[kind]
        limit = self.at.last_pitch if onset == 0 and kind == self.at.last_kind else 128
        mine = [n[PITCH] for n in notes if low <= n[PITCH] <= high and n[PITCH] < limit]
        must = [n[PITCH] for n in notes if self.last_player[n[PITCH]] <= kind]
        if not set(must) <= set(mine):
            return []
        return [key for key in mine if key >= max(must, default=0)]

    def advance(self, event: list[int]) -> None:
        """See NoteGrammar."""
        kind = event[KIND]
        super().advance(event)
        if kind == REST_KIND:
            return
        notes = self._pitched()
        those = [other for other in notes if other[PITCH] == event[PITCH]] if notes else self.left[:1]
        self.left = [other for other in self.left if other is not those[0]]
        if not self.left and not self.done:
            self.next += 1
            self.left = [other.copy() for other in self.steps_of[self.next][1]]
