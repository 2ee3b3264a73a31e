"""The library: a folder is read once, then only what changed; whatever happens, the answer stays the same."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cadenza import corpus, library
from cadenza.cli import main
from cadenza.corpus import Corpus, scan
from cadenza.errors import InputError
from cadenza.library import Library
from cadenza.midi import midi_bytes
from music import tune


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read."""
    names: list[str] = []
    examine = corpus.examine

    def noting(path: Path) -> library.Entry:
        names.append(path.name)
        return examine(path)

    monkeypatch.setattr(corpus, "examine", noting)
    return names


@pytest.fixture
def tunes(tmp_path: Path) -> Path:
    """Five tunes, one of them twice, and a file that is none."""
    folder = tmp_path / "tunes"
    folder.mkdir()
    for n in range(5):
        (folder / f"{n}.mid").write_bytes(midi_bytes(tune(n)))
    (folder / "again.mid").write_bytes(midi_bytes(tune(3)))
    (folder / "broken.mid").write_bytes(b"MThd nonsense")
    return folder


def _same(one: Corpus, other: Corpus) -> bool:
    pieces = zip(one.pieces, other.pieces, strict=True)
    return one.files == other.files and all(
        (a.path, a.score, a.timing, a.style, a.fingerprint)
        == (b.path, b.score, b.timing, b.style, b.fingerprint)
        for a, b in pieces
    )


def test_a_folder_is_read_once_and_then_only_what_changed(
    tunes: Path, tmp_path: Path, read: list[str]
) -> None:
    plain = scan(tunes)
    assert len(plain.pieces) == 5
    read.clear()
    assert _same(scan(tunes, library=Library(tmp_path / "library")), plain)
    assert len(read) == 7
    read.clear()
    assert _same(scan(tunes, library=Library(tmp_path / "library")), plain)
    assert not read
    (tunes / "2.mid").write_bytes(midi_bytes(tune(22)))
    os.utime(tunes / "4.mid", ns=(1, 1))
    (tunes / "0.mid").unlink()
    (tunes / "new.mid").write_bytes(midi_bytes(tune(23)))
    changed = scan(tunes, library=Library(tmp_path / "library"))
    assert sorted(read) == ["2.mid", "4.mid", "new.mid"]
    assert _same(changed, scan(tunes))


def test_a_stopped_run_keeps_what_it_has_read(
    tunes: Path, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = scan(tunes)
    monkeypatch.setattr(corpus, "FILES_AT_ONCE", 2)

    def stop(done: int, files: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(tunes, library=Library(tmp_path / "library"), on_file=stop)
    with (tmp_path / "library" / "scores-0.bin").open("ab") as file:
        file.write(b"half a score")
    read.clear()
    assert _same(scan(tunes, library=Library(tmp_path / "library")), plain)
    assert len(read) == 1


def test_a_failed_write_leaves_no_half_entries(
    tunes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Library(tmp_path / "library")
    with monkeypatch.context() as patch:
        patch.setattr(
            os, "fsync", lambda number: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        with pytest.raises(InputError, match="--cache"):
            scan(tunes, library=kept)
    assert _same(scan(tunes, library=kept), scan(tunes))


def test_scores_given_out_stay_as_they_are(tunes: Path, tmp_path: Path) -> None:
    """Also when the files that were kept last are gone and others are read."""
    kept = Library(tmp_path / "library")
    given = scan(tunes, library=kept)
    before = [piece.score.notes.copy() for piece in given.pieces]
    for name in ("4.mid", "again.mid", "broken.mid"):
        (tunes / name).unlink()
    scan(tunes, library=kept)
    (tunes / "5.mid").write_bytes(midi_bytes(tune(9)))
    scan(tunes, library=kept)
    for piece, notes in zip(given.pieces, before, strict=True):
        assert (piece.score.notes == notes).all()


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "cut off"])
def test_scores_that_are_lost_are_read_again_in_any_number_of_parts(
    lost: bool, tunes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "FILES_AT_ONCE", 2)
    scan(tunes, library=Library(tmp_path / "library"))
    [scores] = (tmp_path / "library").glob("scores-*.bin")
    if lost:
        scores.unlink()
    else:
        scores.write_bytes(scores.read_bytes()[:100])
    for _ in range(2):
        assert _same(scan(tunes, library=Library(tmp_path / "library")), scan(tunes))


def test_a_library_that_was_stopped_while_made_anew_is_whole(
    tunes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "FILES_AT_ONCE", 2)
    scan(tunes, library=Library(tmp_path / "library"))

    def stop(folder: Path, pattern: str) -> Iterator[Path]:
        yield folder / "scores-0.bin"
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(library, "FORMAT", "another")
        patched.setattr(Path, "glob", stop)
        with pytest.raises(KeyboardInterrupt):
            Library(tmp_path / "library")
    for _ in range(2):
        assert _same(scan(tunes, library=Library(tmp_path / "library")), scan(tunes))


def test_damaged_scores_are_read_again(tunes: Path, tmp_path: Path) -> None:
    with Library(tmp_path / "library") as first:
        scan(tunes, library=first)
    (tmp_path / "library" / "scores-0.bin").write_bytes(b"nonsense")
    assert _same(scan(tunes, library=Library(tmp_path / "library")), scan(tunes))


def test_a_damaged_index_is_said(tunes: Path, tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "index.sqlite").write_bytes(b"nonsense" * 100)
    with pytest.raises(InputError, match=r"not a database.*delete it"):
        Library(tmp_path / "library")


def test_making_it_anew_does_not_disturb_others(
    tunes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = scan(tunes)
    old = Library(tmp_path / "library")
    given_out = scan(tunes, library=old)
    monkeypatch.setattr(library, "FORMAT", "another")
    new = Library(tmp_path / "library")
    for path in tunes.glob("[0-2].mid"):
        os.utime(path, ns=(5, 5))
    assert _same(scan(tunes, library=new), plain)
    assert _same(given_out, plain)
    assert _same(scan(tunes, library=old), plain)


def test_many_readers_at_once_all_read_the_same(
    tunes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = scan(tunes)
    monkeypatch.setattr(corpus, "FILES_AT_ONCE", 1)
    monkeypatch.setattr(Library, "_is_wasteful", lambda library: True)

    def read_all(n: int) -> bool:
        with Library(tmp_path / "library") as mine:
            return _same(scan(tunes, library=mine), plain)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read_all, range(24)))


def test_a_file_that_could_not_be_opened_is_tried_again(
    tunes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = scan(tunes)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(corpus, "read_midi", refuse)
        assert not scan(tunes, library=Library(tmp_path / "library")).pieces
    assert _same(scan(tunes, library=Library(tmp_path / "library")), plain)


def test_a_folder_is_known_under_every_name_and_what_is_gone_is_forgotten(
    tunes: Path, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Library(tmp_path / "library")
    scan(tunes, library=kept)
    read.clear()
    monkeypatch.chdir(tmp_path)
    scan("tunes", library=kept)
    assert not read
    (tunes / "2.mid").rename(tmp_path / "away")
    scan(tunes, library=kept)
    (tmp_path / "away").rename(tunes / "2.mid")
    scan(tunes, library=kept)
    assert read == ["2.mid"]


def test_another_version_reads_everything_anew(
    tunes: Path, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scan(tunes, library=Library(tmp_path / "library"))
    monkeypatch.setattr(library, "FORMAT", "another")
    read.clear()
    scan(tunes, library=Library(tmp_path / "library"))
    assert len(read) == 7


def test_several_processes_read_what_one_does(
    tunes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = scan(tunes)
    monkeypatch.setattr(corpus, "FILES_WORTH_A_PROCESS", 1)
    assert _same(scan(tunes, workers=2), plain)
    assert _same(scan(tunes, library=Library(tmp_path / "library"), workers=2), plain)


def test_what_no_row_points_to_is_cleared_away(
    tunes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "WASTE_ALLOWED", 0)
    for n in range(4):
        for path in tunes.glob("?.mid"):
            os.utime(path, ns=(n, n))
        scan(tunes, library=Library(tmp_path / "library"))
    live = sum(len(piece.score.notes) * 20 for piece in scan(tunes).pieces)
    assert sum(path.stat().st_size for path in (tmp_path / "library").glob("scores-*.bin")) < 4 * live


def test_a_library_that_cannot_be_written_is_said(tmp_path: Path, tunes: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--cache"):
        Library(tmp_path / "file" / "library")


def test_the_command_line_uses_it_when_told_to(
    tunes: Path, read: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, count in ((["--cache"], 7), (["--cache"], 0), ([], 7)):
        read.clear()
        main(["inspect", str(tunes), *arguments])
        assert len(read) == count
    out = capsys.readouterr().out
    assert out[: len(out) // 3] * 3 == out


def test_a_locked_index_is_said(tunes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_LOCK_SECONDS", 0.01)
    kept = Library(tmp_path / "library")
    other = sqlite3.connect(tmp_path / "library" / "index.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(InputError, match="locked"):
        scan(tunes, library=kept)
