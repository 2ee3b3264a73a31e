"""The representations of the benchmarks on published ground lose nothing and look at nothing to come.

And the race against the tutorial's network is fair: same names to predict, and a clock that stops for looks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks import chorales16, fitting, frames, tutorial
from benchmarks.fitting import averaged_nats, last_match, piece_nats
from benchmarks.tutorial import Contender, Look
from cadenza.models import ModelConfig, build_model
from cadenza.preparation import Prepared, TrainingOptions, prepare
from cadenza.tokens import UNKNOWN


def _roll(seed: int, length: int = 70) -> NDArray[np.int64]:
    """Frames of up to five keys, many of them empty, with a repetition."""
    rng = np.random.default_rng(seed)
    roll = np.zeros((length, 88), np.int64)
    for t in np.flatnonzero(rng.random(length) < 0.4):
        roll[t, rng.choice(np.arange(10, 78), rng.integers(1, 6), replace=False)] = 1
    roll[10:40] = 0  # longer than the longest gap
    roll[-20:-10] = roll[:10]
    return roll


def _chorale(seed: int) -> NDArray[np.int64]:
    """64 steps of four voices, with a repetition."""
    piece = np.random.default_rng(seed).choice([-1, 50, 52, 53], (64, 4))
    piece[40:56] = piece[8:24]
    return piece


def _decoded(events: NDArray[np.int16]) -> NDArray[np.int64]:
    place, strokes = 0, []
    for gap, key in events.tolist():
        place += gap
        if key == frames.END:
            break
        if key < frames.KEYS:
            strokes.append((place, key))
    roll = np.zeros((place, frames.KEYS), np.int64)
    for t, key in strokes:
        roll[t, key] = 1
    return roll


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("shift", [-6, 0, 5])
def test_events_tell_every_frame(seed: int, shift: int) -> None:
    roll = _roll(seed)
    np.testing.assert_array_equal(_decoded(frames.encode(roll, shift).events), np.roll(roll, shift, axis=1))


@pytest.mark.parametrize("seed", range(4))
def test_the_context_of_frames_does_not_depend_on_what_follows(seed: int) -> None:
    roll = _roll(seed)
    whole = frames.encode(roll, 0)
    for length in (9, 41, 55, 65):
        start = frames.encode(roll[:length], 0)
        n = len(start) - 1  # without its end
        while n and start.events[n - 1, frames.KEY] == frames.REST:
            n -= 1
        np.testing.assert_array_equal(start.context[:n], whole.context[:n])


@pytest.mark.parametrize("seed", range(4))
def test_what_a_key_is_predicted_from_does_not_depend_on_it(seed: int) -> None:
    roll = _roll(seed)
    whole = frames.encode(roll, 0)
    known = [c for c, column in enumerate(frames.schema().context) if column.after == frames.GAP]
    onsets = np.cumsum(whole.events[:, frames.GAP])
    for n, (t, (_, key)) in enumerate(zip(onsets, whole.events, strict=True)):
        if key >= frames.KEYS:
            continue
        other = roll.copy()
        other[t, : key + 1] = 0
        other[t, max(0, key - 5)] = 1  # this note and those below it are another one
        other[t + 1 :] = 0
        np.testing.assert_array_equal(frames.encode(other, 0).context[n, known], whole.context[n, known])


@pytest.mark.parametrize("seed", range(4))
def test_what_a_voice_is_predicted_from_does_not_depend_on_it(seed: int) -> None:
    piece = _chorale(seed)
    whole = chorales16.encode(piece, 0)
    for t in (1, 9, 46):
        for voice in range(4):
            known = [c for c, column in enumerate(chorales16.schema().context) if column.after < voice]
            other = piece.copy()
            other[t, voice:] = 60
            other[t + 1 :] = 61
            changed = chorales16.encode(other, 0)
            np.testing.assert_array_equal(changed.context[t, known], whole.context[t, known])


@pytest.mark.parametrize("seed", range(4))
def test_the_context_of_chorales_does_not_depend_on_what_follows(seed: int) -> None:
    piece = _chorale(seed)
    whole = chorales16.encode(piece, 0)
    assert whole.context.shape[1] == len(chorales16.schema().context)
    for length in (5, 30, 50):
        np.testing.assert_array_equal(chorales16.encode(piece[:length], 0).context, whole.context[:length])


def test_a_match_is_the_last_one_and_as_long_as_can_be() -> None:
    found = last_match("abcdXbcdYabcd", lengths=(2, 3, 4))
    assert found[6] == (3, 1)  # "bc" was followed by the d at 3
    assert found[7] == (4, 2)  # "bcd" by the X at 4
    assert found[12] == (4, 3)  # "abcd" by the X at 4, though "bcd" alone was last followed by Y
    assert found[4] == (-1, 0)


def test_the_mean_over_equal_variants_is_the_thing_itself() -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig(width=16, layers=1, head_width=8), frames.schema()).eval()
    pieces = [frames.encode(_roll(seed), 0) for seed in range(3)]
    plain = piece_nats(model, pieces)
    for one, other in zip(averaged_nats(model, [[piece] * 3 for piece in pieces]), plain, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.fixture(scope="module")
def tokens(folder: Path, tiny_presets: None) -> Prepared:
    """Tunes as names of notes and chords."""
    return prepare(folder, TrainingOptions(preset="tiny-tokens"))


def test_the_clock_stops_for_looks_which_become_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    now, shares = 0.0, list[float]()

    def step(share: float) -> None:
        nonlocal now
        now += 1.0
        shares.append(share)

    def probabilities() -> NDArray[np.float64]:
        nonlocal now
        now += 1000.0
        return np.array([0.5, 1.0])

    monkeypatch.setattr(fitting, "clock", lambda: now)
    looks = tutorial.race("x", Contender(1, step, probabilities), np.array([3, UNKNOWN]), seconds=11)
    assert [look.seconds for look in looks] == [1, 2, 3, 4, 5, 6, 8, 10, 11]
    assert shares == [n / 11 for n in range(11)]
    assert looks[0].nats == pytest.approx(np.log(2))  # of the known name alone


def test_the_ratio_is_that_of_the_times_to_the_best_of_the_peer() -> None:
    peer = [Look(10, 1, 5.0), Look(100, 2, 4.0), Look(200, 3, 4.5)]
    ours = [Look(1, 1, 6.0), Look(2, 2, 3.0), Look(4, 3, 2.0)]
    assert tutorial.ratios(peer, ours) == [(5.0, 5.0), (4.0, 50.0)]
    assert tutorial.ratios(ours, peer) == [(6.0, 0.1), (3.0, None), (2.0, None)]


def test_ours_learns_the_names_it_is_asked_for(tokens: Prepared) -> None:
    contender = tutorial.our_contender(tokens, "tiny-tokens", None, seed=0)
    targets = tutorial.row_of(tokens, tokens.held_out)
    assert len(contender.probabilities()) == len(targets)
    before = tutorial.nats_of(contender.probabilities(), targets)
    assert before < np.log(tutorial.class_count(tokens)) - 0.5  # it begins with how frequent names are
    for _ in range(60):
        contender.step(0.0)
    assert tutorial.nats_of(contender.probabilities(), targets) < before


def test_the_keras_network_is_asked_for_the_same_names(
    tokens: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = tutorial.class_count(tokens)
    asked: list[NDArray[Any]] = []

    def predict(x: NDArray[Any]) -> NDArray[Any]:
        asked.append(x)
        return np.tile(np.arange(classes), (len(x), 1))  # so that what is picked tells the name

    network = MagicMock(predict_on_batch=predict)
    monkeypatch.setattr(tutorial, "build_network", lambda _: network)
    monkeypatch.setattr(tutorial, "keras_module", MagicMock())
    found = tutorial.keras_contender(tokens, seed=0).probabilities()
    targets = tutorial.row_of(tokens, tokens.held_out)
    np.testing.assert_array_equal(found, targets)
    seen = np.rint(np.concatenate(asked)[:, :, 0] * classes)
    assert seen.shape == (len(targets), tutorial.WINDOW)
    np.testing.assert_array_equal(seen[1:, -1], targets[:-1])
    np.testing.assert_array_equal(seen[0], tutorial.row_of(tokens, tokens.train)[-tutorial.WINDOW :])
