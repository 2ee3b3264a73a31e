"""Times that people read: every eighth of a staff is divided into 16ths and 32nds, or into triplets.

What is on such a grid already stays where it is. What was played freely goes to the nearest 16th or triplet.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

from cadenza.score import NoteArray

DIVISIONS = 24  # in a quarter
EIGHTH, SIXTEENTH = 12, 6
FINE, COARSE, TRIPLETS = (0, 3, 6, 9), (0, 6), (0, 4, 8)
# By how much, in all, notes have to lie nearer to triplets than to 16ths to be triplets: on a grid, and off it.
TRIPLET_COST, FREE_TRIPLET_COST = 0.5, 3.0
EXACT, EXACT_SHARE = (
    0.51,
    0.9,
)  # so near to a time that can be written are so many notes of a piece on the grid


@dataclass(frozen=True)
class Tone:
    """A note between two times, in 24ths of a quarter."""

    start: int
    end: int
    pitch: int
    velocity: int


def tones(notes: NoteArray, ticks_per_quarter: int) -> list[Tone]:
    """Notes of one staff at times that can be written, in their order; a note struck again ends there.

    Of two that would begin together on one key, the longer is kept.
    """
    scale = DIVISIONS / ticks_per_quarter
    starts = (notes["onset"] * scale).tolist()
    ends = ((notes["onset"] + notes["duration"]) * scale).tolist()
    grids = _grids(starts)
    found: dict[tuple[int, int], Tone] = {}
    for note, start, end in zip(notes, starts, ends, strict=True):
        begin = _nearest(start, grids)
        tone = Tone(begin, _end(begin, end, grids), int(note["pitch"]), int(note["velocity"]))
        before = found.get((begin, tone.pitch))
        if before is None or before.end < tone.end:
            found[begin, tone.pitch] = tone
    return _struck_again(sorted(found.values(), key=lambda tone: (tone.start, -tone.pitch)))


def _grids(starts: list[float]) -> dict[int, tuple[int, ...]]:
    """For every eighth in which notes begin, how it is divided."""
    within: dict[int, list[float]] = defaultdict(list)
    for start in starts:
        within[int(start // EIGHTH)].append(start % EIGHTH)
    exact = [_distance(place, (*FINE, *TRIPLETS)) < EXACT for part in within.values() for place in part]
    on_grid = sum(exact) >= EXACT_SHARE * len(exact)
    plain, cost = (FINE, TRIPLET_COST) if on_grid else (COARSE, FREE_TRIPLET_COST)

    def is_nearer(places: list[float]) -> bool:
        return sum(_distance(place, plain) - _distance(place, TRIPLETS) for place in places) > cost

    return {span: TRIPLETS if is_nearer(places) else plain for span, places in within.items()}


def _distance(place: float, grid: tuple[int, ...]) -> float:
    return min(abs(place - point) for point in (*grid, EIGHTH))


def _nearest(time: float, grids: dict[int, tuple[int, ...]]) -> int:
    span = int(time // EIGHTH)
    points = (*grids[span], EIGHTH)
    return span * EIGHTH + min(points, key=lambda point: abs(time - span * EIGHTH - point))


def _end(start: int, end: float, grids: dict[int, tuple[int, ...]]) -> int:
    """The nearest time after `start` at which a note can end: as others begin there, else a 16th."""
    span = int(max(end, start) // EIGHTH)
    beat = span // 2 * 2
    if grids.get(span, grids.get(span ^ 1)) is TRIPLETS:
        points = [beat * EIGHTH + point for point in range(0, 2 * EIGHTH + 1, 4)]
    else:
        # A 32nd is an end for a note that begins off the 16ths, or is no longer.
        is_fine = grids.get(start // EIGHTH) is FINE
        is_short = end - start < 4 or (start % SIXTEENTH and start // EIGHTH == span)
        unit = 3 if is_fine and is_short else SIXTEENTH
        points = list(range(span * EIGHTH, (span + 1) * EIGHTH + 1, unit))
    later = [point for point in points if point > start]
    if not later:
        return _end(start, (beat + 2) * EIGHTH + 1, grids)
    return min(later, key=lambda point: abs(point - end))


def _struck_again(found: list[Tone]) -> list[Tone]:
    """Tones that end where their key is struck again."""
    following: dict[int, int] = {}
    kept = []
    for tone in reversed(found):
        kept.append(replace(tone, end=min(tone.end, following.get(tone.pitch, tone.end))))
        following[tone.pitch] = tone.start
    return kept[::-1]
