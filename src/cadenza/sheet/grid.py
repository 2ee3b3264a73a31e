"""Times that people read: every eighth of a staff is divided into 16ths and 32nds, or into triplets.

What is on such a grid already stays where it is. What was played freely goes to the nearest 16th or triplet.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np

from cadenza.score import NoteArray

DIVISIONS = 24  # in a quarter
EIGHTH, SIXTEENTH = 12, 6
FINE, COARSE, TRIPLETS = (0, 3, 6, 9), (0, 6), (0, 4, 8)
TRIPLET_COST = 0.5  # of the note that is off most: triplets have to explain more than they complicate
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
    exact = np.array(
        [min(abs(x - p) for p in (*FINE, *TRIPLETS, EIGHTH)) for part in within.values() for x in part]
    )
    plain = FINE if len(exact) and np.mean(exact < EXACT) >= EXACT_SHARE else COARSE
    return {span: min((plain, TRIPLETS), key=lambda grid: _cost(part, grid)) for span, part in within.items()}


def _cost(places: list[float], grid: tuple[int, ...]) -> float:
    distances = [min(abs(place - point) for point in (*grid, EIGHTH)) for place in places]
    return sum(distances) + TRIPLET_COST * (grid is TRIPLETS)


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
        unit = 3 if (start % SIXTEENTH and start // EIGHTH == span) or end - start < 4 else SIXTEENTH
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
