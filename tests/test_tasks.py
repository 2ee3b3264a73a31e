"""A user's music through a trained model: filled, varied, humanised, orchestrated; styles, moods and ranks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cadenza import ComposeOptions, Composer
from cadenza.cli import main
from cadenza.errors import InputError
from cadenza.midi import midi_bytes, read_midi, write_midi
from cadenza.presets import ARCHITECTURES
from cadenza.score import TEMPO, Score, make_notes
from music import tune

BAR = 4 * 480


def _in_bars(score: Score, first: int, last: int) -> list[tuple[int, ...]]:
    """The notes that begin in bars first .. last, counted from 1, with times at 480 ticks a quarter."""
    ratio = score.ticks_per_quarter // 480
    rows = [tuple(note) for note in score.notes.tolist()]
    rows = [(on // ratio, length // ratio, *rest) for on, length, *rest in rows]
    return [row for row in rows if (first - 1) * BAR <= row[0] < last * BAR]


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_bars_are_filled_and_the_rest_stays(models: dict[str, Path], kind: str) -> None:
    composer, piece = Composer.from_pretrained(models[kind]), tune(5, bars=8)
    filled = composer.compose(infill=piece, fill_bars="3-5", seed=2).score
    for first, last in ((1, 2), (6, 8)):
        assert _in_bars(filled, first, last) == _in_bars(piece, first, last)
    new = _in_bars(filled, 3, 5)
    assert new and new != _in_bars(piece, 3, 5)
    assert all(start + length <= 5 * BAR for start, length, *_ in new)
    again = composer.compose(infill=piece, fill_bars="3-5", seed=2)
    assert midi_bytes(again.score) == midi_bytes(filled)


def test_a_gap_is_filled_alike_with_neighbours_and_without_the_part_before(models: dict[str, Path]) -> None:
    composer, piece = Composer.from_pretrained(models["transformer"]), tune(5, bars=8)
    pieces = list(composer.compose_many(infill=piece, fill_bars="4", num=3, seed=1))
    assert len({midi_bytes(p.score) for p in pieces}) > 1
    for n, p in enumerate(pieces, 1):
        assert p.sidecar["piece"] == n and p.sidecar["made_from"]["use"] == "infill"
        assert 0 <= p.sidecar["likeness"] <= 1
        assert midi_bytes(composer.again(p.sidecar, piece).score) == midi_bytes(p.score)


def test_what_was_given_around_a_gap_is_no_copy(models: dict[str, Path], folder: Path) -> None:
    known = read_midi(next(folder.rglob("tune_0.mid")))
    composer = Composer.from_pretrained(models["gru"])
    assert composer.folder.index is not None and composer.folder.index.judge(known).notes > 20
    filled = composer.compose(infill=known, fill_bars="4-5", seed=1).sidecar["originality"]
    assert filled["longest"] is None or set(filled["longest"]["bars"]) <= {4, 5}
    assert filled["share"] < 0.5


def test_a_part_is_written_to_a_melody(models: dict[str, Path]) -> None:
    melody = Score(480, make_notes(np.arange(16) * 480, 480, 60 + np.arange(16) % 5, 80, 40))
    filled = Composer.from_pretrained(models["gru"]).compose(infill=melody, tracks="piano", seed=1).score
    assert filled.instruments == [0, 40]
    kept = filled.notes[filled.notes["instrument"] == 40]
    assert kept["pitch"].tolist() == melody.notes["pitch"].tolist()


def test_variation_keeps_what_is_not_chosen(models: dict[str, Path]) -> None:
    composer, piece = Composer.from_pretrained(models["lstm"]), tune(6, bars=12)
    shares = []
    for amount in (0.2, 1.0):
        varied = composer.compose(vary=piece, amount=amount, seed=3).score
        same = [_in_bars(varied, bar, bar) == _in_bars(piece, bar, bar) for bar in range(1, 13)]
        shares.append(sum(same))
    assert shares[0] >= 6 and shares[1] <= 2


def test_a_continuation_keeps_the_very_tempi_of_its_prompt(models: dict[str, Path]) -> None:
    tempi = np.array([(0, 96.3), (1920, 71.7)], TEMPO)
    prompt = replace(tune(2, bars=3), tempi=tempi)
    score = Composer.from_pretrained(models["gru"]).compose(prompt=prompt, bars=2, seed=1).score
    assert score.tempi["qpm"].tolist() == [96.3, 71.7]
    assert score.tempi["tick"].tolist() == [0, 4 * score.ticks_per_quarter]


def test_humanising_and_orchestrating_keep_the_notes(models: dict[str, Path]) -> None:
    composer, piece = Composer.from_pretrained(models["transformer"]), tune(7, bars=4)
    human = composer.compose(humanise=piece, seed=1).score
    played = composer.compose(orchestrate=piece, instruments="piano", seed=1).score
    for score in (human, played):
        assert [row[:3] for row in _in_bars(score, 1, 4)] == [row[:3] for row in _in_bars(piece, 1, 4)]
    assert human.notes["velocity"].tolist() != piece.notes["velocity"].tolist()


@pytest.mark.parametrize(
    ("music", "options", "sentence"),
    [
        ("infill", {"fill_bars": "9"}, "bars 9-9 do not lie within the piece, which has bars 1 to 4"),
        ("infill", {}, "say what to fill"),
        ("infill", {"tracks": "tuba"}, "the model never saw tuba"),
        ("infill", {"density": "2-4"}, "density cannot be asked for when filling a gap"),
        ("vary", {"tracks": "violin"}, "the model never saw violin"),
        ("vary", {"fill_bars": "5"}, "bars 5-5 do not lie within the piece"),
        ("humanise", {"key": "C major"}, "key cannot be asked for when humanising a piece"),
        ("orchestrate", {"instruments": "tuba"}, "the model never saw tuba"),
        ("orchestrate", {"ranges": "piano: C1-C2"}, r"lies outside the ranges of piano \(C1-C2\)"),
        ("prompt", {"prompt_bars": 5}, "the prompt has 4 bars, not 5"),
        (None, {"instruments": "piano", "must_play": "harp"}, "the model never saw harp"),
        ("prompt", {"amount": 0.5}, "amount cannot be asked for when continuing a piece"),
        (None, {"fill_bars": "2"}, "fill bars cannot be asked for when composing a new piece"),
    ],
)
def test_what_cannot_be_done_is_said_before(
    models: dict[str, Path], music: str | None, options: dict[str, Any], sentence: str
) -> None:
    composer = Composer.from_pretrained(models["lstm"])
    given: dict[str, Any] = {music: tune(1, bars=4)} if music else {}
    with pytest.raises(InputError, match=sentence):
        composer.compose_many(**given, **options)
    with pytest.raises(InputError, match="not both"):
        composer.compose_many(infill=tune(1), vary=tune(1))


def test_styles_and_moods_can_be_asked_for(models: dict[str, Path]) -> None:
    composer = Composer.from_pretrained(models["lstm"])
    plain = composer.compose(seed=4, bars=4)
    mixed = composer.compose(seed=4, bars=4, style="other:0.5, plain:0.5", mood="low")
    assert midi_bytes(mixed.score) != midi_bytes(plain.score)
    assert midi_bytes(composer.again(mixed.sidecar).score) == midi_bytes(mixed.score)
    with pytest.raises(InputError, match="never saw the style jazz; those it knows are other, plain"):
        composer.compose(style="jazz")
    with pytest.raises(InputError, match="'loud': the model's pieces are all alike in loudness"):
        composer.compose(mood="loud")
    wrong: tuple[dict[str, Any], ...] = (
        {"style": "a:-1"},
        {"style": ""},
        {"mood": "grumpy"},
        {"surprise": 2.0},
        {"fill_bars": "3-1"},
    )
    for options in wrong:
        with pytest.raises(InputError):
            ComposeOptions(**options)


def test_the_dial_of_surprise_moves_the_sampling() -> None:
    usual = {"temperature": 1.0, "min_p": 0.2}
    settings = [ComposeOptions(surprise=s).sampling(usual) for s in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert settings[2] == ComposeOptions().sampling(usual)
    assert [s.temperature for s in settings] == sorted(s.temperature for s in settings)
    assert settings[0].top_p < 1.0 and settings[-1].min_p < usual["min_p"] < settings[0].min_p
    assert ComposeOptions(surprise=1.0, temperature=0.5).sampling(usual).temperature == 0.5


def test_the_command_line_does_all_of_it(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "mine.mid", tmp_path / "out"
    write_midi(tune(5, bars=6), path)

    def run(*arguments: object) -> tuple[int, str]:
        code = main(["compose", str(models["lstm"]), "--out", str(out), *map(str, arguments)])
        return code, capsys.readouterr().err

    code, err = run("--infill", path, "--bars", "2-3", "--num", 2)
    assert code == 0 and "most like what the model learned from: 00" in err
    assert _in_bars(read_midi(out / "002.mid"), 4, 6) == _in_bars(tune(5, bars=6), 4, 6)
    assert run("--vary", path, "--amount", 0.5, "--num", 1)[0] == 0
    code, err = run("--humanise", path, "--num", 1)
    assert code == 0 and "loudness alone" in err
    assert run("--orchestrate", path, "--num", 1)[0] == 0
    code, err = run("--mood", "sad", "--num", 1, "--bars", 2)
    assert code == 0 and "sad stands for minor, slow, low" in err
    assert run("--key", "G major", "--num", 1, "--bars", 2)[0] == 0
    code, err = run("--continue", out / "001.mid", "--num", 1, "--bars", 2, "--out", tmp_path / "more")
    assert code == 0, err
    sidecar = json.loads((tmp_path / "more" / "001.json").read_text())
    assert sidecar["options"]["key"] == "G major" and sidecar["made_from"]["use"] == "prompt"
    for wrong in (["--bars", "2-3"], ["--infill", path, "--vary", path], ["--continue", path]):
        try:
            code, _ = run(*wrong)
        except SystemExit as stop:
            code = int(stop.code or 0)
        assert code == 2, wrong


def test_values_of_another_type_are_refused() -> None:
    wrong: tuple[dict[str, Any], ...] = (
        {"bars": "8"},
        {"bars": None},
        {"num": 1.5},
        {"tempo": "fast"},
        {"key": 3},
        {"polyphony": True},
    )
    for options in wrong:
        with pytest.raises(InputError, match=f"{next(iter(options))} must be a"):
            ComposeOptions(**options)


def test_music_is_not_replaced_by_what_is_made_from_it(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "001.mid"
    write_midi(tune(5, bars=6), path)
    before = path.read_bytes()
    base = ["compose", str(models["lstm"]), "--num", "1", "--out"]
    assert main([*base, str(tmp_path), "--infill", str(path), "--bars", "2"]) == 2
    assert "would be replaced" in capsys.readouterr().err and path.read_bytes() == before
    assert main([*base, str(tmp_path / "a"), "--infill", str(path), "--bars", "2"]) == 0
    moved = path.rename(tmp_path / "moved.mid")
    again = ["compose", str(models["lstm"]), "--out", str(tmp_path / "b"), "--again"]
    assert main([*again, str(tmp_path / "a" / "001.json")]) == 2
    assert main([*again, str(tmp_path / "a" / "001.json"), "--infill", str(moved)]) == 0
    assert (tmp_path / "b" / "001.mid").read_bytes() == (tmp_path / "a" / "001.mid").read_bytes()


def test_candidates_are_ranked_by_what_is_new_in_them(models: dict[str, Path]) -> None:
    composer = Composer.from_pretrained(models["lstm"])
    ranks = [
        piece.sidecar["likeness"]
        for piece in composer.compose_many(prompt=tune(3, bars=20), bars=8, num=4, seed=1)
    ]
    assert len(set(ranks)) > 1
    late = composer.compose_many(infill=tune(3, bars=30), fill_bars="25-28", num=4, seed=1)
    assert len({piece.sidecar["likeness"] for piece in late}) > 1


def test_a_run_refuses_what_composing_would_before_it_trains(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.mid"
    write_midi(tune(5, bars=6), path)
    wrong = (
        ["--infill", str(path)],
        ["--infill", str(path), "--bars", "7-9"],
        ["--vary", str(path), "--density", "2-4"],
        ["--humanise", str(path), "--bars", "4"],
    )
    for options in wrong:
        out = tmp_path / "out"
        assert main(["run", str(folder), "--preset", "tiny", "--out", str(out), *options]) == 2, options
        assert not out.exists() and capsys.readouterr().err.count("cadenza:") == 1
