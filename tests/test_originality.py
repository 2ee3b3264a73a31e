"""What two pieces share is found in any key and tempo, beside other voices, and in pieces of their own it is not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cadenza import write_midi
from cadenza.cli import main
from cadenza.errors import ModelError
from cadenza.originality import Baseline, Index, Originality, Passage, lines_of
from cadenza.score import Score, make_notes, transpose

TICKS = 480


def _melody(seed: int, bars: int, instrument: int = 0, centre: int = 67) -> Score:
    """Eight notes in each bar of 4/4, of random keys and rhythms."""
    rng = np.random.default_rng(seed)
    onsets = [np.sort(rng.choice(16, 8, replace=False)) * TICKS // 4 + bar * 4 * TICKS for bar in range(bars)]
    onset = np.concatenate(onsets)
    length = np.diff(onset, append=bars * 4 * TICKS)
    return Score(TICKS, make_notes(onset, length, centre + rng.integers(-6, 7, len(onset)), 80, instrument))


def _together(*scores: Score) -> Score:
    return replace(scores[0], notes=np.sort(np.concatenate([score.notes for score in scores])))


def _after(first: Score, second: Score, bars: int) -> Score:
    notes = second.notes.copy()
    notes["onset"] += bars * 4 * TICKS
    return replace(first, notes=np.concatenate([first.notes, notes]))


def _slower(score: Score) -> Score:
    """Twice the note values."""
    notes = score.notes.copy()
    notes["onset"] *= 2
    notes["duration"] *= 2
    return replace(score, notes=notes)


@pytest.mark.parametrize("changed", [0, 1, 2])
@pytest.mark.parametrize("stride_and_bits", [(1, 64), (6, 16)])
def test_a_planted_copy_is_found_whichever_voice_changes(
    changed: int, stride_and_bits: tuple[int, int]
) -> None:
    voices = [
        _melody(n, 8, instrument, centre)
        for n, (instrument, centre) in enumerate([(40, 76), (41, 62), (0, 45)])
    ]
    original = _after(_melody(10, 12), _together(*voices), 12)
    voices[changed] = _melody(20, 8, (40, 41, 0)[changed], (76, 62, 45)[changed])
    copy = _slower(transpose(_after(_melody(11, 4), _together(*voices), 4), 3))
    others = [_melody(100 + n, 30) for n in range(50)]
    names = ["original", *(f"other {n}" for n in range(50))]
    found = Index.of([original, *others], names, None, *stride_and_bits).judge(copy)
    assert found.longest is not None and found.longest.piece == "original"
    assert found.notes >= 64 - 2 * 5  # begins and ends are known to six notes
    first, last = found.longest.bars_there
    assert 13 <= first <= 14 and 19 <= last <= 20
    first, last = found.longest.bars
    assert 9 <= first <= 11 and 22 <= last <= 24
    assert 0.3 < found.share < 0.9


def test_pieces_of_their_own_share_nothing() -> None:
    learned = [_melody(n, 32) for n in range(200)]
    index = Index.of(learned, [str(n) for n in range(200)])
    found = [index.judge(_melody(1000 + n, 16)) for n in range(40)]
    assert max(each.notes for each in found) == 0 and max(each.share for each in found) == 0


def test_a_piece_shares_all_with_itself() -> None:
    piece = _together(_melody(1, 8), _melody(2, 8, 32, 40))
    for stride, bits in ((1, 64), (6, 16)):
        found = Index.of([piece], ["it"], None, stride, bits).judge(piece)
        assert found.longest is not None
        assert found.longest.bars[0] == found.longest.bars_there[0] == 1 and found.notes >= 60
        assert found.share > 0.9


def test_lines_are_the_outer_voices_that_sound() -> None:
    held = make_notes([0, 0, 480, 960], [1920, 480, 480, 960], [48, 72, 74, 76], 80)
    high, low = lines_of(Score(TICKS, held))
    assert high.pitch.tolist() == [72, 74, 76] and high.step.tolist() == [0, 12, 24]
    assert low.pitch.tolist() == [48]  # it sounds on below the others
    assert lines_of(Score(TICKS, make_notes([0], [480], [60], 80, 128))) == []  # drums have no lines


def test_an_empty_index_and_short_pieces_share_nothing() -> None:
    short = Score(TICKS, make_notes([0, 480], [480, 480], [60, 62], 80))
    for index in (Index.of([], []), Index.of([short], ["short"]), Index.of([_melody(1, 4)], ["it"])):
        assert index.judge(short).to_dict() == {"longest": None, "share": 0.0}


def test_two_files_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "a.mid", tmp_path / "b.mid"
    write_midi(_melody(1, 8), first)
    write_midi(transpose(_melody(1, 8), 2), second)
    assert main(["compare", str(first), str(second)]) == 0
    assert "longest shared passage: 64 notes, bars 1-8" in capsys.readouterr().out
    assert main(["compare", str(first), str(second), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["longest"]["notes"] == 64
    write_midi(
        _after(Score(TICKS, make_notes([], [], [], 80)), _melody(1, 8), 2), second
    )  # two empty bars first
    assert main(["compare", str(first), str(second), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["longest"]["bars_there"] == [3, 10]
    write_midi(_melody(2, 8), second)
    assert main(["compare", str(first), str(second)]) == 0
    assert "no shared passage" in capsys.readouterr().out
    assert main(["compare", str(first), str(tmp_path / "none.mid")]) == 2
    write_midi(Score(TICKS, make_notes([], [], [], 80)), second)
    capsys.readouterr()
    assert main(["compare", str(first), str(second)]) == 2
    assert f"{second}: has no notes" in capsys.readouterr().err


def test_an_index_is_read_as_it_was_written(tmp_path: Path) -> None:
    pieces = [_melody(n, 8) for n in range(4)]
    index = Index.of(pieces[:3], ["a", "b", "c"], [0, 2, 0]).joined(Index.of(pieces[3:], ["d"]))
    index.save(tmp_path / "index")
    again = Index.load(tmp_path / "index")
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "index").read_bytes()
    for piece in pieces:
        assert again.judge(piece) == index.judge(piece)
    found = [again.judge(piece).longest for piece in pieces]
    assert [passage and passage.piece for passage in found] == ["a", "b", "c", "d"]
    assert found[1] is not None and found[1].bars_there[0] == 3  # two bars come before it in its file


def test_a_damaged_index_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index"
    Index.of([_melody(1, 8)], ["a"]).save(path)
    whole = path.read_bytes()
    for damaged in (
        b"",
        whole[:40],
        whole[:-1],
        whole.replace(b'"U16"', b'"I16"', 1),
        whole.replace(b"a", b"b"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match="damaged"):
            Index.load(path)
    disagreeing = replace(Index.of([_melody(1, 8)], ["a"]), piece_of=np.array([7], np.uint32))
    disagreeing.save(path)
    with pytest.raises(ModelError, match="damaged"):
        Index.load(path)


def test_only_what_is_new_is_judged_and_a_piece_not_beside_itself() -> None:
    prompt, others = _melody(1, 8), _melody(2, 8)
    index = Index.of([prompt, others], ["prompt", "others"])
    piece = _after(prompt, others, 8)
    assert index.judge(piece).share > 0.9
    found = index.judge(piece, start=8 * 4 * TICKS)
    assert found.longest is not None and found.longest.piece == "others" and found.longest.bars[0] == 9
    assert index.judge(prompt, other_than=0).notes == 0


def test_what_exceeds_what_people_share_may_be_memorised() -> None:
    shared = [Originality(Passage(n, (1, 2), "it", (1, 2)), n / 100) for n in range(1, 102)]
    baseline = Baseline.of(shared)
    assert baseline.notes == (51.0, 96.0) and baseline.pieces == 101
    assert [each.notes for each in shared if baseline.is_exceeded_by(each)] == [97, 98, 99, 100, 101]
    none = Baseline.of([Originality(None, 0.0)])
    assert not none.is_exceeded_by(shared[11]) and none.is_exceeded_by(shared[12])
