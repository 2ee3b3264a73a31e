"""Numbers that describe how a Score sounds, to compare generated music with the music it learned from.

Most are those of MusPy (Dong, Chen, McAuley and Berg-Kirkpatrick, "MusPy: A Toolkit for Symbolic Music
Generation", ISMIR 2020), which took the groove from the Jazz Transformer (Wu and Yang, "The Jazz
Transformer on the Front Line", ISMIR 2020). Measures of rhythm and repetition look at onsets rounded
to a grid of 24 steps a quarter, MusPy's default, which holds both triplets and 32nds. Intervals of
time are half open: a note sounds from its onset up to, not including, its end.

No measure is ever NaN: where one is undefined (no notes, no pitched notes, too few bars) it is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cadenza.score import DRUM_KIT, IntArray, NoteArray, Score, bar_lines, nearest_steps, seconds_at

STEPS_PER_QUARTER = 24
MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)


def describe(score: Score) -> dict[str, float]:
    """Measures of a score by name; every value is finite, and 0 where the measure is undefined.

    Size and time (drums count):
        notes: number of notes.
        instruments: number of instruments, drum kits included.
        bars: number of bars from the start to the last note's end (of four quarters in free time).
        seconds: time from the start to the last note's end.
        notes_per_bar: notes / bars.
        distinct_onsets_per_bar: grid steps at which at least one note starts / bars.
        mean_duration: mean length of the pitched notes in quarters.
        mean_velocity: mean MIDI velocity, 1..127.
        velocity_deviation: standard deviation of the velocities.
        empty_beat_rate: share of quarters in which nothing sounds (MusPy).
    Pitch (drums do not count):
        distinct_pitches: number of different pitches.
        pitch_range: highest less lowest pitch, in semitones (MusPy).
        mean_pitch: mean MIDI key number.
        pitch_entropy: entropy of the notes' pitches, in bits, 0..7 (MusPy).
        pitch_class_entropy: entropy of the notes' pitch classes, in bits, 0..log2(12) (MusPy).
        scale_consistency: largest share of notes in any major or minor scale, 0..1 (MusPy).
        polyphony: mean number of pitches that sound together, over the time when any does (MusPy,
            which counts steps of its grid; this is the exact mean over ticks).
        polyphony_rate: share of that time in which two or more pitches sound (MusPy).
    Rhythm and repetition (drums count but for longest_repeated_note_run):
        groove_consistency: 1 less the mean distance of neighbouring bars' onsets (see `_groove`).
        longest_repeated_note_run: most onsets in a row with the very same pitch or chord.
        bar_repetition: share of the bars after the first that repeat an earlier, non-empty bar: the
            same pitches and drums start at the same grid steps of the bar.
        distinct_bars_share: different non-empty bars / non-empty bars; 1 if no bar comes twice.
    """
    grid, pitched = lay_on_bars(score), _pitched(score.notes)
    return {
        **_size(score, grid),
        **_pitch(pitched),
        **_polyphony(pitched),
        "groove_consistency": _groove(grid),
        "longest_repeated_note_run": float(_longest_run(grid)),
        **_repetition(grid),
    }


@dataclass(frozen=True)
class Grid:
    """Notes on the grid: what starts in which bar, at which step of it."""

    onset: IntArray  # (N,) grid steps from the start of the piece
    bar: IntArray  # (N,) index of the bar
    step: IntArray  # (N,) grid steps from the start of the bar
    key: IntArray  # (N,) pitch, or 128 + the kit's key for drums
    bar_steps: IntArray  # (B,) length of every bar in grid steps


def lay_on_bars(score: Score) -> Grid:
    """Every note's bar and step; rounding may carry a last short note over the last bar line, but not out of its bar."""
    lines = nearest_steps(bar_lines(score, score.end), score.ticks_per_quarter, STEPS_PER_QUARTER)
    onset = nearest_steps(score.notes["onset"], score.ticks_per_quarter, STEPS_PER_QUARTER)
    bar = np.clip(np.searchsorted(lines, onset, side="right") - 1, 0, max(0, len(lines) - 2))
    key = score.notes["pitch"] + 128 * (score.notes["instrument"] >= DRUM_KIT)
    return Grid(onset, bar, onset - lines[bar], key.astype(np.int64), np.diff(lines))


@dataclass(frozen=True)
class _Pitched:
    """The notes that are no drums, as columns (N,); times in ticks."""

    start: IntArray
    end: IntArray
    pitch: IntArray


def _pitched(notes: NoteArray) -> _Pitched:
    notes = notes[notes["instrument"] < DRUM_KIT]
    start = notes["onset"].astype(np.int64)
    return _Pitched(start, start + notes["duration"], notes["pitch"].astype(np.int64))


def _ratio(part: float, whole: float) -> float:
    """part / whole, 0 where there is no whole."""
    return float(part) / float(whole) if whole else 0.0


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values)) if len(values) else 0.0


# --- size and time ------------------------------------------------------------------------------


def _size(score: Score, grid: Grid) -> dict[str, float]:
    notes, bars = score.notes, len(grid.bar_steps)
    melodic = notes["instrument"] < DRUM_KIT
    return {
        "notes": float(len(notes)),
        "instruments": float(len(score.instruments)),
        "bars": float(bars),
        "seconds": float(seconds_at(score, score.end)),
        "notes_per_bar": _ratio(len(notes), bars),
        "distinct_onsets_per_bar": _ratio(len(np.unique(grid.onset)), bars),
        "mean_duration": _mean(notes["duration"][melodic]) / score.ticks_per_quarter,
        "mean_velocity": _mean(notes["velocity"]),
        "velocity_deviation": float(np.std(notes["velocity"])) if len(notes) else 0.0,
        "empty_beat_rate": _empty_beat_rate(score),
    }


def _empty_beat_rate(score: Score) -> float:
    """Share of the quarters up to the last note's end in which no note, drum or not, sounds."""
    quarter, onset = score.ticks_per_quarter, score.notes["onset"].astype(np.int64)
    first, stop = onset // quarter, (onset + score.notes["duration"] - 1) // quarter + 1
    first, stop = _merged(first, stop, np.zeros_like(first))
    beats = -(-score.end // quarter)
    return _ratio(beats - int((stop - first).sum()), beats)


def _merged(start: IntArray, end: IntArray, group: IntArray) -> tuple[IntArray, IntArray]:
    """The intervals [start, end) with what overlaps in the same group cut off; all columns (N,)."""
    if not len(start):
        return start, end
    shift = group * (int(end.max()) + 1)  # lays the groups one after another on a single line
    order = np.argsort(start + shift, kind="stable")
    shift = shift[order]
    start, end = start[order] + shift, end[order] + shift
    reached = np.concatenate([start[:1], np.maximum.accumulate(end)[:-1]])
    start = np.maximum(start, reached)
    adds = end > start
    return (start - shift)[adds], (end - shift)[adds]


# --- pitch --------------------------------------------------------------------------------------


def _pitch(pitched: _Pitched) -> dict[str, float]:
    pitch = pitched.pitch
    counts = np.bincount(pitch, minlength=128)
    classes = np.bincount(pitch % 12, minlength=12)
    return {
        "distinct_pitches": float(np.count_nonzero(counts)),
        "pitch_range": float(np.ptp(pitch)) if len(pitch) else 0.0,
        "mean_pitch": _mean(pitch),
        "pitch_entropy": _entropy(counts),
        "pitch_class_entropy": _entropy(classes),
        "scale_consistency": _scale_consistency(classes),
    }


def _entropy(counts: NDArray[Any]) -> float:
    """Shannon entropy in bits of the distribution that `counts` (K,) are drawn from."""
    share = counts[counts > 0] / max(1, int(counts.sum()))
    return abs(float(-(share * np.log2(share)).sum()))  # abs: certainty is 0, not -0


def _scale_consistency(classes: NDArray[Any]) -> float:
    """Largest share of notes in one of MusPy's 24 scales.

    Twelve sets of pitch classes are enough, because a natural minor scale has those of its relative
    major.
    """
    inside = [int(np.roll(classes, -root)[list(MAJOR_SCALE)].sum()) for root in range(12)]
    return _ratio(max(inside), int(classes.sum()))


def _polyphony(pitched: _Pitched) -> dict[str, float]:
    """Mean number of sounding pitches, and the share of time with two or more, while any sounds.

    A pitch that several instruments hold at once counts once, as on MusPy's boolean piano roll.
    """
    level, length = _levels(pitched)
    sounding = int(length[level > 0].sum())
    return {
        "polyphony": _ratio(int((level * length).sum()), sounding),
        "polyphony_rate": _ratio(int(length[level > 1].sum()), sounding),
    }


def _levels(pitched: _Pitched) -> tuple[IntArray, IntArray]:
    """Number of pitches that sound, and for how many ticks, between each two events (E - 1,)."""
    start, end = _merged(pitched.start, pitched.end, pitched.pitch)
    times = np.concatenate([start, end])
    change = np.repeat(np.array([1, -1]), len(start))
    order = np.argsort(times, kind="stable")
    return np.cumsum(change[order])[:-1], np.diff(times[order])


# --- rhythm and repetition ----------------------------------------------------------------------


def _groove(grid: Grid) -> float:
    """Groove consistency, 0..1: 1 - mean distance of the onset patterns of neighbouring bars.

    A bar's pattern has a one at each grid step where a note starts; the distance of two is the share
    of steps at which they differ (of the longer bar's steps, where the metre changes). MusPy's
    measure, after Wu and Yang's grooving similarity; 0 with fewer than two bars.

    Steps where neither bar has an onset agree too, so that music with few onsets lies close to 1.
    """
    bars = len(grid.bar_steps)
    if bars < 2:
        return 0.0
    width = int(max(grid.bar_steps.max(), grid.step.max())) + 1
    cells = np.unique(grid.bar * width + grid.step)
    per_bar = np.bincount(cells // width, minlength=bars)
    shared = cells[np.isin(cells + width, cells, assume_unique=True)]
    common = np.bincount(shared // width, minlength=bars)[:-1]
    steps = np.maximum(np.maximum(grid.bar_steps[:-1], grid.bar_steps[1:]), 1)
    distance = (per_bar[:-1] + per_bar[1:] - 2 * common) / steps
    return 1.0 - min(1.0, float(distance.mean()))


def _longest_run(grid: Grid) -> int:
    """Most successive onsets with the same set of pitches; 1 if none repeats, 0 without pitches."""
    pitched = grid.key < 128
    if not pitched.any():
        return 0
    cells = np.unique(grid.onset[pitched] * 128 + grid.key[pitched])
    onset, pitch = cells // 128, cells % 128
    begins = np.flatnonzero(np.diff(onset, prepend=-1))
    # A chord as a set of bits in two words; its bits are distinct, so that a sum is a union.
    bits = np.left_shift(np.uint64(1), (pitch % 64).astype(np.uint64))
    low = np.add.reduceat(np.where(pitch < 64, bits, np.uint64(0)), begins)
    high = np.add.reduceat(np.where(pitch < 64, np.uint64(0), bits), begins)
    changes = np.flatnonzero((low[1:] != low[:-1]) | (high[1:] != high[:-1])) + 1
    return int(np.diff(np.concatenate([[0], changes, [len(begins)]])).max())


def _repetition(grid: Grid) -> dict[str, float]:
    """How many bars come again, exactly: by pitches, drums and onsets, not by lengths or velocities."""
    sounding = len(np.unique(grid.bar))
    distinct = _distinct_bars(grid)
    return {
        "bar_repetition": _ratio(sounding - distinct, max(0, len(grid.bar_steps) - 1)),
        "distinct_bars_share": _ratio(distinct, sounding),
    }


def _distinct_bars(grid: Grid) -> int:
    """Number of different contents among the bars in which something starts."""
    content = np.unique(np.stack([grid.bar, grid.step * 256 + grid.key], axis=1), axis=0)
    begins = np.flatnonzero(np.diff(content[:, 0], prepend=-1))
    return len({bar.tobytes() for bar in np.split(content[:, 1], begins[1:])} if len(begins) else ())
