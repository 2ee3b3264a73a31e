"""Soundfonts: what is cut from one has the instruments that were asked for, and all that these lead to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cadenza.errors import InputError
from cadenza.score import DRUM_KIT
from cadenza.soundfont import DRUM_BANK, INSTRUMENT, SAMPLE_ID, Soundfont, bundled, bundled_soundfont


def _zones(font: Soundfont, kind: str, row: int) -> list[list[tuple[int, int]]]:
    """Generators, in their zones, of a preset or an instrument."""
    header, bag, gen = (
        font.tables[name] for name in ("phdr" if kind == "p" else "inst", f"{kind}bag", f"{kind}gen")
    )
    zones = range(int(header["bag"][row]), int(header["bag"][row + 1]))
    return [
        [(int(g["operator"]), int(g["amount"])) for g in gen[bag["gen"][z] : bag["gen"][z + 1]]]
        for z in zones
    ]


def _sound(font: Soundfont, row: int) -> Any:
    """Everything that a preset leads to, without numbers of rows: it sounds the same wherever it stands."""
    found = []
    for zone in _zones(font, "p", row):
        found.append(
            [
                _instrument(font, amount) if operator == INSTRUMENT else (operator, amount)
                for operator, amount in zone
            ]
        )
    return found


def _instrument(font: Soundfont, row: int) -> Any:
    return [
        [_sample(font, amount) if operator == SAMPLE_ID else (operator, amount) for operator, amount in zone]
        for zone in _zones(font, "i", row)
    ]


def _sample(font: Soundfont, row: int) -> Any:
    header = font.tables["shdr"][row]
    kept = [header[name].item() for name in ("name", "loop_start", "loop_end", "rate", "key", "correction")]
    return kept, bytes(font.samples[int(header["start"]) : int(header["end"])])


def _row(font: Soundfont, bank: int, program: int) -> int:
    headers = font.tables["phdr"][:-1]
    (found,) = np.flatnonzero((headers["bank"] == bank) & (headers["program"] == program))
    return int(found)


@pytest.mark.parametrize("instruments", [[0], [40, 0], [128], [0, 32, 73, 128, 153]])
def test_what_is_cut_sounds_as_it_did_and_nothing_else_is_there(instruments: list[int]) -> None:
    whole, part = bundled(), Soundfont.read(bundled().cut(instruments))
    assert len(part.tables["phdr"]) == len(instruments) + 1
    for instrument in instruments:
        place = (0, instrument) if instrument < DRUM_KIT else (DRUM_BANK, instrument - DRUM_KIT)
        assert _sound(part, _row(part, *place)) == _sound(whole, _row(whole, *place))
    used = sum(int(row["end"]) - int(row["start"]) for row in part.tables["shdr"][:-1])
    assert used == len(part.samples) < len(whole.samples) / 4


def test_cutting_again_changes_nothing() -> None:
    once = bundled().cut([0, 40, 128])
    assert Soundfont.read(once).cut([128, 40, 0, 0]) == once


def test_every_sample_of_every_instrument_is_vorbis() -> None:
    font = bundled()
    for row in font.tables["shdr"][:-1]:
        assert bytes(font.samples[int(row["start"]) : int(row["start"]) + 4]) == b"OggS"


def test_all_instruments_are_there_and_a_kit_that_is_not_sounds_like_the_standard_one() -> None:
    font = bundled()
    for program in range(DRUM_KIT):
        _row(font, 0, program)
    part = Soundfont.read(font.cut([DRUM_KIT + 99]))
    assert _sound(part, _row(part, DRUM_BANK, 99)) == _sound(font, _row(font, DRUM_BANK, 0))


@pytest.mark.parametrize("damage", ["short", "other", "empty", "long"])
def test_a_damaged_file_is_refused_in_a_sentence(damage: str) -> None:
    content = bytearray(bundled().cut([0]))
    if damage == "short":
        content = content[: len(content) // 2]
    elif damage == "other":
        content[8:12] = b"WAVE"
    elif damage == "empty":
        content = bytearray()
    else:
        content[16:20] = b"\xff\xff\xff\x7f"
    with pytest.raises(InputError, match="the soundfont"):
        Soundfont.read(bytes(content))


def test_the_licence_lies_beside_it() -> None:
    assert "Permission is hereby granted" in (bundled_soundfont().parent / "LICENSE.md").read_text()
