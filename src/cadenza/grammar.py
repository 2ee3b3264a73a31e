"""What may follow: the rules of `NoteEvents` applied while sampling.

Everything that these rules allow decodes to a valid score of exactly the wanted number of bars: events
in canonical order, metres only on bar lines, every note closed by the last bar line. Two more rules
keep the music within what the corpus does: only its instruments, metres and keys, and no key struck
more often in a row than its pieces do (the usual failure of such networks is one note for ever).
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cadenza.closing import Closing
from cadenza.context import N_CONTEXT, ContextTracker
from cadenza.controls import NOTHING, Controls, Limits
from cadenza.errors import InputError
from cadenza.events import NoteEvents, kinds_of
from cadenza.form import Reprise
from cadenza.leaning import Leaning
from cadenza.repertoire import Repertoire
from cadenza.repetition import Repetition
from cadenza.schema import NEVER, NOT_APPLICABLE
from cadenza.score import DEFAULT_QPM
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
    bar_steps,
    is_played,
    tempo_level,
    tempo_of,
)

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]


class NoteGrammar:
    """State of a piece being composed, which ends after `bars` bars, or so many as last `controls.seconds`.

    Use: for each field in turn `bias`, with the fields chosen so far in `event`, and `fill_context` if the
    field tells any; then `advance` with the whole event. Biases are made once and looked up from then on.
    """

    def __init__(
        self, representation: NoteEvents, repertoire: Repertoire, bars: int, controls: Controls = NOTHING
    ) -> None:
        if bars < 1:
            raise InputError("the number of bars must be at least 1.")
        self.representation, self.controls = representation, controls
        self.at = ContextTracker(representation.steps_per_quarter, representation.max_onset, bars)
        self.first_bar, self.bars = 0, bars
        self.last_end = self.not_before = 0
        # Of the next event, once its onset has been asked for: the first step for a note, the longest onset.
        self.wait, self.longest_onset = 0, representation.max_onset
        self.done = False
        self.leaning: Leaning | None = None
        self.closing: Closing | None = None
        self.reprise: Reprise | None = None
        self.run_pitch, self.run_length = [-1] * N_KINDS, [0] * N_KINDS
        self.durations: list[int] = representation.durations.tolist()
        self.tempo = FIRST_TEMPO_VALUE + int(tempo_level(DEFAULT_QPM))
        self.to_open = [METRE_KIND, TEMPO_KIND]  # events that come first, in this order
        self.repetition = Repetition(controls.max_repeat) if controls.max_repeat else None
        self._use(controls.narrowed(repertoire, representation.steps_per_quarter))
        free = (
            ()
            if controls.seconds is not None
            else ((METRE_KIND, controls.metre), (TEMPO_KIND, controls.tempo))
        )
        self.changes = {
            kind for kind, told in free if told is None
        }  # else the length in seconds would change

    def _use(self, used: Repertoire) -> None:
        self.repertoire = used
        self.biases: dict[tuple[int, ...], FloatArray] = {}
        self.pitch_ok = np.zeros((N_KINDS, N_PITCH_VALUES), bool)
        self.pitch_ok[METRE_KIND, list(used.metres)] = True
        self.pitch_ok[TEMPO_KIND, list(used.tempi)] = True
        for kind, (low, high) in used.pitch_ranges.items():
            self.pitch_ok[kind, low : high + 1] = True
        self.outside_ok = self.pitch_ok.copy()  # where notes outside the scale may be struck, too
        if self.controls.scale is not None and self.controls.strictness > 0:
            foreign = [key for key in range(128) if key % 12 not in self.controls.scale]
            self.pitch_ok[FIRST_INSTRUMENT:FIRST_KIT, foreign] = False
        self.lowest_pitch: list[int] = self.pitch_ok.argmax(axis=1).tolist()
        capacity = self.controls.capacity(used.metres, self.representation.steps_per_quarter)
        self.limits = Limits(self.controls, used.kinds, self.controls.required(used.kinds), capacity)
        self.limits.start(0, self._least_bars(used))

    @classmethod
    def after(
        cls,
        representation: NoteEvents,
        repertoire: Repertoire,
        bars: int,
        prompt: EventArray,
        end: int,
        controls: Controls = NOTHING,
    ) -> NoteGrammar:
        """State after the events of a prompt (without an end event): the new bars follow step `end`, with its
        instruments, metre and tempo where the controls do not tell others."""
        grammar = cls(representation, repertoire.with_piece(prompt), bars)
        grammar.repetition = Repetition(controls.max_repeat) if controls.max_repeat else None
        for event in prompt.tolist():
            grammar.advance(event)
        playing = kinds_of(prompt)
        at, grammar.controls, grammar.changes = grammar.at, controls, set()
        metre = FIRST_METRE_VALUE + (at.metre or 0)
        steps = representation.steps_per_quarter
        grammar._use(controls.narrowed(grammar.repertoire, steps, playing, metre))
        grammar.not_before = end
        grammar.first_bar = at.bar_number - -(end - at.bar_start) // at.bar_length
        told = {
            METRE_KIND: None if controls.metre == at.metre else controls.metre,
            TEMPO_KIND: controls.tempo,
        }
        grammar.to_open = [kind for kind, value in told.items() if value is not None]
        grammar._settle()
        return grammar

    def _least_bars(self, used: Repertoire) -> int:
        """Of a piece of so many seconds in the longest of these bars at the slowest tempo."""
        seconds, steps = self.controls.seconds, self.representation.steps_per_quarter
        if seconds is None:
            return self.bars
        longest = max(bar_steps(metre - FIRST_METRE_VALUE, steps) for metre in used.metres)
        slowest = float(tempo_of(np.array(min(used.tempi) - FIRST_TEMPO_VALUE)))
        return self._bars_of(seconds, longest, self.controls.tempo or slowest)

    def _bars_of(self, seconds: float, bar_length: int, qpm: float) -> int:
        """How many bars come nearest to so many seconds."""
        return max(1, round(seconds * qpm / 60 * self.representation.steps_per_quarter / bar_length))

    def _settle(self) -> None:
        """Once metre and tempo are known, so is the number of bars."""
        seconds = self.controls.seconds
        if seconds is not None and not self.to_open:
            qpm = self.controls.tempo or float(tempo_of(np.array(self.tempo - FIRST_TEMPO_VALUE)))
            self.bars = self._bars_of(seconds, self.at.bar_length, qpm)
        self.at.bars = self.first_bar + self.bars
        if not self.to_open:
            off_line = (self.not_before - self.at.bar_start) % self.at.bar_length != 0
            self.limits.start(self.first_bar, self.bars, off_line)

    def copy(self) -> NoteGrammar:
        """One that goes on from here by itself; both look biases up in one place."""
        other = copy.copy(self)
        other.at, other.limits = self.at.copy(), self.limits.copy()
        other.to_open = self.to_open.copy()
        other.repetition = self.repetition and self.repetition.copy()
        other.leaning = self.leaning and self.leaning.copy()
        other.closing = self.closing and self.closing.copy()
        other.reprise = self.reprise and self.reprise.copy()
        other.run_pitch, other.run_length = self.run_pitch.copy(), self.run_length.copy()
        return other

    def no_context(self) -> list[int]:
        """Context of which nothing is known yet."""
        return [NOT_APPLICABLE] * N_CONTEXT

    def fill_context(self, field: int, event: list[int], context: list[int]) -> None:
        """Set what follows for the context from this field of the next event."""
        self.at.fill(field, event, context)

    def bias(self, field: int, event: list[int]) -> FloatArray | None:
        """What to add to the logits (size,) of this field: NEVER where it must not take the value, else 0, or
        what a leaning, the closing or a reprise adds. None if the next event does not have it.
        """
        allowed = self._allowed(field, event)
        if allowed is None:
            return None
        if self.leaning is not None:
            allowed = _tilted(allowed, self.leaning.tilt(field, event[KIND]))
        if self.closing is not None and self._is_last_bar(event[ONSET]):
            return _tilted(allowed, self.closing.tilt(field, event[KIND]))
        if self.reprise is not None:
            return _tilted_at(allowed, self.reprise.tilt(self.at, field, event))
        return allowed

    def _is_last_bar(self, onset: int) -> bool:
        """Whether the next event lies in the last bar, if it comes so late (not known: NOT_APPLICABLE)."""
        at = self.at
        return at.metre is not None and at.now + max(0, onset) >= at.horizon - at.bar_length

    def _allowed(self, field: int, event: list[int]) -> FloatArray | None:
        kind = event[KIND]
        if field == ONSET:
            return self._onsets()
        if field == KIND:
            return self._kinds(event[ONSET])
        if field == PITCH:
            return self._pitches(event[ONSET], kind) if kind < REST_KIND else None
        if not is_played(kind):
            return None
        if field == DURATION:
            return self._durations(event[ONSET], kind) if kind < FIRST_KIT else None
        if field == SHIFT:
            return self._shifts(event)
        return self._bias((field,), lambda: np.ones(self.representation.velocity_levels, bool))

    def _bias(self, key: tuple[int, ...], allowed: Callable[[], BoolArray]) -> FloatArray:
        found = self.biases.get(key)
        if found is None:
            found = self.biases[key] = np.where(allowed(), np.float32(0), np.float32(NEVER))
        return found

    def _onsets(self) -> FloatArray:
        """None before the end of the prompt; 0 only where the chord can grow.

        One beyond the last bar line leads to the line: a network that means to wait so long lets the piece end,
        and does not have to squeeze in another note.
        """
        at, longest = self.at, self.representation.max_onset
        self.wait, self.longest_onset = self.not_before, longest
        if self.to_open:
            first = last = max(0, self.not_before - at.now)
        else:
            full = not self.limits.free(at.now, at.bar_number) >> self._lowest_kind()
            horizon = at.horizon
            latest = horizon
            if self.limits.count:
                bar_end = self._bar_end()
                self.wait = max(self.wait, self.limits.earliest(bar_end))
                latest = self.limits.latest(bar_end, at.bar_length, horizon)
            first = max(int(full), self.wait - at.now)
            last = min(latest - at.now, longest)
            if at.now + last == horizon:
                self.longest_onset, last = last, longest
        if first > min(last, longest):  # only a rest leads to where the next event may be
            first = last = longest

        avoided = self._avoided_onsets(first, last)

        def allowed() -> BoolArray:
            onsets = np.arange(longest + 1)
            return (onsets >= first) & (onsets <= last) & ~np.isin(onsets, avoided)

        return self._bias((ONSET, first, last, *avoided), allowed)

    def _avoided_onsets(self, first: int, last: int) -> list[int]:
        """Onsets that would repeat a passage that is too long; raises InputError if they are all that is left."""
        if self.repetition is None or self.to_open:
            return []
        at, reach = self.at, range(first, last + 1)
        bar_end = at.bar_start + at.bar_length
        avoided = []
        for next_bar in (False, True):
            positions = self.repetition.positions_to_avoid(next_bar, self._choices)
            for onset in reach if positions else ():
                step = at.now + onset
                if (step >= bar_end) == next_bar and (step - at.bar_start) % at.bar_length in positions:
                    avoided.append(onset)
        if len(avoided) > last - first:
            raise InputError(
                f"these wishes leave no way to go on without repeating more than {self.repetition.most} bars; "
                "allow longer repeats, or more keys."
            )
        return avoided

    def _choices(self, kind: int, below: int) -> int:
        """How many keys below this one a kind may strike."""
        return int(np.count_nonzero(self.pitch_ok[kind, :below]))

    def _bar_end(self) -> int:
        """The bar line after here, or after the end of the prompt."""
        at = self.at
        bars = (max(at.now, self.not_before) - at.bar_start) // at.bar_length
        return at.bar_start + (bars + 1) * at.bar_length

    def taken(self, field: int, value: int) -> int:
        """What the next event has in this field if this value is drawn."""
        return min(value, self.longest_onset) if field == ONSET else value

    def _lowest_kind(self) -> int:
        """Of the kinds that may follow at the same step."""
        kind = self.at.last_kind
        can_grow = kind >= FIRST_INSTRUMENT and self.at.last_pitch > self.lowest_pitch[kind]
        return kind + (0 if can_grow else 1)

    def _kinds(self, onset: int) -> FloatArray:
        """Those that may come at this step, in their order within a step; rests where nothing else can."""
        at, step = self.at, self.at.now + onset
        if step < self.wait:
            return self._one_kind(REST_KIND)
        if self.to_open:
            return self._one_kind(self.to_open[0])
        if step >= at.horizon:
            return self._one_kind(END_KIND)
        rest_possible = onset == self.representation.max_onset
        bars, position = divmod(step - at.bar_start, at.bar_length)
        on_line = position == 0 and self.last_end <= step
        lowest = self._lowest_kind() if onset == 0 else 0
        free = self.limits.free(step, at.bar_number + bars)

        def allowed() -> BoolArray:
            ok = np.array([bool(free >> kind & 1) for kind in range(N_KINDS)])
            ok[list(self.changes)] = True
            ok[METRE_KIND] &= on_line
            ok[:lowest] = False
            if rest_possible and not ok.any():
                ok[REST_KIND] = True
            return ok

        return self._bias((KIND, lowest, on_line, rest_possible, free), allowed)

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
        outside = self.controls.strictness < 1 and self.limits.may_leave_scale()
        avoided: list[int] = []
        if self.repetition is not None and kind >= FIRST_INSTRUMENT:
            bars, position = divmod(self.at.now + onset - self.at.bar_start, self.at.bar_length)
            avoided = self.repetition.keys_to_avoid(position, kind, bars > 0, self._choices)

        def allowed() -> BoolArray:
            possible = self.outside_ok if outside else self.pitch_ok
            ok: BoolArray = possible[kind] & (np.arange(N_PITCH_VALUES) < limit)
            ok[avoided] = False
            if worn >= 0 and ok.sum() > 1:
                ok[worn] = False
            return ok

        return self._bias((PITCH, kind, limit, worn, outside, *avoided), allowed)

    def _durations(self, onset: int, kind: int) -> FloatArray:
        """Those that end by the last bar line, and soon enough for what the controls still ask for."""
        at, step = self.at, self.at.now + onset
        left = min(at.horizon - step, self.durations[-1])
        if self.limits.count:
            left = min(left, self.limits.longest(kind, step, self._bar_end(), at.bar_length, at.horizon))
        return self._bias((DURATION, left), lambda: self.representation.durations <= left)

    def _shifts(self, event: list[int]) -> FloatArray:
        """None that leads out of the piece, before its start or behind its last bar line."""
        at, controls = self.at, self.controls
        step = at.now + event[ONSET]
        from_zero = step == self.not_before
        if controls.density != NOTHING.density:  # else a note would be of the bar before
            from_zero |= (step - at.bar_start) % at.bar_length == 0
        if controls.polyphony is not None and event[KIND] < FIRST_KIT:
            # Notes follow each other without a gap, and those that leave the grid would overlap.
            return self._bias((SHIFT,), lambda: np.arange(SHIFTS) == SHIFTS // 2)
        to_zero = step + self._steps(event) >= self.at.horizon

        def allowed() -> BoolArray:
            shift = np.arange(SHIFTS) - SHIFTS // 2
            return ((shift >= 0) | (not from_zero)) & ((shift <= 0) | (not to_zero))

        return self._bias((SHIFT, from_zero, to_zero), allowed)

    def _steps(self, event: list[int]) -> int:
        return self.durations[event[DURATION]] if event[DURATION] >= 0 else 1

    def advance(self, event: list[int]) -> None:
        """Go on to after this event."""
        kind, pitch, bar = event[KIND], event[PITCH], self.at.bar_number
        self.at.advance(event)
        if self.at.bar_number != bar:
            if self.limits.count:
                self.limits.new_bar(self.at.bar_start < self.not_before)
            if self.repetition is not None:
                self.repetition.new_bar()
        if is_played(kind):
            if self.repetition is not None:
                self.repetition.add(self.at.now - self.at.bar_start, kind, pitch)
            end = self.at.now + self._steps(event)
            self.last_end = max(self.last_end, end)
            if self.limits.count:
                self.limits.advance(kind, pitch, self.at.now, end)
        elif kind == TEMPO_KIND:
            self.tempo = pitch
        if self.leaning is not None:
            self.leaning.advance(
                event[ONSET], kind, pitch, event[VELOCITY], self._steps(event) if is_played(kind) else 0
            )
        if self.closing is not None and is_played(kind):
            self.closing.advance(kind, pitch, self._steps(event), self.at.bar_number)
        if self.to_open and kind == self.to_open[0]:
            del self.to_open[0]
            self._settle()
        self.run_length[kind] = self.run_length[kind] + 1 if self.run_pitch[kind] == pitch else 1
        self.run_pitch[kind] = pitch
        self.done = kind == END_KIND


def _tilted(allowed: FloatArray, tilt: FloatArray | None) -> FloatArray:
    return allowed if tilt is None else allowed + tilt


def _tilted_at(allowed: FloatArray, tilt: tuple[int, float] | None) -> FloatArray:
    if tilt is None:
        return allowed
    found = allowed.copy()
    found[tilt[0]] += np.float32(tilt[1])
    return found
