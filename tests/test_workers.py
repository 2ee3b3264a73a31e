"""Work in several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cadenza import CadenzaError, Composer, InputError, ModelError, Score, composer, scan
from cadenza.midi import midi_bytes
from cadenza.model_folder import REPRESENTATION
from cadenza.sampling import PLACES
from cadenza.workers import in_processes
from music import tune

FOREVER = 10**6
PIECES = PLACES + 2  # which do not all fit side by side


@pytest.fixture
def few_bars_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composer, "BARS_WORTH_A_PROCESS", 1)


def _slowly(steps: int, count: Callable[[int], None]) -> int:
    """A job of so many steps of a millisecond."""
    for _ in range(steps):
        time.sleep(0.001)
        count(1)
    return steps


@pytest.mark.parametrize("prompt", [None, tune(3, bars=2)])
@pytest.mark.usefixtures("few_bars_are_worth_it")
def test_the_pieces_are_the_same_however_many_processes_compose(
    models: dict[str, Path], prompt: Score | None
) -> None:
    found, heard = [], [list[int](), list[int]()]
    for workers, totals in zip((1, 2), heard, strict=True):
        pieces = Composer.from_pretrained(models["transformer"]).compose_many(
            prompt=prompt, num=PIECES, bars=4, seed=1, workers=workers, on_events=totals.append
        )
        found.append([(midi_bytes(piece.score), piece.sidecar) for piece in pieces])
    assert len(found[0]) == PIECES
    assert found[0] == found[1]
    assert heard[0][-1] == heard[1][-1] and all(totals == sorted(totals) for totals in heard)


@pytest.mark.parametrize(("pieces", "workers"), [(2, 2), (10, 3), (100, 2), (37, 5)])
def test_every_piece_of_an_order_is_composed_by_one_process(pieces: int, workers: int) -> None:
    nothing: Any = None
    order = composer.Order(range(pieces), 1, nothing, nothing, None, None, nothing)
    parts = [part.numbers for part in order.divided(workers)]
    assert [number for part in parts for number in part] == list(range(pieces))
    assert len(parts) >= workers and all(1 <= len(part) <= composer.PIECES_AT_ONCE for part in parts)


def test_results_come_in_order_and_few_are_made_ahead() -> None:
    totals: list[int] = []
    results = in_processes(_slowly, [3, 2, 1, FOREVER], 2, totals.append)
    assert [next(results), next(results)] == [3, 2]  # the last job has not been handed out yet
    results.close()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("way", ["Ctrl-C", "nobody asks"])
def test_work_that_nobody_waits_for_ends_at_once(way: str, capfd: pytest.CaptureFixture[str]) -> None:
    def strike(total: int) -> None:
        if total > 0:  # they are at work
            for child in multiprocessing.active_children():
                assert child.pid is not None
                os.kill(child.pid, signal.SIGINT)  # which they leave to the first process
            raise KeyboardInterrupt

    results = in_processes(_slowly, [1, FOREVER, FOREVER], 2, strike if way == "Ctrl-C" else None)
    if way == "Ctrl-C":
        with pytest.raises(KeyboardInterrupt):
            list(results)
    else:
        assert next(results) == 1
        results.close()
    assert multiprocessing.active_children() == []
    assert capfd.readouterr().err == ""


def test_a_killed_process_is_told_in_a_sentence() -> None:
    def strike(total: int) -> None:
        for child in multiprocessing.active_children()[:1] if total > 0 else []:
            child.kill()

    with pytest.raises(CadenzaError, match="was killed or could not start"):
        list(in_processes(_slowly, [FOREVER, FOREVER], 2, strike))
    assert multiprocessing.active_children() == []


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import multiprocessing, os, signal\n"
        "from cadenza.workers import in_processes\n"
        "from test_workers import FOREVER, _slowly\n"
        "def strike(total):\n"
        "    if total > 0:\n"
        "        print(*(child.pid for child in multiprocessing.active_children()), flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "if __name__ == '__main__':\n"
        "    list(in_processes(_slowly, [FOREVER, FOREVER], 2, strike))\n"
    )
    # Its output ends once nobody holds it open any more.
    output = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True, timeout=60).stdout
    assert len(output.split()) == 2


@pytest.mark.usefixtures("few_bars_are_worth_it")
def test_an_error_in_a_process_is_raised_as_it_is(models: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.symlink_to(models["lstm"])
    opened = Composer.from_pretrained(folder)
    folder.unlink()
    folder.mkdir()
    for path in models["lstm"].iterdir():
        if path.name != REPRESENTATION:
            (folder / path.name).symlink_to(path)
    with pytest.raises(ModelError, match=REPRESENTATION):
        list(opened.compose_many(num=PIECES, bars=2, seed=1, workers=2))


def test_fewer_than_no_workers_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="workers must be"):
        Composer.from_pretrained(models["lstm"]).compose_many(num=2, workers=-1)
    with pytest.raises(InputError, match="workers must be"):
        scan(tmp_path, workers=-1)
