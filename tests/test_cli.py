"""The command line as a user meets it: exit codes, streams and files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cadenza.cli import main
from cadenza.midi import read_midi, write_midi
from cadenza.presets import ARCHITECTURES
from music import tune, write_folder

VERBS = ("inspect", "train", "compose", "run", "evaluate", "compare", "render", "serve")


def _run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])
    assert left.value.code == 0
    assert f"example: cadenza {verb} " in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [
        ["play"],
        ["compose"],
        ["train", "--minutes", "0", "--out", "x"],
        ["compose", "--out", "x", "--num", "-1"],
    ],
)
def test_wrong_usage_is_told_in_one_line_and_exits_with_2(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(wrong)
    assert left.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("cadenza") and line.endswith("--help.")


def test_without_a_verb_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = _run(capsys)
    assert code == 2 and not out
    assert all(f"\n    {verb} " in err for verb in VERBS)


def test_inspecting_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(capsys, "inspect", folder)
    assert code == 0
    assert "6 of 6 files usable" in out and "tune_0.mid: ok" in out
    code, out, _ = _run(capsys, "inspect", folder, "--json")
    told = json.loads(out)
    assert code == 0 and len(told["files"]) == told["totals"]["pieces"] == 6
    assert {"path", "verdict", "reason", "warnings", "notes", "key"} <= told["files"][0].keys()


def test_inspecting_one_file_names_its_notes_and_chords(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score = tune(0)
    write_midi(score, tmp_path / "a.mid")
    code, out, _ = _run(capsys, "inspect", tmp_path / "a.mid")
    assert code == 0 and "notes and chords: ['" in out


def test_a_folder_with_nothing_usable_exits_with_2_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "midi"
    folder.mkdir()
    (folder / "bad.mid").write_bytes(b"MThd")
    code, out, err = _run(capsys, "inspect", folder)
    assert code == 2 and "bad.mid: unreadable" in out and "nothing usable" in err
    code, out, err = _run(capsys, "train", folder, "--out", tmp_path / "model")
    assert code == 2 and out == "" and "bad.mid: unreadable" in err
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("out", [".", "model", "a/model"])
def test_nothing_is_written_among_what_is_learned_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    write_folder(tmp_path, 3)
    before = sorted(tmp_path.rglob("*"))
    code, _, err = _run(capsys, "train", tmp_path, "--out", tmp_path / out)
    assert code == 2 and "choose another --out" in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_network_of_few_steps_is_said_to_be_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_presets: None
) -> None:
    code, _, err = _run(capsys, "train", folder, "--out", tmp_path / "m", "--preset", "tiny", "--epochs", "1")
    assert code == 0 and "steps are too few to learn a style" in err


def test_a_piece_with_wishes_is_composed_again(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wishes = (
        "--num",
        "2",
        "--bars",
        "3",
        "--seed",
        "4",
        "--key",
        "A minor",
        "--tempo",
        "90",
        "--density",
        "2-9",
    )
    code, _, err = _run(capsys, "compose", models["lstm"], "--out", tmp_path / "a", *wishes)
    assert code == 0, err
    sidecar = tmp_path / "a" / "002.json"
    code, out, err = _run(capsys, "compose", models["lstm"], "--out", tmp_path / "b", "--again", sidecar)
    assert code == 0 and out.split() == [
        str(tmp_path / "b" / f"002.{suffix}") for suffix in ("mid", "svg", "musicxml", "json")
    ]
    for suffix in ("mid", "svg", "musicxml", "json"):
        assert (tmp_path / "a" / f"002.{suffix}").read_bytes() == (
            tmp_path / "b" / f"002.{suffix}"
        ).read_bytes()
    code, _, err = _run(
        capsys, "compose", models["lstm"], "--out", tmp_path / "c", "--again", sidecar, "--key", "C"
    )
    assert code == 2 and "leave out --key" in err
    code, _, err = _run(
        capsys, "compose", models["lstm"], "--out", tmp_path / "c", "--again", tmp_path / "a" / "002.mid"
    )
    assert code == 2 and "cannot be read as JSON" in err and not (tmp_path / "c").exists()


def test_the_whole_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "midi_songs")
    (tmp_path / "midi_songs" / "bad.mid").write_bytes(b"")
    code, out, err = _run(
        capsys,
        "run",
        "--preset",
        "tiny",
        "--epochs",
        1,
        "--num",
        2,
        "--bars",
        4,
        "--seed",
        3,
        "--out",
        "made",
    )
    assert code == 0
    assert "left out: midi_songs/bad.mid: empty" in err and "nats per note" in err
    for name in (
        "made/model",
        "made/001.mid",
        "made/001.svg",
        "made/001.musicxml",
        "made/001.json",
        "made/002.mid",
        "test_output.mid",
    ):
        assert name in out.splitlines()
        assert (tmp_path / name).exists()
    assert (tmp_path / "test_output.mid").read_bytes() == (tmp_path / "made/001.mid").read_bytes()
    assert json.loads((tmp_path / "made/001.json").read_text())["seed"] == 3


def test_without_a_number_a_run_composes_four_pieces(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = _run(capsys, "run", folder, "--preset", "tiny", "--epochs", 1, "--bars", 2)
    assert code == 0 and len([line for line in out.splitlines() if line.startswith("out/0")]) == 4 * 4
    assert (tmp_path / "test_output.mid").read_bytes() == (tmp_path / "out/001.mid").read_bytes()


def test_of_several_processes_only_the_first_composes_and_speaks(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANK", "1")
    code, out, err = _run(capsys, "run", folder, "--preset", "tiny", "--epochs", 1, "--out", "made")
    assert (code, out, err) == (0, "", "")
    assert not list(tmp_path.rglob("*.mid"))


def test_composing_again_gives_the_same_bytes(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        code, out, _ = _run(
            capsys, "compose", models["gru"], "--out", tmp_path / name, "--num", 2, "--bars", 3, "--seed", 1
        )
        assert code == 0 and len(out.splitlines()) == 8
    for name in ("001.mid", "002.mid", "001.svg", "001.musicxml", "001.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_continuing_a_prompt(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_midi(tune(3), tmp_path / "prompt.mid")
    arguments = ["compose", models["lstm"], "--out", tmp_path / "out", "--num", 1, "--bars", 2, "--seed", 1]
    code, _, _ = _run(capsys, *arguments, "--prompt", tmp_path / "prompt.mid", "--prompt-bars", 2)
    assert code == 0
    assert len(read_midi(tmp_path / "out" / "001.mid"))
    code, _, err = _run(capsys, *arguments, "--prompt", tmp_path / "none.mid")
    assert code == 2 and "none.mid" in err
    code, _, err = _run(capsys, *arguments, "--prompt-bars", 2)
    assert code == 2 and "--prompt" in err


@pytest.mark.parametrize("kind", [*ARCHITECTURES, "tokens"])
def test_evaluating(
    models: dict[str, Path], folder: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.mid").write_bytes(b"")
    write_midi(tune(50), tmp_path / "good.mid")
    code, out, _ = _run(capsys, "evaluate", models[kind], tmp_path, "--json")
    told = json.loads(out)
    assert code == 0 and told["pieces"] == 1 and len(told["skipped"]) == 1
    assert sum(told["by_field"].values()) == pytest.approx(told["nats_per_note"])
    fields = {"token"} if kind == "tokens" else {"onset", "instrument", "pitch", "duration", "velocity"}
    assert fields <= told["by_field"].keys()
    code, out, err = _run(capsys, "evaluate", models[kind], tmp_path)
    assert code == 0 and "nats per note" in out and "x.mid: empty" in err


def test_training_without_torch_names_the_command(folder: Path, tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "import importlib.util as u; find = u.find_spec\n"
        "import cadenza.cli as c; c.find_spec = lambda n: None if n == 'torch' else find(n)\n"
        f"sys.exit(c.main(['train', {str(folder)!r}, '--out', {str(tmp_path / 'm')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'cadenza[train]'" in done.stderr and done.stdout == ""


@pytest.mark.parametrize(
    "wrong", [["--bars", "0"], ["--temperature", "99"], ["--prompt-bars", "2"], ["--prompt", "none.mid"]]
)
def test_run_checks_composing_options_before_it_trains(
    folder: Path, tmp_path: Path, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = _run(
        capsys, "run", folder, "--preset", "tiny", "--epochs", 1, "--out", tmp_path / "o", *wrong
    )
    assert code == 2 and out == ""
    assert not (tmp_path / "o").exists()


def test_inspecting_a_file_that_cannot_be_read_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in (("a.mid", b""), ("b.mid", b"MThd"), ("c.txt", b"x")):
        (tmp_path / name).write_bytes(content)
        code, _, err = _run(capsys, "inspect", tmp_path / name)
        assert code == 2 and name in err


def test_a_missing_default_folder_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = _run(capsys, "train", "--out", "m")
    assert code == 2 and "midi_songs" in err and "--bundled" in err
    code, _, err = _run(capsys, "train", "midi_songs", "--bundled", "--out", "m")
    assert code == 2 and "not both" in err


def test_a_line_on_every_piece_says_what_it_shares(
    models: dict[str, Path], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compose = ("compose", models["lstm"], "--out", tmp_path, "--num", "2", "--bars", "2", "--seed", "1")
    code, _, err = _run(capsys, *compose, "--original")
    assert code == 0 and "001: shares " in err and "002: shares " in err and "pieces by people share" in err
    code, _, err = _run(capsys, "run", folder, "--out", tmp_path / "out", "--original", "--no-index")
    assert code == 2 and "give one of them" in err and not (tmp_path / "out").exists()
