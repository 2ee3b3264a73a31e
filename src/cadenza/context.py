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

What sounds on is told as well, since the next note most often comes when another one ends:

    sounds_on      how long the instrument still sounds when the event comes, at most `max_onset` steps
    first_end, last_end   how long after the event the first of all sounding notes ends, and the last one

And the key that the last 64 notes are most likely in (Krumhansl's profiles; 12 major keys, then 12 minor ones), for the network
to hear a tonic without having to count.

Where a gap is filled, the notes around it are given, and told ahead of time (the idea of Thickstun et al. 2023,
"Anticipatory Music Transformer", as facts beside the events instead of events out of their order):

    fill                     whether new notes may come before the next given one: no, by some instruments, by all
    ahead_onset, ahead_kind, ahead_pitch     the next given note
    coming_onset, coming_pitch, coming_duration, coming_velocity   echoes of the given notes 1, 2, 4 bars later

And where the style of a piece is told, each of the four style columns holds its number; of a mixture, each style
takes as many of them as it has a share.

Two forms, which a test holds equal: `context_of` for whole pieces, `ContextTracker` event by event.
"""

from __future__ import annotations

import copy
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from cadenza.gaps import NO_ONE, Gap
from cadenza.schema import NOT_APPLICABLE, ContextField
from cadenza.score import IntArray, key_profiles
from cadenza.vocabulary import (
    DURATION,
    FIRST_METRE_VALUE,
    KIND,
    MAX_BARS_LEFT,
    MAX_STYLES,
    METRE_KIND,
    N_KINDS,
    N_METRES,
    N_PITCH_VALUES,
    ONSET,
    PHRASE_BARS,
    PITCH,
    REST_KIND,
    STYLE_VOTES,
    UNKNOWN_BARS_LEFT,
    VELOCITY,
    EventArray,
    bar_steps,
    duration_steps,
    is_played,
    place,
    plays,
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
MATCH_LEVELS = 5  # that 2, 4, 8 ... events agree
LAGS_AHEAD = (1, 2, 4)
COMING_DURATIONS, COMING_VELOCITIES = 2, 1
FILL, AHEAD_ONSET, AHEAD_KIND, AHEAD_PITCH = range(MATCH_VELOCITY + 1, MATCH_VELOCITY + 5)
COMING_ONSET = AHEAD_PITCH + 1
COMING_PITCH = COMING_ONSET + len(LAGS_AHEAD)
COMING_DURATION = COMING_PITCH + len(LAGS_AHEAD)
COMING_VELOCITY = COMING_DURATION + COMING_DURATIONS
STYLE = COMING_VELOCITY + COMING_VELOCITIES
SOUNDS_ON, FIRST_END, LAST_END = range(STYLE + STYLE_VOTES, STYLE + STYLE_VOTES + 3)
KEY = LAST_END + 1
N_CONTEXT = KEY + 1
KEY_NOTES, LONGEST_HEARD = 64, 4  # notes that the key is told from; quarters of one that count
UNTOLD = (NOT_APPLICABLE,) * STYLE_VOTES


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
        # Of what comes after this event.
        ContextField("fill", 3, PITCH),
        ContextField("ahead_onset", max_onset + 1, PITCH),
        ContextField("ahead_kind", N_KINDS, PITCH),
        ContextField("ahead_pitch", 128, PITCH),
        # What is heard some bars later is as telling as what was heard earlier.
        *(ContextField(f"coming_onset_{n}", max_onset + 1, ONSET, f"next_onset_{n}") for n in LAGS_AHEAD),
        *(ContextField(f"coming_pitch_{n}", 128, KIND, f"echo_pitch_{n}") for n in LAGS_AHEAD),
        *(
            ContextField(f"coming_duration_{n}", n_durations, PITCH, f"echo_duration_{n}")
            for n in LAGS_AHEAD[:COMING_DURATIONS]
        ),
        *(
            ContextField(f"coming_velocity_{n}", n_velocities, PITCH, f"echo_velocity_{n}")
            for n in LAGS_AHEAD[:COMING_VELOCITIES]
        ),
        *(
            ContextField(f"style_{n}", MAX_STYLES, ONSET, "style_1" if n > 1 else None)
            for n in range(1, STYLE_VOTES + 1)
        ),
        ContextField("sounds_on", max_onset + 1, KIND),
        ContextField("first_end", max_onset + 1, DURATION),
        ContextField("last_end", max_onset + 1, DURATION),
        ContextField("key", 24, ONSET),
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

    def number_of(self, step: IntArray) -> IntArray:
        """Which bar each step (N,) lies in, counted from 0."""
        metre = self._metre_of(step)
        return np.asarray(self.bars_before[metre] + (step - self.start[metre]) // self.length[metre])

    def position_of(self, step: IntArray) -> IntArray:
        """How far each step (N,) lies after its bar line."""
        metre = self._metre_of(step)
        return np.asarray((step - self.start[metre]) % self.length[metre])

    def _metre_of(self, step: IntArray) -> IntArray:
        return np.maximum(np.searchsorted(self.start, step, side="right") - 1, 0)

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
    gap: Gap | None = None,
    styles: Sequence[int] = UNTOLD,
) -> EventArray:
    """Context (N, N_CONTEXT) of the events (N, fields) of a whole piece.

    bars_to_come: how many bars follow after the last event; None leaves the bars left unknown.
    matches: whether to tell what followed the last time. gap: tell of the notes around it. styles: what the style
    columns hold.
    """
    step = np.cumsum(events[:, ONSET].astype(np.int64))
    kind = events[:, KIND].astype(np.int64)
    is_metre = kind == METRE_KIND
    bars = bars_of(events, steps_per_quarter)
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
    context[:, STYLE : STYLE + STYLE_VOTES] = styles
    context[:, BARS_LEFT] = UNKNOWN_BARS_LEFT
    if bars_to_come is not None:
        context[:, BARS_LEFT] = np.clip(bar[-1] + bars_to_come - bar, 0, MAX_BARS_LEFT)
    notes = np.flatnonzero(plays(kind))
    length_or_none = np.where(metric, length, 0)
    _fill_echoes(context, events, step, length_or_none, max_onset, notes, BACK)
    sure = None
    if gap is not None:
        given = notes[gap.given(events[notes], bars.number_of(step[notes]))]
        _fill_echoes(context, events, step, length_or_none, max_onset, given, AHEAD)
        _fill_ahead(context, events, step, max_onset, given, gap, bars)
        sure = sure_events(events, context)
    length_of = duration_steps(steps_per_quarter)
    lengths = np.where(events[:, DURATION] >= 0, length_of[np.maximum(events[:, DURATION], 0)], 0)
    _fill_ends(context, step, kind, lengths, max_onset)
    _fill_key(context, events[:, PITCH], np.minimum(lengths, LONGEST_HEARD * steps_per_quarter))
    if matches:
        _fill_matches(context, events, step, length, sure)
    return context


def bars_of(events: EventArray, steps_per_quarter: int) -> Bars:
    """Where the bars of a piece (N, fields) are."""
    metres = events[:, KIND] == METRE_KIND
    step = np.cumsum(events[:, ONSET].astype(np.int64))
    return Bars(step[metres], events[metres, PITCH].astype(np.int64) - FIRST_METRE_VALUE, steps_per_quarter)


def sure_events(events: EventArray, context: EventArray) -> NDArray[np.bool_]:
    """Which events (N,) around a gap are given, with nothing new before them.

    Rests and what follows them are not: where new notes come, time may pass in other rests.
    """
    sure = np.append(False, context[:-1, FILL] == NO_ONE)
    rest = events[:, KIND] == REST_KIND
    return sure & ~rest & ~np.append(False, rest[:-1])


@dataclass(frozen=True)
class Echoes:
    """Where the context tells of other bars: so many bars from here, in columns from these on."""

    lags: tuple[int, ...]
    onset: int
    pitch: int
    duration: int
    durations: int
    velocity: int
    velocities: int


BACK = Echoes(
    tuple(-lag for lag in LAGS),
    NEXT_ONSET,
    ECHO_PITCH,
    ECHO_DURATION,
    DURATION_LAGS,
    ECHO_VELOCITY,
    VELOCITY_LAGS,
)
AHEAD = Echoes(
    LAGS_AHEAD,
    COMING_ONSET,
    COMING_PITCH,
    COMING_DURATION,
    COMING_DURATIONS,
    COMING_VELOCITY,
    COMING_VELOCITIES,
)


def _fill_ahead(
    context: EventArray,
    events: EventArray,
    step: IntArray,
    max_onset: int,
    given: IntArray,
    gap: Gap,
    bars: Bars,
) -> None:
    """Fill in the columns that tell of the next given note."""
    kind, pitch = events[:, KIND].astype(np.int64), events[:, PITCH].astype(np.int64)
    rank = place(step, kind, pitch)
    following = np.searchsorted(rank[given], rank, side="right")
    there = following < len(given)
    which = given[following[there]]
    context[there, AHEAD_ONSET] = np.minimum(step[which] - step[there], max_onset)
    context[there, AHEAD_KIND], context[there, AHEAD_PITCH] = kind[which], pitch[which]
    until = np.full(len(events), len(gap.who) - 1)
    until[there] = bars.number_of(step[which])
    context[:, FILL] = gap.between(bars.number_of(step), until)


def _fill_echoes(
    context: EventArray,
    events: EventArray,
    step: IntArray,
    bar: IntArray,
    max_onset: int,
    notes: IntArray,
    echoes: Echoes,
) -> None:
    """Fill in the columns that tell what these notes (M,) do some bars from here.

    bar (N,) is the length of a bar, 0 without a metre.
    """
    if not len(notes):
        return
    kind, pitch = events[:, KIND].astype(np.int64), events[:, PITCH].astype(np.int64)
    struck = np.unique(step[notes])
    until = int(step[-1]) + 1

    def highest(kind: IntArray, at: IntArray) -> IntArray:
        """Rank of the highest possible key of an instrument at a step; lower keys rank after it."""
        return (kind * until + at) * 128

    ranks = highest(kind[notes], step[notes]) + 127 - pitch[notes]
    order = np.argsort(ranks, kind="stable")
    ranks, by_rank = ranks[order], notes[order]
    in_chord = (events[:, ONSET] == 0) & (kind == np.concatenate([[-1], kind[:-1]]))
    below = np.where(in_chord, 128 - np.concatenate([[0], pitch[:-1]]), 0)
    for index, lag in enumerate(echoes.lags):
        then = step + lag * bar
        exists = (bar > 0) & (then >= 0) & (then < until)
        following = struck[np.minimum(np.searchsorted(struck, then, side="right"), len(struck) - 1)] - then
        heard = exists & (following > 0) & (following <= max_onset)
        if lag < 0:
            heard &= following < -lag * bar
        context[heard, echoes.onset + index] = following[heard]
        start = highest(kind, then)
        found = np.minimum(np.searchsorted(ranks, start + below), len(ranks) - 1)
        heard = exists & (ranks[found] >= start + below) & (ranks[found] < start + 128)
        context[heard, echoes.pitch + index] = 127 - ranks[found[heard]] % 128
        wanted = start + 127 - pitch
        found = np.minimum(np.searchsorted(ranks, wanted), len(ranks) - 1)
        heard = exists & (ranks[found] == wanted)
        if index < echoes.durations:
            context[heard, echoes.duration + index] = events[by_rank[found[heard]], DURATION]
        if index < echoes.velocities:
            context[heard, echoes.velocity + index] = events[by_rank[found[heard]], VELOCITY]


def _fill_ends(
    context: EventArray, step: IntArray, kind: IntArray, lengths: IntArray, max_onset: int
) -> None:
    """Fill in the columns that tell how long notes sound on; the events themselves last so long (N,), 0 if not at all."""
    end = step + lengths
    order = np.argsort(kind, kind="stable")
    floor = kind[order] * (int(end.max()) + 1)  # under which no end of another instrument counts
    latest = np.maximum.accumulate(np.where(lengths > 0, end, 0)[order] + floor)
    before = np.maximum(np.append(0, latest[:-1]) - floor, 0)
    context[order, SOUNDS_ON] = np.clip(before - step[order], 0, max_onset)
    context[:, FIRST_END] = np.minimum(_first_ends(step.tolist(), end.tolist()), max_onset)
    context[:, LAST_END] = np.clip(np.maximum.accumulate(end) - step, 0, max_onset)


def _first_ends(step: list[int], end: list[int]) -> list[int]:
    """How long it is from each event (N,) to the first end after its step, of it and of those before it; 0 if there is none."""
    ends, found = list[int](), []
    for now, own in zip(step, end, strict=True):
        heappush(ends, own)
        while ends and ends[0] <= now:
            heappop(ends)
        found.append(ends[0] - now if ends else 0)
    return found


_PROFILES = np.rint(1000 * key_profiles()).astype(
    np.int64
)  # whole numbers, of which sums are the same in any order


def _fill_key(context: EventArray, pitch: EventArray, heard: IntArray) -> None:
    """Fill in the key of the notes before each event, which are heard so long (N,), 0 for what has no pitch."""
    notes = np.flatnonzero(heard)
    classes = np.zeros((len(notes) + 1, 12), np.int64)
    classes[np.arange(len(notes)) + 1, pitch[notes] % 12] = heard[notes]
    total = classes.cumsum(axis=0)
    total[KEY_NOTES:] -= total[:-KEY_NOTES].copy()
    keys = np.append(NOT_APPLICABLE, np.argmax(total[1:] @ _PROFILES.T, axis=1))
    context[:, KEY] = keys[np.searchsorted(notes, np.arange(len(pitch)))]


def _fill_matches(
    context: EventArray, events: EventArray, step: IntArray, bar: IntArray, sure: NDArray[np.bool_] | None
) -> None:
    """Fill in the columns that tell what followed the last time, if that is a bar (N,) ago.

    sure (N,): events that are given, as is that nothing comes before them. What follows in a bar or later counts
    where they are, unless a longer row was heard before.
    """
    follower, level = _followers(events[:, : PITCH + 1], step, bar, sure)
    near = (follower <= np.arange(len(events))) & (step[follower] > step - bar)
    follower[near], level[near] = -1, 0
    context[:, MATCH] = level
    heard = follower >= 0
    context[heard, MATCH_ONSET] = events[follower[heard], ONSET]
    then = np.concatenate([[-1], follower[:-1]])  # what was expected to be this event
    agrees = then >= 0
    for column, before, now in (
        (MATCH_KIND, ONSET, KIND),
        (MATCH_PITCH, KIND, PITCH),
        (MATCH_DURATION, PITCH, DURATION),
        (MATCH_VELOCITY, PITCH, VELOCITY),
    ):
        agrees &= events[then, before] == events[:, before]
        context[agrees, column] = events[then[agrees], now]


def _followers(
    symbols: EventArray, step: IntArray, bar: IntArray, sure: NDArray[np.bool_] | None
) -> tuple[IntArray, IntArray]:
    """Of each event (N,): the one that followed when the last 2, 4, 8 ... were last heard, or follows when sure
    events will next be the same, -1 if there is none; and the level, from 1 on, of the longest such row."""
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
        if sure is not None:
            there, later = _next_rows(key, _sure_rows(sure, length), step, bar, length)
            follower[there], level[there] = later + 1, power + 1
        follower[order[same + 1]] = order[same] + 1
        level[order[same + 1]] = power + 1
    return follower, level


def _sure_rows(sure: NDArray[np.bool_], length: int) -> IntArray:
    """Where rows of this length end that consist of sure events and are followed by one."""
    unsure = np.concatenate([[0], np.cumsum(~sure)])
    ends = np.arange(length - 1, len(sure) - 1)
    return ends[unsure[ends + 2] == unsure[ends + 1 - length]]


def _next_rows(
    key: NDArray[np.uint64], ends: IntArray, step: IntArray, bar: IntArray, length: int
) -> tuple[IntArray, IntArray]:
    """The events (M,) whose row has a key that one of these rows will have, and where the next such row ends; if
    what follows it is a bar off."""
    n = len(key)
    _, rank = np.unique(key, return_inverse=True)
    order = np.sort(rank[ends] * n + ends)
    here = np.arange(length - 1, n)
    found = np.searchsorted(order, rank[here] * n + here, side="right")
    there = found < len(order)
    here, later = here[there], order[found[there]]
    same = later // n == rank[here]
    here, later = here[same], later[same] % n
    far = step[later + 1] > step[here] + bar[here]
    return here[far], later[far]


_ODD = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)


def _mixed(key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scrambled, one to one (Steele et al. 2014)."""
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


@dataclass
class Ends:
    """When the notes so far end, in steps; asked about steps that never go back."""

    longest: int  # that is told
    to_end: list[int] = field(default_factory=list)  # a heap
    last: int = 0
    last_of: dict[int, int] = field(default_factory=dict)  # by kind

    def copy(self) -> Ends:
        """One that goes on from here by itself."""
        return Ends(self.longest, self.to_end.copy(), self.last, self.last_of.copy())

    def add(self, kind: int, step: int, duration: int) -> None:
        """Take note of an event; one without a duration does not sound on."""
        if duration:
            end = step + duration
            heappush(self.to_end, end)
            self.last = max(self.last, end)
            self.last_of[kind] = max(self.last_of.get(kind, 0), end)

    def sounds_on(self, kind: int, step: int) -> int:
        """How long an instrument still sounds at a step; 0 once it is silent."""
        return min(max(self.last_of.get(kind, 0) - step, 0), self.longest)

    def after(self, step: int, duration: int) -> tuple[int, int]:
        """How long it is from a step to the first and to the last end of a note after it, of one that begins there
        and lasts so long included; 0 if nothing sounds."""
        while self.to_end and self.to_end[0] <= step:
            heappop(self.to_end)
        first = self.to_end[0] - step if self.to_end else duration
        first = min(first, duration) if duration else first
        return min(first, self.longest), min(max(self.last - step, duration), self.longest)


@dataclass
class KeyHeard:
    """The likeliest key of the last notes, each of which counts for `longest` steps at most."""

    longest: int
    notes: deque[tuple[int, int]] = field(default_factory=deque)  # pitch class and steps of each
    heard: list[int] = field(default_factory=lambda: [0] * 12)  # steps of each pitch class
    key: int = NOT_APPLICABLE

    def copy(self) -> KeyHeard:
        """One that goes on from here by itself."""
        return KeyHeard(self.longest, self.notes.copy(), self.heard.copy(), self.key)

    def add(self, pitch: int, duration: int) -> None:
        """Take note of an event; one without a duration has no pitch."""
        if not duration:
            return
        note = (pitch % 12, min(duration, self.longest))
        self.notes.append(note)
        self.heard[note[0]] += note[1]
        if len(self.notes) > KEY_NOTES:
            gone, steps = self.notes.popleft()
            self.heard[gone] -= steps
        self.key = int((_PROFILES @ self.heard).argmax())


@dataclass
class Sounds:
    """The steps at which notes begin, and (pitch, duration, velocity) of what each instrument strikes there."""

    struck: list[int] = field(default_factory=list)
    chords: dict[tuple[int, int], tuple[tuple[int, int, int], ...]] = field(default_factory=dict)

    def copy(self) -> Sounds:
        """One that goes on from here by itself."""
        return Sounds(self.struck.copy(), self.chords.copy())

    def add(self, step: int, event: Sequence[int]) -> None:
        """Take note of a note (fields), after all that come before it."""
        if not self.struck or self.struck[-1] != step:
            self.struck.append(step)
        place, note = (event[KIND], step), (event[PITCH], event[DURATION], event[VELOCITY])
        self.chords[place] = (*self.chords.get(place, ()), note)

    def next_after(self, step: int) -> int | None:
        """How long after this step the next note begins."""
        place = bisect_right(self.struck, step)
        return self.struck[place] - step if place < len(self.struck) else None

    def highest_below(self, kind: int, step: int, pitch: int) -> int:
        """The highest key below this one that the instrument strikes there."""
        found = (key for key, _, _ in self.chords.get((kind, step), ()) if key < pitch)
        return next(found, NOT_APPLICABLE)


class Given:
    """The notes around a gap, which the context tells of ahead of time: events (N, fields) with their steps."""

    def __init__(self, events: EventArray, gap: Gap, steps_per_quarter: int, max_onset: int) -> None:
        self.gap, self.sounds = gap, Sounds()
        context = context_of(events, steps_per_quarter, max_onset, gap=gap)
        step = np.cumsum(events[:, ONSET].astype(np.int64))
        bar = bars_of(events, steps_per_quarter).number_of(step)
        kind, pitch = events[:, KIND].astype(np.int64), events[:, PITCH].astype(np.int64)
        notes = np.flatnonzero(plays(kind))
        notes = notes[gap.given(events[notes], bar[notes])]
        self.events: list[list[int]] = events.tolist()
        self.steps: list[int] = step.tolist()
        self.places: list[int] = place(step, kind, pitch).tolist()
        self.note_places: list[int] = place(step, kind, pitch)[notes].tolist()
        columns = (step, kind, pitch, bar)
        self.notes: list[list[int]] = np.stack([column[notes] for column in columns], axis=1).tolist()
        for n in notes.tolist():
            self.sounds.add(self.steps[n], self.events[n])
        self.rows = self._rows(sure_events(events, context))

    def _rows(self, sure: NDArray[np.bool_]) -> list[dict[int, list[int]]]:
        """Of every level, where rows of sure events with each key end."""
        keys = [hash(tuple(event[: PITCH + 1])) for event in self.events]
        found: list[dict[int, list[int]]] = []
        for power in range(MATCH_LEVELS):
            half = 2**power
            keys = [0] * half + [hash((a, b)) for a, b in zip(keys, keys[half:], strict=False)]
            rows: dict[int, list[int]] = {}
            for end in _sure_rows(sure, 2 * half).tolist():
                rows.setdefault(keys[end], []).append(end)
            found.append(rows)
        return found

    def next_row(self, power: int, key: int, step: int, place: int, bar: int) -> list[int] | None:
        """The event that follows the next row with this key after a place, if it is over a bar later."""
        ends = self.rows[power].get(key)
        if ends is None:
            return None
        index = bisect_left(ends, bisect_right(self.places, place))
        if index == len(ends) or self.steps[ends[index] + 1] <= step + bar:
            return None
        return self.events[ends[index] + 1]


class ContextTracker:
    """Where a piece is, and the context of its next event; plain numbers, since it does this for every event.

    bars: how many bars the piece will have, which `bars_left` counts down from. given: what lies around a gap.
    """

    def __init__(self, steps_per_quarter: int, max_onset: int, bars: int, given: Given | None = None) -> None:
        self.given = given
        self.styles: tuple[int, ...] = UNTOLD  # what the style columns hold
        self.steps_per_quarter, self.max_onset, self.bars = steps_per_quarter, max_onset, bars
        self.max_position = max_position(steps_per_quarter)
        self.now = self.bar_start = self.bar_number = 0
        self.bar_length = 4 * steps_per_quarter
        self.metre: int | None = None
        self.metre_since = 0  # the step
        self.last_kind, self.last_pitch = -1, 0
        self.then: list[int] = []  # the steps 1, 2, 4 ... bars before the next event; none without a metre
        self.later: list[int] = []  # and those some bars after it, where there is anything given
        self.past, self.ends, self.key_heard = (
            Sounds(),
            Ends(max_onset),
            KeyHeard(LONGEST_HEARD * steps_per_quarter),
        )
        self.durations: list[int] = duration_steps(steps_per_quarter).tolist()
        # All events and their steps, the key of the row of 1, 2, 4 ... that ends with each, and where such a row ended last.
        self.events: list[list[int]] = []
        self.steps: list[int] = []
        self.keys: list[list[int]] = []
        self.row_end: list[dict[int, int]] = [{} for _ in range(MATCH_LEVELS)]
        self.expected: list[int] | None = None  # the event that followed the last time, while the next agrees
        # What `_recall` said of the next event.
        self.found: tuple[list[int], list[int] | None, int] | None = None

    def copy(self) -> ContextTracker:
        """One that goes on from here by itself."""
        other = copy.copy(self)
        other.past, other.ends, other.key_heard = self.past.copy(), self.ends.copy(), self.key_heard.copy()
        other.events, other.steps, other.keys = self.events.copy(), self.steps.copy(), self.keys.copy()
        other.row_end = [ends.copy() for ends in self.row_end]
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
            context[SOUNDS_ON] = self.ends.sounds_on(event[KIND], self.now + event[ONSET])
            context[MATCH_PITCH] = self._recalled(PITCH)
        elif field == PITCH:
            self._fill_durations_and_velocities(event, context)
            context[MATCH_DURATION] = self._recalled(DURATION)
            context[MATCH_VELOCITY] = self._recalled(VELOCITY)
            self._fill_next_match(event, context)
            if self.given is not None:
                self._fill_ahead(self.given, event, context)
        elif field == DURATION:
            step = self.now + event[ONSET]
            context[FIRST_END], context[LAST_END] = self.ends.after(step, self._length(event))

    def _length(self, event: list[int]) -> int:
        """How long an event sounds, in steps."""
        return self.durations[event[DURATION]] if event[DURATION] >= 0 else 0

    def _fill_place(self, onset: int, context: list[int]) -> None:
        context[STYLE : STYLE + STYLE_VOTES] = self.styles
        context[KEY] = self.key_heard.key
        step, length = self.now + onset, self.bar_length
        bars, position = divmod(step - self.bar_start, length)
        bar = self.bar_number + bars
        context[BARS_LEFT] = min(max(self.bars - bar, 0), MAX_BARS_LEFT)
        if self.metre is None:
            context[METRE_NOW] = context[POSITION] = context[PHRASE] = 0
            self.then, self.later = [], []
        else:
            context[METRE_NOW] = self.metre
            context[POSITION] = min(position, self.max_position)
            context[PHRASE] = bar % PHRASE_BARS
            self.then = [step - lag * length for lag in LAGS]
            if self.given is not None:
                self.later = [step + lag * length for lag in LAGS_AHEAD]

    def _fill_next_onsets(self, context: list[int]) -> None:
        for index, then in enumerate(self.then):
            if then < 0:
                break
            following = self.past.next_after(then)
            latest = min(LAGS[index] * self.bar_length - 1, self.max_onset)
            if following is not None and following <= latest:
                context[NEXT_ONSET + index] = following
        if self.given is not None:
            for index, then in enumerate(self.later):
                following = self.given.sounds.next_after(then)
                if following is not None and following <= self.max_onset:
                    context[COMING_ONSET + index] = following

    def _fill_pitches(self, event: list[int], context: list[int]) -> None:
        kind = event[KIND]
        in_chord = event[ONSET] == 0 and kind == self.last_kind
        below = self.last_pitch if in_chord else 128
        for index, then in enumerate(self.then):
            if (kind, then) in self.past.chords:
                context[ECHO_PITCH + index] = self.past.highest_below(kind, then, below)
        if self.given is not None:
            for index, then in enumerate(self.later):
                context[COMING_PITCH + index] = self.given.sounds.highest_below(kind, then, below)

    def _fill_durations_and_velocities(self, event: list[int], context: list[int]) -> None:
        kind, wanted = event[KIND], event[PITCH]
        for index, then in enumerate(self.then[:DURATION_LAGS]):
            for pitch, duration, velocity in self.past.chords.get((kind, then), ()):
                if pitch == wanted:
                    context[ECHO_DURATION + index] = duration
                    if index < VELOCITY_LAGS:
                        context[ECHO_VELOCITY + index] = velocity
        if self.given is not None:
            for index, then in enumerate(self.later[:COMING_DURATIONS]):
                for pitch, duration, velocity in self.given.sounds.chords.get((kind, then), ()):
                    if pitch == wanted:
                        context[COMING_DURATION + index] = duration
                        if index < COMING_VELOCITIES:
                            context[COMING_VELOCITY + index] = velocity

    def _fill_ahead(self, given: Given, event: list[int], context: list[int]) -> None:
        """Which given note comes next, and whether new ones may come before it."""
        step = self.now + event[ONSET]
        bars, position = divmod(step - self.bar_start, self.bar_length)
        bar = self.bar_number + bars + (event[KIND] == METRE_KIND and position > 0)
        following = bisect_right(given.note_places, place(step, event[KIND], event[PITCH]))
        until = len(given.gap.who) - 1
        if following < len(given.notes):
            at, kind, pitch, until = given.notes[following]
            context[AHEAD_ONSET] = min(at - step, self.max_onset)
            context[AHEAD_KIND], context[AHEAD_PITCH] = kind, pitch
        context[FILL] = int(given.gap.between(bar, until))

    def _recalled(self, field: int) -> int:
        """This field of the event that followed the last time, if the next one agrees with it so far."""
        return NOT_APPLICABLE if self.expected is None else self.expected[field]

    def _fill_next_match(self, event: list[int], context: list[int]) -> None:
        self.found = self._recall(event)
        _, follower, context[MATCH] = self.found
        if follower is not None:
            context[MATCH_ONSET] = follower[ONSET]

    def _recall(self, event: list[int]) -> tuple[list[int], list[int] | None, int]:
        """Keys of the rows of 1, 2, 4 ... events that end with this one, what followed the longest of them that
        was heard before, None if none was or this is not a bar ago, and its level; see `_fill_matches`."""
        key, step = hash(tuple(event[: PITCH + 1])), self.now + event[ONSET]
        keys, follower, level, later = [key], -1, 0, None
        for power, ends in enumerate(self.row_end):
            half = 2**power
            if len(self.keys) < 2 * half - 1:
                break
            key = hash((self.keys[-half][power], key))
            keys.append(key)
            if key in ends:
                follower, level, later = ends[key] + 1, power + 1, None
            elif self.given is not None:
                rank = place(step, event[KIND], event[PITCH])
                coming = self.given.next_row(power, key, step, rank, self.bar_length)
                if coming is not None:
                    level, later = power + 1, coming
        if later is not None:
            return keys, later, level
        bar_ago = step - self.bar_length
        if follower < 0 or follower == len(self.events) or self.steps[follower] > bar_ago:
            return keys, None, 0
        return keys, self.events[follower], level

    def _remember(self, event: list[int]) -> None:
        keys, self.expected, _ = self.found or self._recall(event)
        for ends, key in zip(self.row_end, keys[1:], strict=False):
            ends[key] = len(self.events)
        self.keys.append(keys)
        self.events.append(event)
        self.steps.append(self.now + event[ONSET])
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
        elif is_played(kind):
            self.past.add(self.now, event)
            self.ends.add(kind, self.now, self._length(event))
            self.key_heard.add(pitch, self._length(event))
        self.last_kind = -1 if kind == REST_KIND else kind
        self.last_pitch = pitch

    def _change_metre(self, value: int) -> None:
        if self.now > self.bar_start:  # a prompt may change its metre within a bar
            self.bar_number += 1
        self.bar_start = self.metre_since = self.now
        self.metre = value or None  # number 0 is no metre
        self.bar_length = bar_steps(value, self.steps_per_quarter)
