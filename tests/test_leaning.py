"""Moods and styles act while a piece is drawn: as much as it needs, and not at all where it is where it should be."""

from __future__ import annotations

import numpy as np
import pytest

from cadenza import Composer
from cadenza.character import Range, measure
from cadenza.leaning import Leaning
from cadenza.score import instrument_name
from cadenza.vocabulary import FIRST_INSTRUMENT, KIND, ONSET, PITCH, REST_KIND, VELOCITY

PIANO, VIOLIN = FIRST_INSTRUMENT, FIRST_INSTRUMENT + 40


THIRDS = {
    "players": (1.0, 2.0),
    "density": (2.0, 4.0),
    "texture": (1.5, 2.5),
    "register": (55.0, 65.0),
    "loudness": (60.0, 90.0),
    "mode": (0.0, 1.0),
}


def _leaning(aims: dict[str, Range], favoured: dict[int, float] | None = None) -> Leaning:
    widths = {name: high - low for name, (low, high) in THIRDS.items()}
    return Leaning(aims, widths, 12, 16, favoured or {})


def _third(name: str, level: int) -> Range:
    low, high = THIRDS[name]
    return (-np.inf, low) if level == 0 else (high, np.inf)


@pytest.mark.parametrize(("level", "sign"), [(0, -1), (2, 1)])
def test_the_farther_off_the_more_is_added(level: int, sign: int) -> None:
    cases = (
        ("register", PITCH, 127, 0),
        ("loudness", VELOCITY, 15, 0),
        ("density", ONSET, 0, 96),
        ("texture", ONSET, 0, 1),
    )
    for name, field, most, least in cases:
        leaning = _leaning({name: _third(name, level)})
        if name == "density":
            assert leaning.tilt(field, PIANO) is None  # before the first note all waits are alike
            leaning.advance(0, PIANO, 60, 8, 12)
        tilt = leaning.tilt(field, PIANO)
        assert tilt is not None
        assert (tilt[most] - tilt[least]) * sign > 0, name
    far, near = (_leaning({"register": _third("register", level)}) for _ in range(2))
    for _ in range(9):
        far.advance(12, PIANO, 60 - sign * 20, 8, 12)
        near.advance(12, PIANO, 60 + sign * 20, 8, 12)
    strong, weak = far.tilt(PITCH, PIANO), near.tilt(PITCH, PIANO)
    assert strong is not None and weak is not None
    assert np.ptp(strong) > 5 and np.ptp(weak) == 0


@pytest.mark.parametrize("level", [0, 2])
def test_one_note_off_calls_for_little(level: int) -> None:
    sign = level - 1
    off = 60 - sign * 20, 8 - sign * 8
    for name, field in (("register", PITCH), ("loudness", VELOCITY), ("mode", PITCH)):
        aims = {name: _third(name, level)}
        once, often = _leaning(aims), _leaning(aims)
        once.advance(12, PIANO, off[0], off[1], 12)
        for _ in range(30):
            often.advance(12, PIANO, off[0], off[1], 12)
        weak, strong = once.tilt(field, PIANO), often.tilt(field, PIANO)
        assert weak is not None and strong is not None
        assert np.ptp(strong) > 2 * np.ptp(weak), name


def test_between_two_limits_nothing_is_added() -> None:
    leaning = _leaning({"register": (50.0, 70.0), "texture": (0.0, 9.0), "density": (0.0, 9.0)})
    for _ in range(4):
        leaning.advance(12, PIANO, 60, 8, 12)
    tilts = [leaning.tilt(PITCH, PIANO), leaning.tilt(ONSET, PIANO)]
    assert [float(np.abs(tilt).sum()) for tilt in tilts if tilt is not None] == [0.0, 0.0]


def test_a_full_first_chord_calls_for_no_silence() -> None:
    leaning = _leaning({name: _third(name, 0) for name in ("density", "texture")})
    found = []
    for beat in range(9):
        for n, pitch in enumerate((72, 67, 64, 60)):
            leaning.advance(12 if beat and not n else 0, PIANO, pitch, 8, 12)
        tilt = leaning.tilt(ONSET, PIANO)
        assert tilt is not None
        quarter, bar = tilt[12], tilt[48]
        assert bar == quarter  # however dense it is, silence is not the way
        found.append(float(quarter - tilt[3]))
    assert found[1] < found[-1]
    between = _leaning({"density": (2.0, 4.0), "texture": (1.5, 2.5)})
    for pitch in (72, 67, 64, 60):
        between.advance(0, PIANO, pitch, 8, 12)
    tilt = between.tilt(ONSET, PIANO)
    assert tilt is not None and tilt[12] - tilt[3] < 6


def test_a_mode_leans_to_what_tells_it_from_the_other() -> None:
    minor = _leaning({"mode": (-np.inf, 0.0)})
    assert minor.tilt(PITCH, PIANO) is None  # nothing has been heard
    for pitch in (69, 73, 76, 69):  # A major
        minor.advance(12, PIANO, pitch, 8, 12)
    tilt = minor.tilt(PITCH, PIANO)
    assert tilt is not None
    assert tilt[72] > 0 > tilt[73]  # the third is what tells them apart
    assert tilt[128:].sum() == 0  # metres and tempi are left alone
    for _ in range(20):
        for pitch in (69, 72, 76, 69):
            minor.advance(12, PIANO, pitch, 8, 12)
    tilt = minor.tilt(PITCH, PIANO)
    assert tilt is not None and np.abs(tilt).max() == 0  # minor by now, and left to the network


def test_an_ensemble_is_filled_and_not_overfilled() -> None:
    leaning = _leaning({"players": (2.0, 2.0)})
    found = []
    for kind in (PIANO, VIOLIN):
        tilt = leaning.tilt(KIND, 0)
        assert tilt is not None
        found.append(float(tilt[VIOLIN]))
        leaning.advance(12, kind, 60, 8, 12)
    tilt = leaning.tilt(KIND, 0)
    assert tilt is not None
    assert min(found) > 0 > tilt[VIOLIN + 1] and tilt[PIANO] == tilt[VIOLIN] == tilt[REST_KIND] == 0


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
