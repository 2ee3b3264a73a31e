"""How like one set of pieces another is: composed beside real ones, feature by feature.

A feature is a vector for every piece: a measure of `statistics`, a histogram, or how much its bars repeat at a
distance. Two sets are compared as in mgeval (Yang and Lerch, "On the evaluation of generative models in music",
Neural Computing and Applications 2020): by the distances of real pieces among themselves, and those between composed
and real pieces. The overlap of the two distributions is 1 if composed pieces lie among the real ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cadenza.errors import InputError
from cadenza.likeness import first_bars
from cadenza.score import DRUM_KIT, MAJOR_KEYS, MINOR_KEYS, NoteArray, Score, bar_lines, estimate_key
from cadenza.statistics import STEPS_PER_QUARTER, describe, lay_on_bars

FloatArray = NDArray[np.float64]

MEASURES = (
    "pitch_entropy",
    "pitch_class_entropy",
    "scale_consistency",
    "pitch_range",
    "polyphony",
    "polyphony_rate",
    "groove_consistency",
    "empty_beat_rate",
    "notes_per_bar",
    "distinct_onsets_per_bar",
    "mean_duration",
    "velocity_deviation",
    "longest_repeated_note_run",
    "instruments",
)
DISTANCES = (1, 2, 4, 8, 16, 32)  # in bars, at which repetition is looked for
WIDEST_INTERVAL = 12  # in semitones; wider ones count as this
QUARTERS_OF_A_BAR, ONSETS_PER_QUARTER = 8, 12  # what begins later in a bar counts as its last step
# mgeval's twelve lengths, in quarters: 1/1 .. 1/16, the same dotted from 1/2 on, and triplets.
LENGTHS = (4, 2, 1, 1 / 2, 1 / 4, 3, 3 / 2, 3 / 4, 3 / 8, 4 / 3, 2 / 3, 1 / 3)
MAX_PIECES = 300  # of a set, evenly chosen; pairs of pieces are compared
POINTS = 1000  # at which densities are compared, as in mgeval
RESAMPLINGS, CONFIDENCE = 2000, 0.95


@dataclass(frozen=True)
class Mean:
    """Mean of a measure over a set of pieces, with a bootstrap interval (Efron 1979)."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: FloatArray) -> Mean:
        """Mean of values (N,), with its 95 % interval from 2,000 sets drawn with replacement."""
        drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLINGS, len(values)))
        edge = 50 * (1 - CONFIDENCE)
        low, high = np.percentile(values[drawn].mean(axis=1), (edge, 100 - edge))
        return cls(float(values.mean()), float(low), float(high))


@dataclass(frozen=True)
class Comparison:
    """One feature of both sets.

    samples, real: means, None where the feature is a histogram. overlap: 0 .. 1. divergence: KL in nats of the
    distances among real pieces from those between the sets, 0 if they are distributed alike.
    """

    samples: Mean | None
    real: Mean | None
    overlap: float
    divergence: float


@dataclass(frozen=True)
class Listening:
    """All features that both sets have, and on how many pieces they were measured."""

    features: dict[str, Comparison]
    samples: int
    real: int
    bars: int

    @property
    def overlap(self) -> float:
        """Mean over the features."""
        return float(np.mean([each.overlap for each in self.features.values()]))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        features = {name: asdict(each) for name, each in self.features.items()}
        return {
            "overlap": self.overlap,
            "samples": self.samples,
            "real": self.real,
            "bars": self.bars,
            "features": features,
        }


def listen(samples: Sequence[Score], real: Sequence[Score]) -> Listening:
    """Compare composed with real pieces, of both as many bars as the median composed piece has.

    Raises InputError unless there are at least three of each.
    """
    for scores, name in ((samples, "composed"), (real, "real")):
        if len(scores) < 3:
            raise InputError(f"{len(scores)} {name} pieces are too few to compare; at least 3 are needed.")
    samples, real = (scores[:: -(-len(scores) // MAX_PIECES)] for scores in (samples, real))
    bars = max(1, int(np.median([len(bar_lines(score, score.end)) - 1 for score in samples])))
    ours, theirs = (
        [features(first_bars(score, bars)) | ends(score) for score in scores] for scores in (samples, real)
    )
    found = {}
    for name in theirs[0]:
        # Drums have no pitches, and short pieces no bar 16 bars before another.
        columns = [np.array([piece[name] for piece in set_ if len(piece[name])]) for set_ in (ours, theirs)]
        if min(map(len, columns)) >= 3:
            found[name] = _compared(*columns)
    return Listening(found, len(samples), len(real), bars)


def _compared(samples: FloatArray, real: FloatArray) -> Comparison:
    """A feature's vectors, (N, K) and (M, K)."""
    among = distances(real, real)[np.triu_indices(len(real), 1)]
    between = distances(samples, real).ravel()
    means = [Mean.of(values[:, 0]) if values.shape[1] == 1 else None for values in (samples, real)]
    return Comparison(means[0], means[1], *overlap_and_divergence(among, between))


def features(score: Score) -> dict[str, FloatArray]:
    """Every feature of a piece (K,); empty where it has none.

    Histograms, each with a sum of 1:
        pitches (128) and pitch_classes (12) of the pitched notes.
        intervals (25): semitones from each highest note of an instrument to its next one.
        onsets (96): where in its bar a note begins, in twelfths of a quarter.
        durations (12): of pitched notes, to the nearest of mgeval's twelve lengths.
    Measures (1): those of `statistics.describe`, and repeats_after_N: how like a bar is to the one N bars before it.
    """
    pitched = score.notes[score.notes["instrument"] < DRUM_KIT]
    measures = describe(score)
    return {
        "pitches": _histogram(pitched["pitch"], 128),
        "pitch_classes": _histogram(pitched["pitch"] % 12, 12),
        "intervals": _histogram(_intervals(pitched) + WIDEST_INTERVAL, 2 * WIDEST_INTERVAL + 1),
        "onsets": _histogram(_onsets_in_bars(score), QUARTERS_OF_A_BAR * ONSETS_PER_QUARTER),
        "durations": _histogram(_nearest_lengths(pitched, score.ticks_per_quarter), len(LENGTHS)),
        **{name: np.array([measures[name]]) for name in MEASURES},
        **repeats(score),
    }


def _histogram(values: NDArray[Any], size: int) -> FloatArray:
    if not len(values):
        return np.empty(0)
    return np.bincount(values, minlength=size) / len(values)


def _intervals(pitched: NoteArray) -> NDArray[np.int64]:
    """Between the highest notes that an instrument begins one after the other."""
    order = np.lexsort((-pitched["pitch"], pitched["onset"], pitched["instrument"]))
    notes = pitched[order]
    place = notes["instrument"].astype(np.int64) * 2**32 + notes["onset"]
    highest = notes[np.diff(place, prepend=-1) != 0]
    together = np.diff(highest["instrument"]) == 0
    found = np.diff(highest["pitch"].astype(np.int64))[together]
    return np.clip(found, -WIDEST_INTERVAL, WIDEST_INTERVAL)


def _onsets_in_bars(score: Score) -> NDArray[np.int64]:
    step = lay_on_bars(score).step * ONSETS_PER_QUARTER // STEPS_PER_QUARTER
    return np.minimum(step, QUARTERS_OF_A_BAR * ONSETS_PER_QUARTER - 1)


def _nearest_lengths(pitched: NoteArray, ticks_per_quarter: int) -> NDArray[np.int64]:
    quarters = pitched["duration"] / ticks_per_quarter
    return np.abs(quarters[:, None] - np.array(LENGTHS)).argmin(axis=1)


def repeats(score: Score) -> dict[str, FloatArray]:
    """How like a bar is to the one 1, 2, 4, 8, 16, 32 bars before it, 0 .. 1, on average; empty if none is so far on.

    Two bars are as alike as the share of their notes that both have: the same pitch or drum on the same step for as
    long. Of two that are silent, nothing is said. This is the bar similarity of Museformer (Yu et al., NeurIPS 2022).
    """
    grid = lay_on_bars(score)
    steps = np.maximum(1, np.rint(score.notes["duration"] * STEPS_PER_QUARTER / score.ticks_per_quarter))
    keys = [grid.step, grid.key, steps.astype(np.int64)]
    notes = np.unique(np.stack([grid.bar, *keys], axis=1), axis=0)
    _, content = np.unique(notes[:, 1:], axis=0, return_inverse=True)
    cells = notes[:, 0] * (int(content.max(initial=0)) + 1) + content.ravel()
    width, bars = int(content.max(initial=0)) + 1, len(grid.bar_steps)
    counts = np.bincount(notes[:, 0], minlength=bars)
    found = {}
    for distance in DISTANCES:
        both = cells[np.isin(cells, cells + distance * width, assume_unique=True)] // width
        shared = np.bincount(both, minlength=bars)[distance:]
        either = counts[distance:] + counts[: max(0, bars - distance)] - shared
        sounding = either > 0
        mean = [float((shared[sounding] / either[sounding]).mean())] if sounding.any() else []
        found[f"repeats_after_{distance}"] = np.array(mean)
    return found


def ends(score: Score) -> dict[str, FloatArray]:
    """How a whole piece begins and ends; empty without pitched notes.

    begins_on_a_bar: 1 if its first note lies on a bar line. ends_on_tonic: 1 if the lowest of the last notes to end is
    the tonic of the key that the piece seems to be in. last_length: the longest of these notes, in quarters.
    """
    pitched = score.notes[score.notes["instrument"] < DRUM_KIT]
    if not len(pitched):
        return {name: np.empty(0) for name in ("begins_on_a_bar", "ends_on_tonic", "last_length")}
    end = pitched["onset"] + pitched["duration"]
    last = pitched[end >= end.max() - score.ticks_per_quarter // ONSETS_PER_QUARTER]
    tonic = estimate_key(score).split()[0]
    names = (MAJOR_KEYS, MINOR_KEYS)
    is_tonic = any(keys[int(last["pitch"].min()) % 12] == tonic for keys in names)
    lines = bar_lines(score, score.end)
    first = int(score.notes["onset"][0])
    on_a_bar = np.abs(lines - first).min() <= score.ticks_per_quarter // ONSETS_PER_QUARTER
    return {
        "begins_on_a_bar": np.array([float(on_a_bar)]),
        "ends_on_tonic": np.array([float(is_tonic)]),
        "last_length": np.array([float(last["duration"].max()) / score.ticks_per_quarter]),
    }


# -- distances and their densities ----------------------------------------------------------------


def distances(one: FloatArray, other: FloatArray) -> FloatArray:
    """Euclidean distances (N, M) of vectors (N, K) and (M, K)."""
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
    return np.asarray(np.sqrt(np.maximum(squares, 0)))


def overlap_and_divergence(among: FloatArray, between: FloatArray) -> tuple[float, float]:
    """Overlap (0 .. 1) and KL divergence (nats) of the densities of two sets of numbers.

    As in mgeval, densities are those of Gaussian kernels, and the overlap is the area below both, from the least to
    the greatest of all numbers. mgeval's KL samples each density over the range of its own numbers; here both are
    sampled over the range of all, so that alike points are compared.
    """
    low, high = float(min(among.min(), between.min())), float(max(among.max(), between.max()))
    if high - low < 1e-9:
        return 1.0, 0.0
    points = np.linspace(low, high, POINTS)
    p, q = density(among, points), density(between, points)
    overlap = float(np.trapezoid(np.minimum(p, q), points))
    p, q = (np.maximum(each, 1e-300) / np.maximum(each, 1e-300).sum() for each in (p, q))
    return min(1.0, overlap), float((p * np.log(p / q)).sum())


def density(values: FloatArray, points: FloatArray) -> FloatArray:
    """Gaussian kernel density (P,) of values (N,) at evenly spaced points, with Scott's bandwidth (1992).

    The values are first laid on the points, each shared by its two neighbours, so that many cost no more than few; the
    bandwidth is at least one point's distance, where all values are the same.
    """
    spacing = points[1] - points[0]
    place = (values - points[0]) / spacing
    left = np.clip(np.floor(place).astype(np.int64), 0, len(points) - 2)
    weight = np.bincount(left, 1 - (place - left), len(points)) + np.bincount(
        left + 1, place - left, len(points)
    )
    deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    bandwidth = max(deviation * len(values) ** -0.2, spacing)
    kernel = np.exp(-0.5 * (np.arange(1 - len(points), len(points)) * spacing / bandwidth) ** 2)
    spread = np.convolve(weight, kernel, mode="valid")
    return np.asarray(spread / (len(values) * bandwidth * math.sqrt(2 * math.pi)))
