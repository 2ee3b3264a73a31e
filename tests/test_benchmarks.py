"""The representations of the benchmarks on published ground lose nothing and look at nothing to come."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks import chorales16, frames
from benchmarks.fitting import averaged_nats, last_match, piece_nats
from cadenza.models import ModelConfig, build_model


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
