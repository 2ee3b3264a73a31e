"""Laws of Score and its pure operations."""

from __future__ import annotations

import numpy as np
import pytest

from cadenza.score import (
    DRUM_KIT,
    METRE,
    TEMPO,
    Score,
    bar_lines,
    estimate_key,
    instrument_name,
    make_notes,
    pitch_name,
    seconds_at,
    transpose,
)
from music import random_score


def test_transposing_there_and_back_changes_nothing_and_leaves_drums_alone() -> None:
    score = random_score(1)
    moved = transpose(score, 5)
    drums = score.notes["instrument"] >= DRUM_KIT
    assert (moved.notes["pitch"][drums] == score.notes["pitch"][drums]).all()
    assert (moved.notes["pitch"][~drums] == score.notes["pitch"][~drums] + 5).all()
    assert transpose(moved, -5) == score


def test_transposing_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="range"):
        transpose(Score(480, make_notes([0], 10, 120)), 12)


def test_seconds_follow_every_tempo() -> None:
    score = Score(100, tempi=np.array([(0, 60.0), (200, 120.0)], dtype=TEMPO))
    assert seconds_at(score, [0, 100, 200, 300]).tolist() == [0.0, 1.0, 2.0, 2.5]


def test_without_a_tempo_120_quarters_a_minute_hold() -> None:
    assert seconds_at(Score(100), [100]).tolist() == [0.5]
    late = Score(100, tempi=np.array([(100, 60.0)], dtype=TEMPO))
    assert seconds_at(late, [100, 200]).tolist() == [0.5, 1.5]


def test_bar_lines_follow_the_metres() -> None:
    metres = np.array([(0, 3, 4), (600, 2, 4)], dtype=METRE)
    assert bar_lines(Score(100, metres=metres), 900).tolist() == [0, 300, 600, 800, 1000]


def test_a_cadence_in_c_is_in_c() -> None:
    chords = [60, 64, 67, 60, 65, 69, 59, 62, 67, 60, 64, 67]
    cadence = Score(480, make_notes(np.repeat([0, 1, 2, 3], 3) * 480, 480, chords))
    assert estimate_key(cadence) == "C major"
    assert estimate_key(transpose(cadence, 2)) == "D major"
    assert estimate_key(transpose(cadence, 3)) == "Eb major"
    assert estimate_key(Score(480)) == "none"


def test_names() -> None:
    assert pitch_name(60) == "C4"
    assert pitch_name(66) == "F#4"
    assert instrument_name(0) == "piano"
    assert instrument_name(40) == "violin"
    assert instrument_name(DRUM_KIT) == "drums"
