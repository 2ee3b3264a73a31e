"""How like its corpus a composed piece is: the score by which candidates are ranked.

Of each of some measures (see `statistics`), the corpus has a usual range, from the 10th to the 90th percentile of
its pieces' first bars. A piece scores 1 for a measure within it, and less the farther off it lies, down to 0 at once
the width of the range away; its likeness is the mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cadenza.score import Score, bar_lines, until
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


def likeness(score: Score, corpus: Usual) -> float:
    """From 0 to 1, how like the corpus a score is."""
    values = describe(first_bars(score, BARS))
    points = []
    for name, (low, high) in corpus.items():
        width = max(high - low, LEAST_WIDTH * max(abs(low), abs(high), 1e-6))
        off = max(low - values[name], values[name] - high, 0.0)
        points.append(max(0.0, 1.0 - off / width))
    return float(np.mean(points)) if points else 0.0


def first_bars(score: Score, bars: int) -> Score:
    """The score's first bars."""
    lines = bar_lines(score, score.end)
    return until(score, int(lines[min(bars, len(lines) - 1)]))
