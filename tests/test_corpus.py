"""A verdict for every file, duplicates found, and a split that leaks nothing."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cadenza.cli import main
from cadenza.corpus import Corpus, examine, scan
from cadenza.errors import CadenzaError, InputError
from cadenza.holdout import SAME_TUNE, split
from cadenza.library import Entry
from cadenza.likeness import first_bars
from cadenza.midi import midi_bytes, write_midi
from cadenza.originality import Index
from cadenza.score import DRUM_KIT, Score, make_notes, transpose
from cadenza.workers import process_pool
from music import tune, write_folder


def _verdicts(corpus: Corpus) -> dict[str, str]:
    return {report.path.name: report.verdict for report in corpus.files}


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """One of each kind of file."""
    good = tune(1)
    write_midi(good, tmp_path / "good.mid")
    (tmp_path / "same_bytes.mid").write_bytes((tmp_path / "good.mid").read_bytes())
    on_organ = good.notes.copy()
    on_organ["instrument"] = 19
    on_organ["velocity"] = 50
    write_midi(replace(good, notes=on_organ), tmp_path / "same_notes.MIDI")
    (tmp_path / "empty.mid").write_bytes(b"")
    (tmp_path / "broken.mid").write_bytes(midi_bytes(good)[:13])
    (tmp_path / "page.mid").write_bytes(b"<html>not found</html>")
    write_midi(Score(480), tmp_path / "silent.mid")
    write_midi(Score(480, make_notes([0, 480], 480, 60)), tmp_path / "short.mid")
    write_midi(Score(480, make_notes(range(0, 4800, 240), 60, 38, 80, DRUM_KIT)), tmp_path / "drums.mid")
    (tmp_path / "notes.txt").write_text("hello")
    return tmp_path


def test_every_file_has_a_verdict(mixed: Path) -> None:
    corpus = scan(mixed)
    assert _verdicts(corpus) == {
        "good.mid": "ok",
        "same_bytes.mid": "duplicate of good.mid",
        "same_notes.MIDI": "duplicate of good.mid",
        "empty.mid": "empty",
        "broken.mid": "unreadable",
        "page.mid": "unreadable",
        "silent.mid": "no notes",
        "short.mid": "too short",
        "drums.mid": "only drums",
        "notes.txt": "not MIDI",
    }
    assert all(report.reason for report in corpus.skipped)
    totals = corpus.totals()
    assert totals["pieces"] == 1 and totals["files"] == 10
    assert totals["notes"] == len(tune(1)) and totals["instruments"] == {"piano": 1}


def test_drum_files_are_used_when_asked_for(mixed: Path) -> None:
    assert _verdicts(scan(mixed, allow_drums_only=True))["drums.mid"] == "ok"


def test_a_folder_with_nothing_usable_says_why_file_by_file(mixed: Path) -> None:
    (mixed / "good.mid").unlink()
    (mixed / "same_bytes.mid").unlink()
    (mixed / "same_notes.MIDI").unlink()
    with pytest.raises(InputError) as refused:
        scan(mixed).require_pieces(1)
    for path in mixed.iterdir():
        assert path.name in str(refused.value)


def test_folders_that_form_a_loop_and_pipes_do_no_harm(tmp_path: Path) -> None:
    write_folder(tmp_path, 2)
    (tmp_path / "loop").symlink_to(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.mid")
    verdicts = _verdicts(scan(tmp_path))
    assert verdicts.pop("pipe.mid", "unreadable") == "unreadable"
    assert set(verdicts.values()) == {"ok"} and len(verdicts) == 2


def test_a_folder_that_cannot_be_opened_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, 2)
    walk = os.walk

    def refusing(root: Path, onerror: Any) -> Any:
        onerror(PermissionError(13, "Permission denied", str(tmp_path / "secret")))
        return walk(root)

    monkeypatch.setattr(os, "walk", refusing)
    verdicts = _verdicts(scan(tmp_path))
    assert verdicts["secret"] == "unreadable" and len(verdicts) == 3


def test_names_that_are_not_unicode_do_no_harm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = tmp_path / "midi"
    folder = corpus / os.fsdecode(b"caf\xe9")
    write_folder(folder, 3)
    assert main(["inspect", str(corpus), "--json"]) == 0
    assert (
        main(["train", str(corpus), "--out", str(tmp_path / "m"), "--preset", "tiny", "--epochs", "1"]) == 0
    )


def _crash_at_some(path: Path) -> Entry:
    if path.stem in ("tune_1", "tune_4"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return examine(path)


def test_a_file_that_crashes_the_reader_gets_its_verdict_and_the_others_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path, 6)
    monkeypatch.setattr("cadenza.corpus.FILES_WORTH_A_PROCESS", 1)
    monkeypatch.setattr("cadenza.corpus.examine", _crash_at_some)
    reports = {report.path.stem: report for report in scan(tmp_path, workers=2).files}
    crashed = [name for name, report in reports.items() if report.verdict != "ok"]
    assert crashed == ["tune_4", "tune_1"] and reports["tune_4"].reason == "reading it crashed"


def test_readers_that_cannot_start_are_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path, 4)
    monkeypatch.setattr("cadenza.corpus.FILES_WORTH_A_PROCESS", 1)
    monkeypatch.setattr("cadenza.corpus.process_pool", partial(process_pool, initializer=_die_at_once))
    with pytest.raises(CadenzaError, match="was killed or could not start"):
        scan(tmp_path, workers=2)


def _die_at_once() -> None:
    os._exit(1)


def test_sub_folders_are_styles(folder: Path) -> None:
    assert scan(folder).totals()["styles"] == {"other": 3, "plain": 3}


def test_the_split_is_the_same_in_any_order_and_shares_no_piece(folder: Path) -> None:
    corpus = scan(folder)
    parts, again = split(corpus), split(replace(corpus, pieces=corpus.pieces[::-1]))
    learned, held_out, held_again = parts.learned, parts.held_out, again.held_out
    assert [p.fingerprint for p in held_out] == [p.fingerprint for p in held_again]
    assert not {p.fingerprint for p in learned} & {p.fingerprint for p in held_out}
    assert len(again.learned) + len(held_again) == len(corpus.pieces) and len(held_out) == 1


def test_settings_of_a_tune_are_on_one_side_of_the_split(tmp_path: Path) -> None:
    for n in range(20):
        write_midi(tune(n, bars=16), tmp_path / f"{n}.mid")
        write_midi(transpose(tune(n, bars=16), 3), tmp_path / f"{n}-in-another-key.mid")
    for n in range(100, 110):
        write_midi(tune(n, bars=16), tmp_path / f"{n}.mid")
    corpus = scan(tmp_path)
    parts = split(corpus)
    assert len(parts.learned) + len(parts.held_out) == len(corpus.pieces) == 50
    assert parts.held_out and all("-" not in p.path.stem and int(p.path.stem) >= 100 for p in parts.held_out)
    assert parts.baseline().notes[1] < SAME_TUNE
    alike = replace(corpus, pieces=[p for p in corpus.pieces if p.path.stem.startswith("7")])
    assert len(split(alike).held_out) == 1  # rather than none


def test_people_are_measured_by_all_that_composed_pieces_will_be(tmp_path: Path) -> None:
    """By what a model gone on from knows, too; a tune that it learned from tells nothing of people."""
    parts = split(scan(write_folder(tmp_path, n=12, bars=16)))
    assert parts.baseline().notes == (0.0, 0.0)
    openings = [first_bars(piece.score, 4) for piece in parts.learned + parts.held_out]
    before = Index.of(openings, [f"{n}" for n in range(len(openings))])
    assert 12 <= parts.baseline(before).notes[0] < SAME_TUNE
    scores = [piece.score for piece in parts.held_out]
    known = Index.of(scores, [f"{n}" for n in range(len(scores))])
    assert parts.baseline(known).notes[1] < SAME_TUNE


def test_warnings_name_what_may_surprise(tmp_path: Path) -> None:
    score = tune(1)
    write_midi(replace(score, metres=score.metres[:0]), tmp_path / "a.mid")
    assert scan(tmp_path).files[0].warnings == ["no metre given: taken as 4/4"]
    kit = make_notes(range(0, 4800, 240), 60, [36, 38, 42, 46] * 5, 80, 0)
    write_midi(Score(480, kit), tmp_path / "b.mid")
    assert any("drums off channel 10" in w for w in scan(tmp_path).files[1].warnings)


def test_a_path_that_does_not_exist_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        scan(tmp_path / "nowhere")
