"""Comparing sets of pieces: the laws of features, densities and overlaps."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from cadenza.cli import main
from cadenza.errors import InputError
from cadenza.listening import density, distances, ends, features, listen, overlap_and_divergence, repeats
from cadenza.midi import write_midi
from cadenza.score import DRUM_KIT, Score, make_notes, transpose
from music import random_score, tune, write_folder

HISTOGRAMS = ("pitches", "pitch_classes", "intervals", "onsets", "durations")
TPQ = 480
BAR = 4 * TPQ


def _again_every(bars: int, total: int = 32) -> Score:
    """A piece whose bars are all different within `bars`, and come again after them."""
    onset = np.arange(total) * BAR
    return Score(TPQ, make_notes(onset, TPQ, 40 + np.arange(total) % bars))


@pytest.mark.parametrize("seed", range(5))
def test_histograms_are_shares_and_everything_is_finite(seed: int) -> None:
    found = features(random_score(seed))
    for name in HISTOGRAMS:
        assert found[name].sum() == pytest.approx(1) and found[name].min() >= 0, name
    assert all(np.isfinite(vector).all() for vector in found.values())
    assert all(
        0 <= value <= 1 for name, each in found.items() if name.startswith("repeats") for value in each
    )


def test_drums_have_no_pitches_but_onsets() -> None:
    found = features(Score(TPQ, make_notes(np.arange(16) * TPQ, TPQ, 36, 80, DRUM_KIT)))
    assert [len(found[name]) for name in HISTOGRAMS] == [0, 0, 0, 96, 0]
    np.testing.assert_allclose(found["onsets"][[0, 12, 24, 36]], 0.25)


def test_a_key_changes_pitches_but_no_interval_onset_or_length() -> None:
    one, other = features(tune(3)), features(transpose(tune(3), 5))
    for name, vector in one.items():
        same = name not in ("pitches", "pitch_classes")
        assert np.allclose(vector, other[name]) == same, name


def test_intervals_are_those_of_the_highest_notes_of_each_instrument() -> None:
    chords = make_notes([0, 0, 480, 480, 960, 0], 480, [60, 48, 64, 50, 62, 90], 80, [0, 0, 0, 0, 0, 40])
    found = features(Score(TPQ, chords))["intervals"]
    assert found[12 + 4] == found[12 - 2] == 0.5


@pytest.mark.parametrize("period", [1, 2, 4, 8, 16])
def test_bars_are_found_again_at_the_distance_at_which_they_come(period: int) -> None:
    found = repeats(_again_every(period))
    for distance in (1, 2, 4, 8, 16):
        assert found[f"repeats_after_{distance}"] == pytest.approx([float(distance % period == 0)])
    assert not len(found["repeats_after_32"])


def test_half_of_a_bar_that_comes_again_is_a_third_of_the_notes_of_both() -> None:
    onset = np.array([0, 2 * TPQ, BAR, BAR + 2 * TPQ])
    score = Score(TPQ, make_notes(onset, TPQ, [60, 62, 60, 64]))
    assert repeats(score)["repeats_after_1"] == pytest.approx([1 / 3])
    longer = replace(score, notes=make_notes(onset, [TPQ, TPQ, 2 * TPQ, TPQ], [60, 62, 60, 62]))
    assert repeats(longer)["repeats_after_1"] == pytest.approx([1 / 3])


def test_a_piece_that_ends_on_its_tonic_is_told_from_one_that_does_not() -> None:
    scale = [60, 62, 64, 65, 67, 69, 71, 72, 67, 64]
    for last, expected in ((60, 1.0), (62, 0.0)):
        notes = make_notes(np.arange(11) * TPQ, [TPQ] * 10 + [2 * TPQ], [*scale, last])
        found = ends(Score(TPQ, notes))
        assert found["ends_on_tonic"] == [expected] and found["last_length"] == [2.0]
        assert found["begins_on_a_bar"] == [1.0]
    late = make_notes([TPQ, 2 * TPQ], TPQ, [60, 62])
    assert ends(Score(TPQ, late))["begins_on_a_bar"] == [0.0]


def test_density_is_the_sum_of_kernels_and_has_area_one() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=500)
    points = np.linspace(-5, 20, 1000)
    bandwidth = values.std(ddof=1) * len(values) ** -0.2
    kernels = np.exp(-0.5 * ((points[:, None] - values) / bandwidth) ** 2)
    expected = kernels.sum(axis=1) / (len(values) * bandwidth * np.sqrt(2 * np.pi))
    found = density(values, points)
    assert np.abs(found - expected).max() < 0.005 * expected.max()
    assert np.trapezoid(found, points) == pytest.approx(1, abs=1e-3)


def test_overlap_falls_and_divergence_rises_with_the_distance_of_two_sets() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=400), rng.normal(size=400)
    found = [overlap_and_divergence(one, other + shift) for shift in (0, 1, 2, 4)]
    assert found[0][0] > 0.9 and found[-1][0] < 0.1
    assert all(a[0] > b[0] and a[1] < b[1] for a, b in pairwise(found))
    assert overlap_and_divergence(np.ones(5), np.ones(7)) == (1.0, 0.0)
    assert overlap_and_divergence(np.ones(5), np.zeros(7))[0] < 0.01


def test_distances_are_euclidean() -> None:
    assert distances(np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 0.0]])) == pytest.approx(
        np.array([[0.0], [5.0]])
    )


def test_pieces_are_closer_to_their_like_than_to_noise() -> None:
    tunes, others = [tune(seed) for seed in range(20)], [tune(seed) for seed in range(20, 40)]
    noise = [random_score(seed, instruments=(0,)) for seed in range(20)]
    like, unlike = listen(others, tunes), listen(noise, tunes)
    assert like.overlap > 0.8 > 0.6 > unlike.overlap
    scale = like.features["scale_consistency"]
    assert scale.samples is not None and scale.samples.low <= scale.samples.value <= scale.samples.high
    assert like.bars == 8 and like.samples == like.real == 20


def test_two_pieces_are_too_few_to_compare() -> None:
    with pytest.raises(InputError, match="2 composed pieces are too few"):
        listen([tune(1), tune(2)], [tune(3)] * 3)


def test_evaluating_samples_tells_both_sets_and_what_was_left_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    composed = tmp_path / "composed"
    write_folder(composed, 6)
    (composed / "001.json").write_text("{}")
    (composed / "broken.mid").write_bytes(b"MThd")
    command = ["evaluate", "--samples", str(composed), "--against", str(folder)]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert "pitch classes" in out and "repeats after 4" in out and "mean" in out
    assert "broken.mid" in err and "001.json" not in err
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["samples"] == 6 and 0 < told["overlap"] <= 1
    assert told["features"]["pitch_entropy"]["samples"]["value"] > 0
    assert told["features"]["durations"]["samples"] is None


def test_samples_are_compared_with_the_bundled_corpus_by_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(3):
        write_midi(tune(seed), tmp_path / f"{seed}.mid")
    assert main(["evaluate", "--samples", str(tmp_path)]) == 0
    assert "of the bundled corpus" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--samples"),
        (["model"], "name a model folder and the files"),
        (["model", "files", "--samples", "x"], "takes no model"),
        (["model", "files", "--against", "x"], "--against needs --samples"),
        (["--samples", "nowhere"], "nowhere: no such file or folder"),
    ],
)
def test_what_cannot_be_evaluated_is_told_in_a_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *arguments]) == 2
    assert message in capsys.readouterr().err
