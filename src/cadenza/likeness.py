"""How like its corpus a composed piece is: the score by which candidates are ranked.

Of each of some measures (see `statistics`), the corpus has a usual range, from the 10th to the 90th percentile of
its pieces' first bars. A piece scores 1 for a measure within it, and less the farther off it lies, down to 0 at once
the width of the range away; its likeness is the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cadenza.score import NoteArray, Score, bar_lines, until
from cadenza.statistics import describe

MEASURES = (
    "notes_per_bar",
    "distinct_onsets_per_bar",
    "mean_duration",
    "empty_beat_rate",
    "pitch_entropy",
    "pitch_class_entropy",
    "scale_consistency",
    "polyphony",
    "groove_consistency",
    "bar_repetition",
)
BARS, PIECES = 16, 200  # the first bars of so many pieces tell what is usual
LEAST_WIDTH = 0.05  # of a range, as a share of its ends, where all pieces are the same

Usual = dict[str, tuple[float, float]]


def usual(scores: Sequence[Score]) -> Usual:
    """The 10th and 90th percentile of every measure, over some of these scores."""
    some = scores[:: -(-len(scores) // PIECES)]
    found = [describe(first_bars(score, BARS)) for score in some]
    return {
        name: tuple(np.percentile([values[name] for values in found], (10, 90)).tolist()) for name in MEASURES
    }


def likeness(score: Score, corpus: Usual, start: int = 0) -> float:
    """From 0 to 1, how like the corpus a score is, in the bars from the one in which tick `start` lies."""
    values = describe(first_bars(from_bar(score, start), BARS))
    points = []
    for name, (low, high) in corpus.items():
        width = max(high - low, LEAST_WIDTH * max(abs(low), abs(high), 1e-6))
        off = max(low - values[name], values[name] - high, 0.0)
        points.append(max(0.0, 1.0 - off / width))
    return float(np.mean(points)) if points else 0.0


def from_bar(score: Score, start: int) -> Score:
    """What begins in the bar in which a tick lies, and after it."""
    lines = bar_lines(score, max(start, score.end))
    line = int(lines[max(0, int(np.searchsorted(lines, start, side="right")) - 1)])
    if line == 0:
        return score
    notes = score.notes[score.notes["onset"] >= line].copy()
    notes["onset"] -= line
    return replace(score, notes=notes, tempi=_from(score.tempi, line), metres=_from(score.metres, line))


def _from(changes: NoteArray, tick: int) -> NoteArray:
    """Changes of tempo or metre, with what holds at a tick moved to 0."""
    moved = changes[max(0, int(np.searchsorted(changes["tick"], tick, side="right")) - 1) :].copy()
    moved["tick"] = np.maximum(0, moved["tick"] - tick)
    return moved


def first_bars(score: Score, bars: int) -> Score:
    """The score's first bars."""
    lines = bar_lines(score, score.end)
    return until(score, int(lines[min(bars, len(lines) - 1)]))
