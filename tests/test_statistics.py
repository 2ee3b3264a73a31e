"""Statistics: known answers on small scores, and laws that hold for every score."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike

from cadenza.score import METRE, NoteArray, Score, make_notes, transpose
from cadenza.statistics import describe

TPQ = 480
BAR = 4 * TPQ


def line(pitches: ArrayLike, length: int = TPQ, instrument: int = 0) -> NoteArray:
    """Notes of the same length, one after another."""
    pitches = np.asarray(pitches)
    return make_notes(np.arange(len(pitches)) * length, length, pitches, 80, instrument)


def together(*parts: NoteArray) -> Score:
    notes = np.concatenate(parts)
    return Score(TPQ, make_notes(*(notes[name] for name in notes.dtype.names or ())))


def random_score(seed: int, count: int = 200, drums: bool = True) -> Score:
    rng = np.random.default_rng(seed)
    onset, length = rng.integers(0, 20 * BAR, count), rng.integers(1, BAR, count)
    pitch, velocity = rng.integers(24, 100, count), rng.integers(1, 128, count)
    instrument = rng.choice([0, 40, 128] if drums else [0, 40], count)
    return Score(TPQ, make_notes(onset, length, pitch, velocity, instrument))


def test_an_empty_score_is_all_zeros() -> None:
    assert set(describe(Score(TPQ)).values()) == {0.0}


@pytest.mark.parametrize("seed", range(10))
def test_every_value_is_a_finite_float_within_its_range(seed: int) -> None:
    measures = describe(random_score(seed))
    assert all(type(value) is float and math.isfinite(value) for value in measures.values())
    rates = [name for name in measures if name.endswith(("rate", "share", "consistency", "_repetition"))]
    assert len(rates) == 6
    assert all(0 <= measures[name] <= 1 for name in rates)
    assert measures["pitch_class_entropy"] <= min(math.log2(12), measures["pitch_entropy"])


def test_a_repeated_note() -> None:
    measures = describe(Score(TPQ, line([60] * 16)))
    assert measures["pitch_entropy"] == measures["pitch_class_entropy"] == measures["pitch_range"] == 0
    assert measures["polyphony"] == measures["scale_consistency"] == measures["groove_consistency"] == 1
    assert measures["longest_repeated_note_run"] == 16
    assert measures["bar_repetition"] == 1
    assert measures["distinct_bars_share"] == 1 / 4
    assert (measures["bars"], measures["notes_per_bar"], measures["seconds"]) == (4, 4, 8)
    assert (measures["mean_duration"], measures["mean_pitch"]) == (1, 60)


def test_a_chromatic_scale() -> None:
    measures = describe(Score(TPQ, line(range(60, 84))))
    assert measures["pitch_class_entropy"] == pytest.approx(math.log2(12))
    assert measures["pitch_entropy"] == pytest.approx(math.log2(24))
    assert measures["scale_consistency"] == pytest.approx(7 / 12)
    assert (measures["pitch_range"], measures["distinct_pitches"]) == (23, 24)
    assert measures["longest_repeated_note_run"] == 1


@pytest.mark.parametrize("scale", [[0, 2, 4, 5, 7, 9, 11], [0, 2, 3, 5, 7, 8, 10]])
@pytest.mark.parametrize("root", [60, 61, 70])
def test_major_and_minor_scales_are_consistent(scale: list[int], root: int) -> None:
    assert describe(Score(TPQ, line(root + np.array(scale))))["scale_consistency"] == 1


@pytest.mark.parametrize("semitones", [-7, 1, 12])
def test_transposition_changes_only_the_mean_pitch(semitones: int) -> None:
    score = random_score(3)
    before, after = describe(score), describe(transpose(score, semitones))
    assert after.pop("mean_pitch") == pytest.approx(before.pop("mean_pitch") + semitones)
    assert after == pytest.approx(before)


@pytest.mark.parametrize("factor", [2, 3])
def test_the_resolution_of_the_file_does_not_matter(factor: int) -> None:
    score = random_score(4)
    notes = score.notes.copy()
    notes["onset"] *= factor
    notes["duration"] *= factor
    assert describe(Score(TPQ * factor, notes)) == pytest.approx(describe(score))


def test_drums_do_not_touch_measures_of_pitch() -> None:
    tune, beat = line(range(60, 76)), line([36, 38] * 8, instrument=128)
    alone, both = describe(together(tune)), describe(together(tune, beat))
    for name in (
        "pitch_entropy pitch_class_entropy pitch_range mean_pitch distinct_pitches scale_consistency "
        "polyphony polyphony_rate longest_repeated_note_run mean_duration"
    ).split():
        assert both[name] == alone[name]
    assert (both["notes"], both["instruments"]) == (32, 2)


def test_drums_alone_have_rhythm_but_no_pitch() -> None:
    measures = describe(together(line([36, 38] * 8, instrument=128)))
    assert measures["polyphony"] == measures["pitch_range"] == measures["longest_repeated_note_run"] == 0
    assert measures["groove_consistency"] == measures["bar_repetition"] == 1


def test_polyphony_counts_pitches_while_any_sounds() -> None:
    # One quarter alone, one of two pitches, and a rest that does not count.
    score = Score(TPQ, make_notes([0, TPQ, 7 * TPQ], [2 * TPQ, TPQ, TPQ], [60, 64, 60]))
    assert describe(score)["polyphony"] == pytest.approx(4 / 3)
    assert describe(score)["polyphony_rate"] == pytest.approx(1 / 3)


def test_a_pitch_held_twice_at_once_counts_once() -> None:
    score = Score(TPQ, make_notes([0, 0, TPQ], [2 * TPQ, TPQ, 3 * TPQ], 60, 80, [0, 40, 41]))
    assert describe(score)["polyphony"] == 1
    assert describe(score)["polyphony_rate"] == 0


@pytest.mark.parametrize("seed", range(5))
def test_polyphony_equals_that_of_a_piano_roll(seed: int) -> None:
    score = random_score(seed, 60, drums=False)
    roll = np.zeros((score.end, 128), dtype=bool)
    for note in score.notes:
        roll[note["onset"] : note["onset"] + note["duration"], note["pitch"]] = True
    sounding = roll.sum(axis=1)
    measures = describe(score)
    assert measures["polyphony"] == pytest.approx(sounding[sounding > 0].mean())
    assert measures["polyphony_rate"] == pytest.approx((sounding > 1).sum() / (sounding > 0).sum())


def test_empty_beats() -> None:
    # Quarters 1 and 2 of four are silent; a note that ends on a beat does not sound in it.
    score = Score(TPQ, make_notes([0, 3 * TPQ], [TPQ, 10], 60))
    assert describe(score)["empty_beat_rate"] == 1 / 2


def test_groove_is_the_share_of_equal_steps() -> None:
    # Four onsets against two of the same: 2 of the bar's 96 steps differ.
    score = Score(TPQ, make_notes(np.array([0, 1, 2, 3, 4, 6]) * TPQ, 2 * TPQ, 60))
    assert describe(score)["groove_consistency"] == pytest.approx(1 - 2 / 96)


def test_groove_counts_rests_and_ignores_pitch() -> None:
    score = Score(TPQ, make_notes([0, 2 * BAR], BAR, [60, 72]))  # the bar between is empty
    assert describe(score)["groove_consistency"] == pytest.approx(1 - 1 / 96)
    assert describe(Score(TPQ, line([60, 72], BAR)))["groove_consistency"] == 1
    assert describe(Score(TPQ, line([60], BAR)))["groove_consistency"] == 0  # one bar: undefined


@pytest.mark.parametrize(
    ("pitches", "run"), [([60, 62, 62, 62, 60, 60], 3), ([60, 60, 62], 2), ([60, 62], 1), ([1, 65, 1, 65], 1)]
)
def test_longest_run_of_a_note(pitches: list[int], run: int) -> None:
    assert describe(Score(TPQ, line(pitches)))["longest_repeated_note_run"] == run


def test_a_chord_repeats_only_as_a_whole() -> None:
    upper, lower = line([64, 64, 64, 64]), line([60, 60, 60, 57])
    assert describe(together(upper, lower))["longest_repeated_note_run"] == 3


def test_bars_repeat_exactly_or_not_at_all() -> None:
    first, second = [60, 62, 64, 65], [60, 62, 64, 67]
    measures = describe(Score(TPQ, line(first + second + first + first)))
    assert measures["bar_repetition"] == pytest.approx(2 / 3)
    assert measures["distinct_bars_share"] == pytest.approx(2 / 4)


def test_empty_bars_repeat_nothing() -> None:
    measures = describe(Score(TPQ, make_notes([0, 3 * BAR], BAR, [60, 62])))
    assert (measures["bars"], measures["bar_repetition"], measures["distinct_bars_share"]) == (4, 0, 1)


def test_lengths_velocities_and_jitter_do_not_hide_a_repeat() -> None:
    score = Score(TPQ, make_notes([0, TPQ, BAR + 3, BAR + TPQ - 3], [TPQ, TPQ, 9, TPQ], [60, 62] * 2))
    assert describe(score)["bar_repetition"] == 1


def test_bars_follow_the_metre() -> None:
    waltz = Score(TPQ, line([60, 64, 67] * 4), metres=np.array([(0, 3, 4)], dtype=METRE))
    assert (describe(waltz)["bars"], describe(waltz)["bar_repetition"]) == (4, 1)
    free = Score(TPQ, line([60] * 16), metres=np.array([(0, 0, 4)], dtype=METRE))
    assert describe(free)["bars"] == 4


def test_a_note_rounded_past_the_end_stays_in_the_last_bar() -> None:
    measures = describe(Score(TPQ, make_notes([0, 2 * BAR - 1], [1, 1], [60, 60])))
    assert (measures["bars"], measures["distinct_bars_share"]) == (2, 1)
