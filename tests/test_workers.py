"""Composing in several processes."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path

import pytest

from cadenza import CadenzaError, Composer, composer
from cadenza.midi import midi_bytes


@pytest.fixture(autouse=True)
def _few_bars_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composer, "BARS_WORTH_A_PROCESS", 1)


def test_the_pieces_are_the_same_however_many_processes_compose(models: dict[str, Path]) -> None:
    found, heard = [], [list[int](), list[int]()]
    for workers, counts in zip((1, 2), heard, strict=True):
        pieces = Composer.from_pretrained(models["transformer"]).compose_many(
            num=composer.BATCH + 2, bars=6, seed=1, workers=workers, on_events=counts.append
        )
        found.append([(midi_bytes(piece.score), piece.sidecar) for piece in pieces])
    assert len(found[0]) == composer.BATCH + 2
    assert found[0] == found[1]
    assert all(counts == sorted(counts) and counts[-1] <= heard[0][-1] for counts in heard)


@pytest.mark.parametrize("blow", ["Ctrl-C", "a killed process"])
def test_no_process_is_left_behind(models: dict[str, Path], blow: str) -> None:
    def strike(events: int) -> None:
        if blow == "Ctrl-C":
            raise KeyboardInterrupt
        for child in multiprocessing.active_children():
            child.kill()

    pieces = Composer.from_pretrained(models["lstm"]).compose_many(
        num=2 * composer.BATCH, bars=1024, seed=1, workers=2, on_events=strike
    )
    expected = KeyboardInterrupt if blow == "Ctrl-C" else CadenzaError
    with pytest.raises(expected, match=None if blow == "Ctrl-C" else "ended from outside"):
        list(pieces)
    assert multiprocessing.active_children() == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
