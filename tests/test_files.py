"""Files are written whole or not at all, in the format of their suffix."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from cadenza.errors import InputError, StorageError
from cadenza.export import write_score
from cadenza.files import write_atomic
from cadenza.midi import read_midi
from music import tune


def test_a_failed_write_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    write_atomic(path, "old")

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        write_atomic(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot sync a folder")
def test_a_power_cut_undoes_nothing_that_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is on the disk before it gets its name, and its name is before writing returns."""
    path, synced = tmp_path / "a.txt", list[tuple[bool, bool]]()

    def sync(descriptor: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))

    monkeypatch.setattr(os, "fsync", sync)
    write_atomic(path, "new")
    assert synced == [(False, False), (True, True)]
    path = tmp_path / "two" / "new" / "a.txt"
    synced.clear()
    write_atomic(path, "new")
    assert synced == [(False, False), *[(True, True)] * 3]  # of each new folder, the one that it lies in


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot sync a folder")
def test_file_systems_that_sync_no_folders_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", sync)
    write_atomic(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"


def test_folders_are_made_and_permissions_are_the_usual_ones(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "a.txt"
    write_atomic(path, b"x")
    (tmp_path / "plain").write_bytes(b"x")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_suffix_chooses_the_format(tmp_path: Path) -> None:
    score = tune(1)
    score.save(tmp_path / "a.mid")
    score.save(str(tmp_path / "a.SVG"))
    assert read_midi(tmp_path / "a.mid") == score
    assert (tmp_path / "a.SVG").read_text().startswith("<svg")
    with pytest.raises(InputError, match=r"cannot write \.xyz"):
        write_score(score, tmp_path / "a.xyz")
    with pytest.raises(InputError, match="without suffix"):
        write_score(score, tmp_path / "a")
