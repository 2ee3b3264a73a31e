"""Telling scores from performances, and laying pieces on their own grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cadenza.errors import InputError
from cadenza.score import METRE, TEMPO, Score, make_notes, sort_notes
from cadenza.timing import classify_timing, lay_on_grid
from music import random_score, tune


def _jittered(score: Score, ticks: float, seed: int = 0) -> Score:
    notes = score.notes.copy()
    noise = np.random.default_rng(seed).normal(0, ticks, len(notes))
    notes["onset"] = np.maximum(0, notes["onset"] + np.round(noise))
    return replace(score, notes=notes)


def test_a_score_is_on_the_grid_a_loose_one_on_a_beat_and_a_random_one_free() -> None:
    score = tune(0, bars=16)
    assert classify_timing(score) == "grid"
    assert classify_timing(_jittered(score, 27)) == "beat"
    assert classify_timing(_jittered(score, 400)) == "free"


def test_triplets_are_on_the_grid() -> None:
    assert classify_timing(Score(480, make_notes(np.arange(60) * 160, 160, 60))) == "grid"


def test_a_piece_shifted_as_a_whole_comes_back_to_the_grid_and_its_bars() -> None:
    score = tune(1, bars=16)
    for shift in (37, 120 * 3 + 50, 1000):
        notes = score.notes.copy()
        notes["onset"] += shift
        laid = lay_on_grid(replace(score, notes=notes), "grid")
        np.testing.assert_array_equal(laid.notes["onset"], score.notes["onset"])


def test_eighths_alone_are_laid_on_the_beat() -> None:
    """They agree with triplets as well, a sixth of a quarter away."""
    notes = make_notes(60 + np.arange(64) * 240, 240, [60, 64, 67, 64] * 16)
    bass = make_notes(60 + np.arange(8) * 1920, 1920, 36)
    score = Score(480, sort_notes(np.concatenate([notes, bass])), np.array([(0, 120.0)], dtype=TEMPO))
    laid = lay_on_grid(score, classify_timing(score))
    assert set((laid.notes["onset"] % 480).tolist()) == {0, 240} and laid.notes["onset"][0] == 0


def test_bars_that_are_right_are_left_alone() -> None:
    score = tune(2, bars=8)
    assert lay_on_grid(score, "grid") == score


def test_empty_bars_before_the_first_note_are_dropped() -> None:
    score = tune(2, bars=8)
    notes = score.notes.copy()
    notes["onset"] += 100 * 4 * 480
    np.testing.assert_array_equal(
        lay_on_grid(replace(score, notes=notes), "grid").notes["onset"], score.notes["onset"]
    )


def test_a_metre_of_one_beat_becomes_4_4_with_bars_on_the_bass() -> None:
    score = tune(3, bars=16)
    notes = score.notes.copy()
    notes["onset"] += 960
    laid = lay_on_grid(replace(score, notes=notes, metres=np.array([(0, 1, 4)], dtype=METRE)), "grid")
    assert laid.metres.tolist() == [(0, 4, 4)]
    assert (laid.notes["onset"][laid.notes["pitch"] < 50] % (4 * 480) == 0).all()


def test_a_free_piece_is_written_down_in_seconds() -> None:
    score = Score(100, make_notes([50, 150, 250], 50, [60, 62, 64]), np.array([(0, 60.0)], dtype=TEMPO))
    laid = lay_on_grid(score, "free")
    assert laid.is_free
    assert laid.ticks_per_quarter == 480
    assert laid.notes["onset"].tolist() == [0, 960, 1920]  # one second at 120 quarters a minute
    assert laid.notes["duration"].tolist() == [480, 480, 480]


def test_a_piece_that_never_ends_is_refused_unless_it_is_silent_at_the_start() -> None:
    with pytest.raises(InputError, match="lasts over"):
        lay_on_grid(Score(1, make_notes([0, 10**8], 1, 60)), "grid")
    late = Score(1, make_notes([10**8], 1, 60), metres=np.array([(0, 4, 4)], dtype=METRE))
    assert lay_on_grid(late, "grid").notes["onset"].tolist() == [0]


@pytest.mark.parametrize("seed", range(8))
def test_notes_stay_in_their_order_and_shifted_ones_keep_their_distance(seed: int) -> None:
    score = random_score(seed, 200, on_grid=False)
    moved = replace(score, notes=sort_notes(score.notes), metres=score.metres[:1])
    for timing in ("grid", "beat", "free"):
        laid = lay_on_grid(moved, timing)
        assert laid.notes.tolist() == sort_notes(laid.notes).tolist()
        if timing == "grid":
            assert (np.diff(laid.notes["onset"]) == np.diff(moved.notes["onset"])).all()


def test_a_free_piece_of_a_million_years_is_refused() -> None:
    slow = np.array([(0, 0.001)], dtype=TEMPO)
    with pytest.raises(InputError, match="lasts over"):
        lay_on_grid(Score(1, make_notes([0, 10**9], 1, 60), slow), "free")
