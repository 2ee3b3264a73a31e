"""What follows from the events so far: where in the bar we are, and what happened there before.

Music repeats itself at whole bars. So beside position, metre, place in a phrase of eight bars and bars
left, each event comes with echoes of the music 1, 2, 4 and 8 bars earlier:

    next_onset     how long after that moment the next note came
    echo_pitch     which key the same instrument struck there (the next lower one within a chord)
    echo_duration, echo_velocity   how long and loud this very key was there

It also repeats itself at other distances. So each event comes with what followed when the events just heard
were last heard in this order, a bar ago or earlier (the match model of compressors, Mahoney 2005, as an input
to the network, which learns how far to trust it):

    match          how many events agree: 2, 4, 8, 16 or 32; 0 if none do, or what followed is not a bar old
    match_onset, match_kind, match_pitch, match_duration, match_velocity   the event that followed then

Two forms, which a test holds equal: `context_of` for whole pieces, `ContextTracker` event by event.
"""

from __future__ import annotations

import copy
from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

from cadenza.schema import NOT_APPLICABLE, ContextField
from cadenza.score import IntArray
from cadenza.vocabulary import (
    DURATION,
    FIRST_INSTRUMENT,
    FIRST_METRE_VALUE,
    KIND,
    MAX_BARS_LEFT,
    METRE_KIND,
    N_KINDS,
    N_METRES,
    N_PITCH_VALUES,
    ONSET,
    PHRASE_BARS,
    PITCH,
    REST_KIND,
    UNKNOWN_BARS_LEFT,
    VELOCITY,
    EventArray,
    bar_steps,
)

LAGS = (1, 2, 4, 8)  # bars
DURATION_LAGS, VELOCITY_LAGS = 3, 2  # how many of the lags these are looked up at
POSITION, METRE_NOW, PHRASE, BARS_LEFT = range(4)
NEXT_ONSET = 4
ECHO_PITCH = NEXT_ONSET + len(LAGS)
ECHO_DURATION = ECHO_PITCH + len(LAGS)
ECHO_VELOCITY = ECHO_DURATION + DURATION_LAGS
MATCH = ECHO_VELOCITY + VELOCITY_LAGS
MATCH_ONSET, MATCH_KIND, MATCH_PITCH, MATCH_DURATION, MATCH_VELOCITY = range(MATCH + 1, MATCH + 6)
N_CONTEXT = MATCH_VELOCITY + 1
MATCH_LEVELS = 5  # that 2, 4, 8 ... events agree


def context_fields(
    steps_per_quarter: int, max_onset: int, n_durations: int, n_velocities: int
) -> tuple[ContextField, ...]:
    """The columns of the context."""
    return (
        ContextField("position", max_position(steps_per_quarter) + 1, ONSET),
        ContextField("metre", N_METRES, ONSET),
        ContextField("phrase", PHRASE_BARS, ONSET),
        ContextField("bars_left", UNKNOWN_BARS_LEFT + 1, ONSET),
        *(ContextField(f"next_onset_{lag}", max_onset + 1, ONSET) for lag in LAGS),
        *(ContextField(f"echo_pitch_{lag}", 128, KIND) for lag in LAGS),
        *(ContextField(f"echo_duration_{lag}", n_durations, PITCH) for lag in LAGS[:DURATION_LAGS]),
        *(ContextField(f"echo_velocity_{lag}", n_velocities, PITCH) for lag in LAGS[:VELOCITY_LAGS]),
        # The first two are about the event that comes next, the others about this one, as far as it is known.
        ContextField("match", MATCH_LEVELS + 1, PITCH),
        ContextField("match_onset", max_onset + 1, PITCH),
        ContextField("match_kind", N_KINDS, ONSET),
        ContextField("match_pitch", N_PITCH_VALUES, KIND),
        ContextField("match_duration", n_durations, PITCH),
        ContextField("match_velocity", n_velocities, PITCH),
    )


def max_position(steps_per_quarter: int) -> int:
    """Last position in a bar that is told apart, in steps."""
    return 16 * steps_per_quarter - 1


class Bars:
    """Where the bars of a piece are: metre number value[i] holds from start[i], both (N,), in steps."""

    def __init__(self, start: IntArray, value: IntArray, steps_per_quarter: int) -> None:
        self.start, self.value = start, value
        self.length = np.array([bar_steps(int(v), steps_per_quarter) for v in value], dtype=np.int64)
        spans = -(-np.diff(self.start) // self.length[:-1])
        self.bars_before = np.concatenate([[0], np.cumsum(spans)]).astype(np.int64)

    def line_at_or_after(self, step: int) -> int:
        """First bar line at or after a step behind the last change of metre."""
        return int(self.start[-1] - -(step - self.start[-1]) // self.length[-1] * self.length[-1])


def context_of(
    events: EventArray,
    steps_per_quarter: int,
    max_onset: int,
    *,
    bars_to_come: int | None = None,
    matches: bool = True,
) -> EventArray:
    """Context (N, N_CONTEXT) of the events (N, fields) of a whole piece.

    bars_to_come: how many bars follow after the last event; None leaves the bars left unknown.
    matches: whether to tell what followed the last time.
    """
    step = np.cumsum(events[:, ONSET].astype(np.int64))
    kind = events[:, KIND].astype(np.int64)
    is_metre = kind == METRE_KIND
    bars = Bars(
        step[is_metre], events[is_metre, PITCH].astype(np.int64) - FIRST_METRE_VALUE, steps_per_quarter
    )
    context = np.full((len(events), N_CONTEXT), NOT_APPLICABLE, dtype=np.int16)
    # A metre event still stands in the bar of the metre before it; the first one stands in none.
    metre = np.searchsorted(bars.start, step, side="right") - 1 - is_metre
    known, inside = metre >= 0, step - bars.start[metre]
    metric = known & (bars.value[metre] > 0)
    length = np.where(known, bars.length[metre], 4 * steps_per_quarter)
    bar = np.where(known, bars.bars_before[metre] + inside // length, 0)
    position = np.minimum(inside % length, max_position(steps_per_quarter))
    context[:, POSITION] = np.where(metric, position, 0)
    context[:, METRE_NOW] = np.where(known, bars.value[metre], 0)
    context[:, PHRASE] = np.where(metric, bar % PHRASE_BARS, 0)
    context[:, BARS_LEFT] = UNKNOWN_BARS_LEFT
    if bars_to_come is not None:
        context[:, BARS_LEFT] = np.clip(bar[-1] + bars_to_come - bar, 0, MAX_BARS_LEFT)
    _fill_echoes(context, events, step, np.where(metric, length, 0), max_onset)
    if matches:
        _fill_matches(context, events, step, length)
    return context


def _fill_echoes(
    context: EventArray, events: EventArray, step: IntArray, bar: IntArray, max_onset: int
) -> None:
    """Fill in the columns that look back; bar (N,) is the length of a bar, 0 without a metre."""
    kind, pitch = events[:, KIND].astype(np.int64), events[:, PITCH].astype(np.int64)
    notes = np.flatnonzero((kind >= FIRST_INSTRUMENT) & (kind < REST_KIND))
    if not len(notes):
        return
    struck = np.unique(step[notes])
    until = int(step[-1]) + 1

    def place(kind: IntArray, at: IntArray) -> IntArray:
        """Rank of the highest possible key of an instrument at a step; lower keys rank after it."""
        return (kind * until + at) * 128

    ranks = place(kind[notes], step[notes]) + 127 - pitch[notes]
    order = np.argsort(ranks, kind="stable")
    ranks, by_rank = ranks[order], notes[order]
    in_chord = (events[:, ONSET] == 0) & (kind == np.concatenate([[-1], kind[:-1]]))
    below = np.where(in_chord, 128 - np.concatenate([[0], pitch[:-1]]), 0)
    for index, lag in enumerate(LAGS):
        then = step - lag * bar
        exists = (bar > 0) & (then >= 0)
        following = struck[np.minimum(np.searchsorted(struck, then, side="right"), len(struck) - 1)] - then
        heard = exists & (following > 0) & (following < lag * bar) & (following <= max_onset)
        context[heard, NEXT_ONSET + index] = following[heard]
        start = place(kind, then)
        found = np.minimum(np.searchsorted(ranks, start + below), len(ranks) - 1)
        heard = exists & (ranks[found] >= start + below) & (ranks[found] < start + 128)
        context[heard, ECHO_PITCH + index] = 127 - ranks[found[heard]] % 128
        wanted = start + 127 - pitch
        found = np.minimum(np.searchsorted(ranks, wanted), len(ranks) - 1)
        heard = exists & (ranks[found] == wanted)
        if index < DURATION_LAGS:
            context[heard, ECHO_DURATION + index] = events[by_rank[found[heard]], DURATION]
        if index < VELOCITY_LAGS:
            context[heard, ECHO_VELOCITY + index] = events[by_rank[found[heard]], VELOCITY]


def _fill_matches(context: EventArray, events: EventArray, step: IntArray, bar: IntArray) -> None:
    """Fill in the columns that tell what followed the last time, if that is a bar (N,) ago."""
    follower, level = _last_followers(events[:, : PITCH + 1])
    near = step[follower] > step - bar
    follower[near], level[near] = -1, 0
    context[:, MATCH] = level
    heard = follower >= 0
    context[heard, MATCH_ONSET] = events[follower[heard], ONSET]
    then = np.concatenate([[-1], follower[:-1]])  # what was expected to be this event
    agrees = then >= 0
    for column, before, field in (
        (MATCH_KIND, ONSET, KIND),
        (MATCH_PITCH, KIND, PITCH),
        (MATCH_DURATION, PITCH, DURATION),
        (MATCH_VELOCITY, PITCH, VELOCITY),
    ):
        agrees &= events[then, before] == events[:, before]
        context[agrees, column] = events[then[agrees], field]


def _last_followers(symbols: EventArray) -> tuple[IntArray, IntArray]:
    """Of each event (N,): the one that followed when the last 2, 4, 8 ... were last heard, -1 if they were
    not, and the level, from 1 on, of the longest such row."""
    n = len(symbols)
    follower, level = np.full(n, -1), np.zeros(n, np.int64)
    key = symbols.astype(np.uint64) @ _ODD[: symbols.shape[1]]
    for power in range(MATCH_LEVELS):
        length = 2 ** (power + 1)
        if length > n:
            break
        half = length // 2
        joined = _mixed(key[half:] + _mixed(key[:-half]))
        key = np.concatenate([np.zeros(half, np.uint64), joined])
        order = np.argsort(key[length - 1 :], kind="stable") + length - 1
        same = np.flatnonzero(key[order[1:]] == key[order[:-1]])
        follower[order[same + 1]] = order[same] + 1
        level[order[same + 1]] = power + 1
    return follower, level


_ODD = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)


def _mixed(key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scrambled, one to one (Steele et al. 2014)."""
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


class ContextTracker:
    """Where a piece is, and the context of its next event; plain numbers, since it does this for every event.

    bars: how many bars the piece will have, which `bars_left` counts down from.
    """

    def __init__(self, steps_per_quarter: int, max_onset: int, bars: int) -> None:
        self.steps_per_quarter, self.max_onset, self.bars = steps_per_quarter, max_onset, bars
        self.max_position = max_position(steps_per_quarter)
        self.now = self.bar_start = self.bar_number = 0
        self.bar_length = 4 * steps_per_quarter
        self.metre: int | None = None
        self.last_kind, self.last_pitch = -1, 0
        self.then: list[int] = []  # the steps 1, 2, 4 ... bars before the next event; none without a metre
        # The steps at which notes begin, and (pitch, duration, velocity) of what each instrument strikes there.
        self.struck: list[int] = []
        self.chords: dict[tuple[int, int], tuple[tuple[int, int, int], ...]] = {}
        # All events and their steps, the key of the row of 1, 2, 4 ... that ends with each, and where such a row ended last.
        self.events: list[list[int]] = []
        self.steps: list[int] = []
        self.keys: list[list[int]] = []
        self.last_end: list[dict[int, int]] = [{} for _ in range(MATCH_LEVELS)]
        self.expected: list[int] | None = None  # the event that followed the last time, while the next agrees
        self.found: tuple[list[int], int, int] | None = None  # what `_recall` said of the next event

    def copy(self) -> ContextTracker:
        """One that goes on from here by itself."""
        other = copy.copy(self)
        other.struck, other.chords = self.struck.copy(), self.chords.copy()
        other.events, other.steps, other.keys = self.events.copy(), self.steps.copy(), self.keys.copy()
        other.last_end = [ends.copy() for ends in self.last_end]
        return other

    @property
    def horizon(self) -> int:
        """Step of the last bar line, if the metre stays."""
        return self.bar_start + (self.bars - self.bar_number) * self.bar_length

    def fill(self, field: int, event: list[int], context: list[int]) -> None:
        """Set the columns of context that are known with this field of the next event; for every field that tells any."""
        if self.expected is not None and field <= PITCH and self.expected[field] != event[field]:
            self.expected = None
        if field == ONSET:
            self._fill_place(event[ONSET], context)
            self._fill_next_onsets(context)
            context[MATCH_KIND] = self._recalled(KIND)
        elif field == KIND:
            self._fill_pitches(event, context)
            context[MATCH_PITCH] = self._recalled(PITCH)
        elif field == PITCH:
            self._fill_durations_and_velocities(event, context)
            context[MATCH_DURATION] = self._recalled(DURATION)
            context[MATCH_VELOCITY] = self._recalled(VELOCITY)
            self._fill_next_match(event, context)

    def _fill_place(self, onset: int, context: list[int]) -> None:
        step, length = self.now + onset, self.bar_length
        bars, position = divmod(step - self.bar_start, length)
        bar = self.bar_number + bars
        context[BARS_LEFT] = min(max(self.bars - bar, 0), MAX_BARS_LEFT)
        if self.metre is None:
            context[METRE_NOW] = context[POSITION] = context[PHRASE] = 0
            self.then = []
        else:
            context[METRE_NOW] = self.metre
            context[POSITION] = min(position, self.max_position)
            context[PHRASE] = bar % PHRASE_BARS
            self.then = [step - lag * length for lag in LAGS]

    def _fill_next_onsets(self, context: list[int]) -> None:
        for index, then in enumerate(self.then):
            if then < 0:
                break
            place = bisect_right(self.struck, then)
            if place < len(self.struck):
                following = self.struck[place] - then
                if following < LAGS[index] * self.bar_length and following <= self.max_onset:
                    context[NEXT_ONSET + index] = following

    def _fill_pitches(self, event: list[int], context: list[int]) -> None:
        kind = event[KIND]
        in_chord = event[ONSET] == 0 and kind == self.last_kind
        below = self.last_pitch if in_chord else 128
        for index, then in enumerate(self.then):
            for pitch, _, _ in self.chords.get((kind, then), ()):
                if pitch < below:
                    context[ECHO_PITCH + index] = pitch
                    break

    def _fill_durations_and_velocities(self, event: list[int], context: list[int]) -> None:
        kind, wanted = event[KIND], event[PITCH]
        for index, then in enumerate(self.then[:DURATION_LAGS]):
            for pitch, duration, velocity in self.chords.get((kind, then), ()):
                if pitch == wanted:
                    context[ECHO_DURATION + index] = duration
                    if index < VELOCITY_LAGS:
                        context[ECHO_VELOCITY + index] = velocity

    def _recalled(self, field: int) -> int:
        """This field of the event that followed the last time, if the next one agrees with it so far."""
        return NOT_APPLICABLE if self.expected is None else self.expected[field]

    def _fill_next_match(self, event: list[int], context: list[int]) -> None:
        self.found = self._recall(event)
        _, follower, context[MATCH] = self.found
        if follower >= 0:
            context[MATCH_ONSET] = self.events[follower][ONSET]

    def _recall(self, event: list[int]) -> tuple[list[int], int, int]:
        """Keys of the rows of 1, 2, 4 ... events that end with this one, which event followed the longest of
        them that was heard before, -1 if none was or this is not a bar ago, and its level."""
        key = hash(tuple(event[: PITCH + 1]))
        keys, follower, level = [key], -1, 0
        for power, ends in enumerate(self.last_end):
            half = 2**power
            if len(self.keys) < 2 * half - 1:
                break
            key = hash((self.keys[-half][power], key))
            keys.append(key)
            if key in ends:
                follower, level = ends[key] + 1, power + 1
        bar_ago = self.now + event[ONSET] - self.bar_length
        if follower >= 0 and (follower == len(self.events) or self.steps[follower] > bar_ago):
            follower, level = -1, 0
        return keys, follower, level

    def _remember(self, event: list[int]) -> None:
        keys, follower, _ = self.found or self._recall(event)
        for ends, key in zip(self.last_end, keys[1:], strict=False):
            ends[key] = len(self.events)
        self.keys.append(keys)
        self.events.append(event)
        self.steps.append(self.now + event[ONSET])
        self.expected = self.events[follower] if follower >= 0 else None
        self.found = None

    def advance(self, event: list[int]) -> None:
        """Go on to after this event."""
        self._remember(event)
        kind, pitch = event[KIND], event[PITCH]
        self.now += event[ONSET]
        bars = (self.now - self.bar_start) // self.bar_length
        self.bar_number += bars
        self.bar_start += bars * self.bar_length
        if kind == METRE_KIND:
            self._change_metre(pitch - FIRST_METRE_VALUE)
        elif FIRST_INSTRUMENT <= kind < REST_KIND:
            if not self.struck or self.struck[-1] != self.now:
                self.struck.append(self.now)
            place, note = (kind, self.now), (pitch, event[DURATION], event[VELOCITY])
            self.chords[place] = (*self.chords.get(place, ()), note)
        self.last_kind = -1 if kind == REST_KIND else kind
        self.last_pitch = pitch

    def _change_metre(self, value: int) -> None:
        if self.now > self.bar_start:  # a prompt may change its metre within a bar
            self.bar_number += 1
        self.bar_start = self.now
        self.metre = value
        self.bar_length = bar_steps(value, self.steps_per_quarter)
