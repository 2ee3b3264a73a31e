"""Moods and styles act while a piece is drawn: as much as it needs, and not at all where it is where it should be."""

from __future__ import annotations

import numpy as np
import pytest

from cadenza import Composer
from cadenza.character import measure
from cadenza.leaning import Leaning
from cadenza.score import instrument_name
from cadenza.vocabulary import FIRST_INSTRUMENT, KIND, ONSET, PITCH, VELOCITY

PIANO, VIOLIN = FIRST_INSTRUMENT, FIRST_INSTRUMENT + 40


def _leaning(levels: dict[str, int], favoured: dict[int, float] | None = None) -> Leaning:
    thirds = {"density": (2.0, 4.0), "register": (55.0, 65.0), "loudness": (60.0, 90.0), "mode": (0.0, 1.0)}
    return Leaning(levels, thirds, 12, 16, favoured or {})


@pytest.mark.parametrize(("level", "sign"), [(0, -1), (2, 1)])
def test_the_farther_off_the_more_is_added(level: int, sign: int) -> None:
    leaning = _leaning({"register": level, "loudness": level, "density": level})
    for field, most, least in ((PITCH, 127, 0), (VELOCITY, 15, 0), (ONSET, 0, 96)):
        tilt = leaning.tilt(field, PIANO)
        assert tilt is not None
        assert (tilt[most] - tilt[least]) * sign > 0, field
    far, near = _leaning({"register": level}), _leaning({"register": level})
    for _ in range(9):
        far.advance(12, PIANO, 60 - sign * 20, 8, 12)
        near.advance(12, PIANO, 60 + sign * 20, 8, 12)
    strong, weak = far.tilt(PITCH, PIANO), near.tilt(PITCH, PIANO)
    assert strong is not None and weak is not None
    assert np.ptp(strong) > 5 and np.ptp(weak) == 0


def test_a_mode_leans_to_the_tonic_that_the_music_has() -> None:
    minor = _leaning({"mode": 0})
    assert minor.tilt(PITCH, PIANO) is None  # nothing has been heard
    for pitch in (69, 72, 76, 69, 64, 69):  # A minor
        minor.advance(12, PIANO, pitch, 8, 12)
    tilt = minor.tilt(PITCH, PIANO)
    assert tilt is not None
    assert tilt[69] == tilt[57] == tilt[:128].max() and tilt[60] > tilt[61]
    assert tilt[128:].sum() == 0  # metres and tempi are left alone


def test_a_favoured_instrument_is_favoured_until_it_plays() -> None:
    leaning = _leaning({}, {PIANO: -1.0, VIOLIN: 2.0})
    before = leaning.copy()
    leaning.advance(0, VIOLIN, 60, 8, 12)
    tilts = [each.tilt(KIND, 0) for each in (before, leaning)]
    assert [float(tilt[VIOLIN]) for tilt in tilts if tilt is not None] == [2.0, 0.0]


def test_the_bundled_model_follows_styles_and_moods() -> None:
    composer = Composer.from_pretrained()
    for piece in composer.compose_many(style="quartets", mood="slow", num=2, bars=4, seed=1):
        assert {instrument_name(i) for i in piece.score.instruments} <= {"violin", "viola", "cello"}
        assert measure(piece.score)["tempo"] <= composer.folder.character.thirds["tempo"][0]
    low, high = (
        np.mean(
            [measure(p.score)["register"] for p in composer.compose_many(mood=word, num=4, bars=8, seed=1)]
        )
        for word in ("low", "high")
    )
    assert low + 5 < high
