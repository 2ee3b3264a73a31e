"""Where the beat is: tells scores from performances and lays each piece on its own grid.

A piece is one of three kinds, told by how its onsets gather around a regular grid (the mean resultant
length of their phases; Mardia and Jupp, Directional Statistics, 2000):
- "grid": exact, as from a score or sequencer, although perhaps all shifted by the same amount;
- "beat": played to a beat, with human deviations;
- "free": performed without reference to the file's beat, whose ticks are only a clock.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cadenza.errors import InputError
from cadenza.score import METRE, TEMPO, NoteArray, Score, bar_ticks, seconds_at, sort_notes

Timing = Literal["grid", "beat", "free"]

GRID_RESULTANT = 0.7  # at 120 quarters a minute: a spread of about 17 ms around sixteenths
BEAT_RESULTANT = 0.25
DIVISIONS = (4, 6, 12)  # of a quarter note: sixteenths, sextuplets, both
AS_MUCH = 0.02  # of a mean resultant length
MAX_QUARTERS = 100_000  # 14 hours at 120 a minute; longer times come from damage
FREE_QPM, FREE_TICKS_PER_QUARTER = 120.0, 480  # free pieces are written down in seconds at this tempo


def classify_timing(score: Score) -> Timing:
    """Which of the three kinds the piece is; a piece of few notes is never taken for free."""
    resultant = max(map(abs, _mean_phases(score).values()))
    if resultant >= GRID_RESULTANT:
        return "grid"
    too_few_to_tell = len(score) < 3 / BEAT_RESULTANT**2  # random onsets would often exceed it (Rayleigh)
    return "beat" if resultant >= BEAT_RESULTANT or too_few_to_tell else "free"


def lay_on_grid(score: Score, timing: Timing) -> Score:
    """The piece ready to be quantised: shifted to its own beat, or free pieces in seconds.

    A "grid" piece whose notes all lie off the grid by one amount is moved onto it, and its bar lines,
    which cannot have been right, go where long and low notes begin. Metres of one beat (written by
    converters that know no bars) become 4/4. Whole empty bars before the first note are dropped.
    Raises InputError if what remains lasts longer than MAX_QUARTERS.
    """
    laid = _laid(score, timing)
    _require_end(laid.end / laid.ticks_per_quarter)
    return laid


def _require_end(quarters: float) -> None:
    if quarters > MAX_QUARTERS:
        raise InputError(f"lasts over {MAX_QUARTERS:,} quarter notes; cut the silence, or export it again.")


def _laid(score: Score, timing: Timing) -> Score:
    if timing == "free":
        return _in_seconds(score)
    score = _with_known_bars(score)
    if timing == "grid":
        score = _shifted_to_grid(score)
    return _without_leading_bars(score)


def _mean_phases(score: Score) -> dict[int, complex]:
    """Mean of the onsets as points on a circle whose turn is one grid cell, for each division of a quarter."""
    if not len(score):
        return dict.fromkeys(DIVISIONS, 0j)
    half_quarters = np.exp(2j * np.pi * score.notes["onset"] * (2 / score.ticks_per_quarter))
    triplets = half_quarters * half_quarters * half_quarters
    points = {4: half_quarters * half_quarters, 6: triplets, 12: triplets * triplets}
    return {division: complex(points[division].mean()) for division in DIVISIONS}


def _in_seconds(score: Score) -> Score:
    ticks_per_second = FREE_TICKS_PER_QUARTER * FREE_QPM / 60
    notes = score.notes.copy()
    start = seconds_at(score, notes["onset"])
    end = seconds_at(score, notes["onset"] + notes["duration"])
    start, end = start - start.min(initial=np.inf), end - start.min(initial=np.inf)
    _require_end(float(end.max(initial=0)) * FREE_QPM / 60)
    notes["onset"] = np.round(start * ticks_per_second)
    notes["duration"] = np.maximum(1, np.round((end - start) * ticks_per_second))
    return Score(
        FREE_TICKS_PER_QUARTER,
        sort_notes(notes),  # some may begin together now
        np.array([(0, FREE_QPM)], dtype=TEMPO),
        np.array([(0, 0, 4)], dtype=METRE),
    )


def has_unknown_bars(score: Score) -> bool:
    """Whether every metre of the file is a single beat, which says nothing of its bars."""
    return bool(len(score.metres)) and bool((score.metres["numerator"] == 1).all())


def _with_known_bars(score: Score) -> Score:
    if not has_unknown_bars(score):
        return score
    return _with_best_bars(replace(score, metres=np.array([(0, 4, 4)], dtype=METRE)), offset=0.0)


def _shifted_to_grid(score: Score) -> Score:
    resultants = _mean_phases(score)
    strongest = max(map(abs, resultants.values()))
    # The coarsest of those that tell as much: eighths alone lie on triplets as well, which would put them beside the beat.
    division = min(d for d in resultants if abs(resultants[d]) > strongest - AS_MUCH)
    cell = score.ticks_per_quarter / division
    offset = float(np.angle(resultants[division])) / (2 * np.pi) * cell
    if abs(offset) < 0.05 * cell or len(score.metres) > 1:
        return score
    return _with_best_bars(score, offset)


def _with_best_bars(score: Score, offset: float) -> Score:
    """Shift by `offset` ticks, then by whole sixteenths so that accents fall on bar lines."""
    sixteenth = score.ticks_per_quarter / 4
    numerator, denominator = _first_metre(score)
    bar = bar_ticks(numerator, denominator, score.ticks_per_quarter)
    slots = max(1, round(bar / sixteenth))
    best = int(np.argmax(_bar_line_evidence(score, offset, slots)))
    return _shifted(score, offset + best * sixteenth, bar)


def _bar_line_evidence(score: Score, offset: float, slots: int) -> NDArray[np.float64]:
    """How much a bar line on each sixteenth of the bar (slots,) agrees with the accents.

    Long notes weigh more, low ones twice: the bass marks the bar. The middle of the bar counts for
    a bar line too, its quarters a little.
    """
    sixteenth = score.ticks_per_quarter / 4
    slot = np.round((score.notes["onset"] - offset) / sixteenth).astype(np.int64) % slots
    low = score.notes["pitch"] < np.quantile(score.notes["pitch"], 0.25) if len(score) else False
    weight = np.minimum(score.notes["duration"], 16 * sixteenth) * (1.0 + low)
    accent = np.bincount(slot, weights=weight, minlength=slots)
    return np.asarray(
        accent
        + 0.6 * np.roll(accent, -(slots // 2))
        + 0.3 * (np.roll(accent, -(slots // 4)) + np.roll(accent, -(3 * slots // 4)))
    )


def leading_bars(score: Score, laid: Score) -> int:
    """How many bars of a score come before those of the same score laid on its own grid."""
    if laid.is_free:
        return 0
    ratio = score.ticks_per_quarter / laid.ticks_per_quarter
    earlier = _first_onset(score) - ratio * _first_onset(laid)
    return max(0, int(earlier // bar_ticks(*_first_metre(laid), score.ticks_per_quarter)))


def _first_metre(score: Score) -> tuple[int, int]:
    if not len(score.metres):
        return 4, 4
    return int(score.metres["numerator"][0]), int(score.metres["denominator"][0])


def _shifted(score: Score, by: float, bar: int) -> Score:
    """Move everything `by` ticks earlier, or as many whole bars less as keep the first note at 0 or later."""
    first = _first_onset(score)
    by -= bar * np.ceil((by - first) / bar) if by > first else 0
    by = round(by)  # whole ticks, so that all notes keep their distance
    notes = score.notes.copy()
    notes["onset"] = np.maximum(0, notes["onset"] - by)
    return replace(score, notes=notes, tempi=_moved(score.tempi, by), metres=_moved(score.metres, by))


def _first_onset(score: Score) -> int:
    return int(score.notes["onset"].min()) if len(score) else 0


def _moved(events: NoteArray, by: float) -> NoteArray:
    """Events moved by as much, except that what holds from the start goes on to do so."""
    moved = events.copy()
    moved["tick"] = np.where(events["tick"] == 0, 0, np.maximum(0, np.round(events["tick"] - by)))
    return moved[np.append(np.diff(moved["tick"]) != 0, True)] if len(moved) else moved


def _without_leading_bars(score: Score) -> Score:
    first = _first_onset(score)
    until = int(score.metres["tick"][1]) if len(score.metres) > 1 else np.inf
    bar = bar_ticks(*_first_metre(score), score.ticks_per_quarter)
    return _shifted(score, first // bar * bar, bar) if bar <= first < until else score
