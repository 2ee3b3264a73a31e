"""Laws of drawing values from logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cadenza import Composer, sampling
from cadenza.errors import InputError
from cadenza.runtime import FloatArray
from cadenza.sampling import IntArray, Noise, SamplingOptions, draw
from cadenza.schema import NEVER

LOGITS = np.log(np.array([[0.5, 0.25, 0.15, 0.1]], dtype=np.float32))


def _draws(
    options: SamplingOptions,
    n: int = 40_000,
    allowed: np.typing.NDArray[np.bool_] | None = None,
) -> IntArray:
    """How often each value is drawn."""
    race = Noise([np.random.default_rng(0)], 4 * n).next().reshape(n, 4)
    logits = LOGITS if allowed is None else np.where(allowed, LOGITS, np.float32(NEVER))
    drawn = draw(np.repeat(logits, n, axis=0), race, options)
    return np.bincount(drawn, minlength=4)


def test_at_temperature_one_the_shares_are_the_probabilities() -> None:
    np.testing.assert_allclose(_draws(SamplingOptions()) / 40_000, [0.5, 0.25, 0.15, 0.1], atol=0.01)


def test_temperature_sharpens_and_flattens() -> None:
    squared = np.array([0.5, 0.25, 0.15, 0.1]) ** 2
    np.testing.assert_allclose(
        _draws(SamplingOptions(temperature=0.5)) / 40_000, squared / squared.sum(), atol=0.01
    )
    assert _draws(SamplingOptions(temperature=0.0)).tolist() == [40_000, 0, 0, 0]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (SamplingOptions(top_k=2), [0, 1]),
        (SamplingOptions(top_p=0.5), [0]),
        (SamplingOptions(top_p=0.51), [0, 1]),
        (SamplingOptions(min_p=0.5), [0, 1, 2]),
        (SamplingOptions(top_k=1), [0]),
        (SamplingOptions(top_k=3, top_p=0.8), [0, 1]),
    ],
)
def test_filters_keep_the_likeliest(options: SamplingOptions, kept: list[int]) -> None:
    assert np.flatnonzero(_draws(options)).tolist() == kept


def test_min_p_leaves_the_likeliest_its_probability_and_drops_among_the_others() -> None:
    for min_p, expected in (
        (0.3, [0.5, 0.25, 0.15, 0.1]),
        (0.5, [0.5, 0.3125, 0.1875, 0]),
        (0.7, [0.5, 0.5, 0, 0]),
    ):
        np.testing.assert_allclose(_draws(SamplingOptions(min_p=min_p)) / 40_000, expected, atol=0.01)
    only = np.array([[False, False, True, False]])
    assert _draws(SamplingOptions(min_p=0.5), allowed=only)[2] == 40_000
    assert np.flatnonzero(_draws(SamplingOptions(min_p=0.01, top_k=2))).tolist() == [0, 1]


def test_what_is_not_allowed_is_never_drawn() -> None:
    allowed = np.array([[False, True, False, True]])
    assert np.flatnonzero(_draws(SamplingOptions(), allowed=allowed)).tolist() == [1, 3]
    assert _draws(SamplingOptions(temperature=0.0), allowed=allowed)[1] == 40_000


@pytest.mark.parametrize("temperature", [1e-5, 1e-9, 1e-38, 1e-300])
def test_temperatures_near_zero_take_the_likeliest_and_nothing_forbidden(temperature: float) -> None:
    allowed = np.array([[False, True, False, True]])
    for min_p in (0.0, 0.5):
        options = SamplingOptions(temperature=temperature, min_p=min_p)
        assert _draws(options, allowed=allowed).tolist() == [0, 40_000, 0, 0]


def test_min_p_treats_every_row_by_itself() -> None:
    logits = np.log(np.array([[0.5, 0.25, 0.15, 0.1], [0.1, 0.15, 0.25, 0.5]], np.float32))
    n = 40_000
    noise = Noise([np.random.default_rng(0)], 8 * n).next().reshape(2 * n, 4)
    drawn = np.reshape(draw(np.repeat(logits, n, axis=0), noise, SamplingOptions(min_p=0.5)), (2, n))
    for row, expected in zip(drawn, ([0.5, 0.3125, 0.1875, 0], [0, 0.1875, 0.3125, 0.5]), strict=True):
        np.testing.assert_allclose(np.bincount(row, minlength=4) / n, expected, atol=0.01)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_p": 0.0},
        {"top_p": 2.0},
        {"top_k": -1},
        {"min_p": 1.0},
    ],
)
def test_impossible_options_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        SamplingOptions(**wrong)  # type: ignore[arg-type]


def test_min_p_leaves_fields_alone_whose_chances_are_spread(
    monkeypatch: pytest.MonkeyPatch, models: dict[str, Path]
) -> None:
    composer, seen = Composer.from_pretrained(models["gru"]), dict[int, set[float]]()

    def spy(logits: FloatArray, noise: FloatArray, options: SamplingOptions) -> list[int]:
        seen.setdefault(noise.shape[1], set()).add(options.min_p)
        return draw(logits, noise, options)

    monkeypatch.setattr(sampling, "draw", spy)
    composer.compose(bars=2, seed=1, min_p=0.4)
    fields = composer.representation.schema.fields
    assert [field.name for field in fields if field.spread] == ["duration"]
    assert seen == {field.size: {0.0 if field.spread else 0.4} for field in fields}
