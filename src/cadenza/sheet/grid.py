"""Times that people read: every eighth of a staff is divided into 16ths and 32nds, or into triplets.

What is on such a grid already stays where it is. What was played freely goes to the nearest 16th or triplet.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cadenza.errors import InputError
from cadenza.score import NoteArray, Score, bar_lines

DIVISIONS = 24  # in a quarter
EIGHTH, SIXTEENTH, UNIT = 12, 6, 3
MAX_BARS = 10_000
FINE, COARSE, TRIPLETS = (0, 3, 6, 9), (0, 6), (0, 4, 8)
# By how much, in all, notes have to lie nearer to triplets than to 16ths to be triplets: on a grid, and off it.
TRIPLET_COST, FREE_TRIPLET_COST = 0.5, 3.0
EXACT, EXACT_SHARE = (
    0.51,
    0.9,
)  # so near to a time that can be written are so many notes of a piece on the grid


Grid = tuple[int, ...]


@dataclass(frozen=True)
class Tone:
    """A note between two times, in 24ths of a quarter."""

    start: int
    end: int
    pitch: int
    velocity: int


class Lines:
    """Bar lines: the ticks at which they are, and the times at which they are written, which are whole 32nds.

    All that is written is counted from the bar line before it. The last line ends the last bar.
    """

    def __init__(self, ticks: Sequence[int], ticks_per_quarter: int) -> None:
        self.ticks, self.scale = list(ticks), DIVISIONS / ticks_per_quarter
        self.times = [0]
        for tick in self.ticks[1:]:
            self.times.append(max(self.times[-1] + UNIT, UNIT * round(tick * self.scale / UNIT)))

    def time(self, tick: int) -> float:
        """When a tick is written."""
        n = min(bisect_right(self.ticks, tick), len(self.ticks) - 1) - 1
        return min(self.times[n] + (tick - self.ticks[n]) * self.scale, self.times[n + 1])

    def bar(self, time: float) -> tuple[int, int]:
        """Start and end of the bar in which a time lies."""
        n = min(bisect_right(self.times, time), len(self.times) - 1)
        return self.times[n - 1], self.times[n]

    def part(self, time: float, length: int) -> tuple[int, int]:
        """Start and end of the eighth or quarter, counted from its bar line, in which a time lies."""
        start, end = self.bar(time)
        begin = start + int(time - start) // length * length
        return begin, min(begin + length, end)


def lines_of(score: Score) -> Lines:
    """The bar lines of a score, with bars to spare for notes that are written longer than they are."""
    ticks = bar_lines(score, score.end + 2 * score.ticks_per_quarter)
    if len(ticks) > MAX_BARS:
        raise InputError(
            f"{len(ticks):,} bars are too many for sheet music; at most {MAX_BARS:,} are written."
        )
    return Lines(ticks.tolist(), score.ticks_per_quarter)


def tones(notes: NoteArray, lines: Lines) -> list[Tone]:
    """Notes of one staff at times that can be written, in their order; a note struck again ends there.

    Of two that would begin together on one key, the longer is kept.
    """
    starts = [lines.time(tick) for tick in notes["onset"].tolist()]
    ends = [lines.time(tick) for tick in (notes["onset"] + notes["duration"]).tolist()]
    grids = _grids(starts, lines)
    found: dict[tuple[int, int], Tone] = {}
    for note, start, end in zip(notes, starts, ends, strict=True):
        begin = min(_points(start, grids, lines), key=lambda point: abs(point - start))
        tone = Tone(begin, _end(begin, end, grids, lines), int(note["pitch"]), int(note["velocity"]))
        before = found.get((begin, tone.pitch))
        if before is None or before.end < tone.end:
            found[begin, tone.pitch] = tone
    return _struck_again(sorted(found.values(), key=lambda tone: (tone.start, -tone.pitch)))


def _grids(starts: list[float], lines: Lines) -> dict[int, Grid]:
    """For every eighth in which notes begin, by its start, how it is divided."""
    within: dict[tuple[int, int], list[float]] = defaultdict(list)
    for start in starts:
        eighth = lines.part(start, EIGHTH)
        within[eighth].append(start - eighth[0])
    exact = [_distance(place, (*FINE, *TRIPLETS)) < EXACT for part in within.values() for place in part]
    on_grid = sum(exact) >= EXACT_SHARE * len(exact)
    plain, cost = (FINE, TRIPLET_COST) if on_grid else (COARSE, FREE_TRIPLET_COST)

    def is_nearer(places: list[float]) -> bool:
        return sum(_distance(place, plain) - _distance(place, TRIPLETS) for place in places) > cost

    return {
        start: TRIPLETS if end - start == EIGHTH and is_nearer(places) else plain
        for (start, end), places in within.items()
    }


def _distance(place: float, grid: Grid) -> float:
    return min(abs(place - point) for point in (*grid, EIGHTH))


def _points(time: float, grids: dict[int, Grid], lines: Lines) -> list[int]:
    """Where notes may begin in the eighth around a time, and its end."""
    start, end = lines.part(time, EIGHTH)
    return [start + point for point in grids[start] if start + point < end] + [end]


def _end(start: int, end: float, grids: dict[int, Grid], lines: Lines) -> int:
    """The nearest time after `start` at which a note can end: as others begin there, else a 16th."""
    first, last = lines.part(max(end, start), EIGHTH)
    quarter = lines.part(first, 2 * EIGHTH)[0]
    other = quarter if first > quarter else quarter + EIGHTH
    if last - first == EIGHTH and grids.get(first, grids.get(other)) is TRIPLETS:
        unit = TRIPLETS[1]
    else:
        # A 32nd is an end for a note that begins off the 16ths, or is no longer.
        begin = lines.part(start, EIGHTH)[0]
        is_short = end - start < 4 or (begin == first and (start - begin) % SIXTEENTH)
        unit = UNIT if is_short and grids.get(begin) is FINE else SIXTEENTH
    later = [point for point in (*range(first, last, unit), last) if point > start]
    return min(later, key=lambda point: abs(point - end)) if later else _end(start, last, grids, lines)


def _struck_again(found: list[Tone]) -> list[Tone]:
    """Tones that end where their key is struck again."""
    following: dict[int, int] = {}
    kept = []
    for tone in reversed(found):
        kept.append(replace(tone, end=min(tone.end, following.get(tone.pitch, tone.end))))
        following[tone.pitch] = tone.start
    return kept[::-1]
