"""Who plays what: the two hands of a keyboard, and the one or two voices of a staff."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest

import numpy as np

from cadenza.sheet.grid import DIVISIONS, EIGHTH, SIXTEENTH, Lines, Tone

SPLITS = np.arange(45, 76)  # keys at which the right hand may begin
MIDDLE = 60
SPAN = 12  # semitones that a hand reaches without effort
# Costs of a semitone too wide, moved, and from the middle; and of a chord that is cut.
WIDE, MOVING, FAR, CLOSE = 1.0, 0.6, 0.03, 2.0
LEGATO = 3  # so many times the overlap has a chord to last, for it to be none
ALIKE = 0.7  # durations of this ratio are one
LONGEST_FILLED = 2 * DIVISIONS


@dataclass(frozen=True)
class Chord:
    """Tones that begin and end together, from high to low."""

    start: int
    end: int
    tones: tuple[Tone, ...]

    @property
    def height(self) -> float:
        """Its mean pitch."""
        return sum(tone.pitch for tone in self.tones) / len(self.tones)

    @classmethod
    def of(cls, found: Sequence[Tone], end: int) -> Chord:
        """Tones that begin together, as a chord that lasts until a time."""
        return cls(found[0].start, end, tuple(replace(tone, end=end) for tone in found))


def hands(found: Sequence[Tone]) -> tuple[list[Tone], list[Tone]]:
    """Tones of the right and of the left hand.

    The key at which the right hand begins moves from chord to chord as little as the reach of both hands allows: the
    cheapest path through all (Viterbi).
    """
    chords = [list(group) for _, group in groupby(found, key=lambda tone: tone.start)]
    if not chords:
        return [], []
    moves = MOVING * np.abs(SPLITS[:, None] - SPLITS[None, :])
    costs, came_from = np.zeros(len(SPLITS)), []
    sounding: list[Tone] = []
    for chord in chords:
        sounding = [tone for tone in sounding if tone.end > chord[0].start] + chord
        ways = costs[:, None] + moves
        came_from.append(ways.argmin(axis=0))
        costs = ways.min(axis=0) + _cost([tone.pitch for tone in sounding])
    at = int(costs.argmin())
    right: list[Tone] = []
    left: list[Tone] = []
    for chord, back in zip(reversed(chords), reversed(came_from), strict=True):
        for tone in reversed(chord):
            (right if tone.pitch >= SPLITS[at] else left).append(tone)
        at = int(back[at])
    return right[::-1], left[::-1]


def _cost(pitches: list[int]) -> np.ndarray:
    """Of every split, for keys that sound together."""
    keys = np.array(sorted(pitches))
    is_right = keys[None, :] >= SPLITS[:, None]
    cost = FAR * np.abs(SPLITS - MIDDLE)
    for hand in (is_right, ~is_right):
        some = hand.any(axis=1)
        high = np.where(hand, keys, -1).max(axis=1)
        low = np.where(hand, keys, 999).min(axis=1)
        cost = cost + WIDE * np.where(some, np.maximum(0, high - low - SPAN), 0)
    # Cutting between keys that lie close together, rather than where there is a gap.
    gap = np.where(is_right, keys, 999).min(axis=1) - np.where(~is_right, keys, -999).max(axis=1)
    return cost + np.where(gap < 5, CLOSE * (5 - gap) / 5, 0)


def voices(found: Sequence[Tone], lines: Lines) -> list[list[Chord]]:
    """One or two voices, in each of which chords follow one another, the upper first.

    What two voices cannot hold is cut short where the next begins.
    """
    upper: list[Chord] = []
    lower: list[Chord] = []
    groups = [_chords(list(group)) for _, group in groupby(found, key=lambda tone: tone.start)]
    for number, group in enumerate(groups):
        if len(group) == 2:
            _add(upper, group[0])
            _add(lower, group[1])
        else:
            _add(_voice_for(group[0], groups[number + 1 : number + 5], upper, lower), group[0])
    both = [_filled(upper, lines), _filled(lower, lines)]
    return [voice for voice in both if voice]


def _chords(group: list[Tone]) -> list[Chord]:
    """Of tones that begin together: one chord, or an upper and a lower one where they end apart."""
    cuts: Iterable[int] = range(1, len(group))
    if all(_alike(group[0], tone) for tone in group):
        cuts = [len(group)]
    n = min(cuts, key=lambda n: _prolonged(group[:n]) + _prolonged(group[n:]))
    return [Chord.of(part, max(tone.end for tone in part)) for part in (group[:n], group[n:]) if part]


def _prolonged(part: list[Tone]) -> int:
    """By how much tones last longer, all in all, when all last as long as the longest."""
    longest = max((tone.end for tone in part), default=0)
    return sum(longest - tone.end for tone in part)


def _alike(one: Tone, other: Tone) -> bool:
    lengths = sorted((one.end - one.start, other.end - other.start))
    return lengths[0] >= ALIKE * lengths[1]


def _voice_for(
    chord: Chord, following: Sequence[Sequence[Chord]], upper: list[Chord], lower: list[Chord]
) -> list[Chord]:
    """Where a chord goes that begins alone."""
    free = [not voice or _is_over(voice[-1], chord.start) for voice in (upper, lower)]
    if all(free):
        below = [each for group in following for each in group if each.start < chord.end]
        is_bass = bool(below) and chord.height < min(each.height for each in below)
        return lower if is_bass else upper
    if any(free):
        return upper if free[0] else lower
    return min((upper, lower), key=lambda voice: abs(voice[-1].height - chord.height))


def _is_over(chord: Chord, time: int) -> bool:
    """Whether a chord has ended, or is about to: who plays legato lifts a key late."""
    left = chord.end - time
    return left <= EIGHTH and LEGATO * left <= chord.end - chord.start


def _add(voice: list[Chord], chord: Chord) -> None:
    if voice and voice[-1].end > chord.start:
        voice[-1] = Chord.of(voice[-1].tones, chord.start)
    voice.append(chord)


def _filled(voice: list[Chord], lines: Lines) -> list[Chord]:
    """Chords that last until the next, or the next quarter, where a short rest would say no more than how it is played."""
    found = []
    for chord, following in zip_longest(voice, voice[1:]):
        start, end = lines.part(chord.end, DIVISIONS)
        end = chord.end if chord.end == start else end
        if following is not None and (
            following.start < end or following.start - chord.start <= LONGEST_FILLED
        ):
            end = following.start
        gap, length = end - chord.end, chord.end - chord.start
        if gap < SIXTEENTH or 3 * gap <= end - chord.start:
            chord = Chord.of(chord.tones, end)
        elif (
            length == SIXTEENTH
            and chord.start == lines.part(chord.start, EIGHTH)[0]
            and gap >= EIGHTH + SIXTEENTH
        ):
            chord = Chord.of(chord.tones, chord.start + EIGHTH)  # an eighth, played short
        found.append(chord)
    return found
