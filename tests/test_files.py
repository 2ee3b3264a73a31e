"""Files are written whole or not at all, in the format of their suffix."""

from __future__ import annotations

import os
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
