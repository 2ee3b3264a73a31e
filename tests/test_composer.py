"""Composing from a trained model."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cadenza import ComposeOptions, Composer, InputError, ModelError, Score, TrainingOptions, read_midi, train
from cadenza.midi import midi_bytes
from cadenza.model_folder import CONFIG, INDEX, REPRESENTATION, WEIGHTS, write_sums
from cadenza.originality import Index
from cadenza.presets import ARCHITECTURES
from cadenza.sampling import PLACES
from cadenza.score import bar_lines, until
from cadenza.tasks import NewPiece
from music import tune

KINDS = (*ARCHITECTURES, "tokens")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    models: dict[str, Path], kind: str, precision: str
) -> None:
    pieces = [
        Composer.from_pretrained(models[kind], precision).compose(bars=4, seed=seed).score
        for seed in (1, 1, 2)
    ]
    assert midi_bytes(pieces[0]) == midi_bytes(pieces[1]) != midi_bytes(pieces[2])


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_pieces_have_the_wanted_bars_and_all_notes_closed(models: dict[str, Path], kind: str) -> None:
    for piece in Composer.from_pretrained(models[kind]).compose_many(num=3, bars=5, seed=3):
        lines = bar_lines(piece.score, piece.score.end)
        assert len(lines) - 1 <= 5
        assert (piece.score.notes["duration"] > 0).all()


def test_a_continuation_begins_with_its_prompt(models: dict[str, Path]) -> None:
    prompt = tune(9, bars=4)
    piece = (
        Composer.from_pretrained(models["lstm"]).compose(prompt=prompt, prompt_bars=2, bars=3, seed=1).score
    )
    scale = prompt.ticks_per_quarter // piece.ticks_per_quarter
    end = 2 * 4 * piece.ticks_per_quarter
    opening = piece.notes[piece.notes["onset"] < end]
    expected = until(prompt, 2 * 4 * prompt.ticks_per_quarter).notes
    np.testing.assert_array_equal(opening["onset"] * scale, expected["onset"])
    np.testing.assert_array_equal(opening["pitch"], expected["pitch"])


@pytest.mark.parametrize("prompt", [None, tune(9, bars=2)])
def test_drafts_grow_into_the_piece(
    models: dict[str, Path], prompt: Score | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cadenza.composer.DRAFT_SECONDS", 0.0)
    drafts: dict[int, list[Score]] = {1: [], 2: []}
    composer = Composer.from_pretrained(models["transformer"])
    pieces = composer.compose_many(
        prompt=prompt, num=2, bars=4, seed=3, on_draft=lambda number, score: drafts[number].append(score)
    )
    for number, piece in enumerate(pieces, 1):
        whole = _strokes(piece.score)
        parts = [_strokes(draft) for draft in drafts[number]]
        assert len(parts) > 3 and all(part <= whole for part in parts)
        assert [len(part) for part in parts] == sorted(len(part) for part in parts)
        assert parts[-1] == whole


def _strokes(score: Score) -> set[tuple[int, ...]]:
    return {(int(n["onset"]), int(n["pitch"]), int(n["instrument"])) for n in score.notes}


def test_what_is_made_out_of_a_whole_piece_has_no_drafts(models: dict[str, Path]) -> None:
    drafts: list[int] = []
    composer = Composer.from_pretrained(models["lstm"])
    list(
        composer.compose_many(vary=tune(9, bars=4), seed=3, on_draft=lambda number, _: drafts.append(number))
    )
    assert not drafts


def test_a_prompt_that_cannot_be_continued_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no notes"):
        Composer.from_pretrained(models["lstm"]).compose(prompt=Score(480), seed=1)
    with pytest.raises(InputError, match="knows no bars"):
        Composer.from_pretrained(models["tokens"]).compose(prompt=tune(1), seed=1)


def test_the_sidecar_says_how_to_compose_it_again(models: dict[str, Path], tmp_path: Path) -> None:
    composer = Composer.from_pretrained(models["lstm"])
    pieces = list(composer.compose_many(num=2, bars=4, temperature=0.9))
    paths = pieces[1].save_all(tmp_path, "002")
    assert [path.name for path in paths] == ["002.mid", "002.svg", "002.musicxml", "002.json"]
    sidecar = json.loads((tmp_path / "002.json").read_text())
    assert sidecar["options"]["temperature"] == 0.9 and sidecar["piece"] == 2
    options = {k: v for k, v in sidecar["options"].items() if k != "prompt"}
    again = list(composer.compose_many(**options, seed=sidecar["seed"]))[sidecar["piece"] - 1]
    assert midi_bytes(again.score) == (tmp_path / "002.mid").read_bytes()
    assert read_midi(tmp_path / "002.mid").instruments == pieces[1].score.instruments


@pytest.mark.parametrize(
    "wrong",
    [{"bars": 0}, {"bars": 10**9}, {"num": 0}, {"seed": -1}, {"prompt_bars": 0}, {"temperature": -1.0}],
)
def test_impossible_options_are_refused(models: dict[str, Path], wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Composer.from_pretrained(models["lstm"]).compose(**wrong)


@pytest.mark.parametrize("name", [CONFIG, REPRESENTATION])
@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format_version": 99}', "\x80"])
def test_a_damaged_model_is_refused(models: dict[str, Path], tmp_path: Path, name: str, content: str) -> None:
    broken = tmp_path / "model"
    shutil.copytree(models["lstm"], broken)
    (broken / name).write_text(content, encoding="latin-1")
    write_sums(broken)
    with pytest.raises(ModelError):
        Composer.from_pretrained(broken)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("repertoire",), None),
        (("repertoire", "kinds"), [999]),
        (("repertoire", "metres"), []),
        (("repertoire", "longest_run"), "many"),
        (("representation", "steps_per_quarter"), 12.5),
        (("representation", "velocity_levels"), 20),
        (("representation", "type"), "braille"),
    ],
)
def test_a_model_with_hostile_values_is_refused(
    models: dict[str, Path], tmp_path: Path, path: tuple[str, ...], value: Any
) -> None:
    broken = tmp_path / "model"
    shutil.copytree(models["lstm"], broken)
    data = json.loads((broken / REPRESENTATION).read_text())
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (broken / REPRESENTATION).write_text(json.dumps(data))
    write_sums(broken)
    with pytest.raises(InputError):
        Composer.from_pretrained(broken)


@pytest.mark.parametrize("sampling", [None, {"heat": 1}, {"temperature": "hot"}, {"temperature": -1}])
def test_a_model_with_impossible_sampling_options_is_refused(
    models: dict[str, Path], tmp_path: Path, sampling: Any
) -> None:
    broken = tmp_path / "model"
    shutil.copytree(models["lstm"], broken)
    config = json.loads((broken / CONFIG).read_text())
    (broken / CONFIG).write_text(json.dumps({**config, "sampling": sampling}))
    write_sums(broken)
    with pytest.raises(ModelError):
        Composer.from_pretrained(broken)


def test_silence_at_the_end_of_a_prompt_counts(models: dict[str, Path]) -> None:
    tail = tune(9, bars=6)
    silent = tail.notes[(tail.notes["onset"] < 2 * 1920) | (tail.notes["onset"] >= 4 * 1920)]
    prompt = replace(tail, notes=silent)
    piece = (
        Composer.from_pretrained(models["lstm"]).compose(prompt=prompt, prompt_bars=4, bars=2, seed=1).score
    )
    bar = 4 * piece.ticks_per_quarter
    onset = piece.notes["onset"]
    assert not ((onset >= 2 * bar) & (onset < 4 * bar)).any()
    assert piece.end <= 6 * bar


def test_a_missing_model_or_weights_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model folder"):
        Composer.from_pretrained(tmp_path / "nowhere")
    broken = tmp_path / "model"
    shutil.copytree(models["lstm"], broken)
    (broken / WEIGHTS).unlink()
    with pytest.raises(ModelError, match="missing"):
        Composer.from_pretrained(broken).compose(bars=1, seed=1)


def test_options_can_be_given_as_an_object(models: dict[str, Path]) -> None:
    composer = Composer.from_pretrained(models["gru"])
    one = composer.compose(options=ComposeOptions(bars=2, seed=5))
    other = composer.compose(bars=2, seed=5)
    assert one.score == other.score


def test_every_piece_says_what_it_shares_and_copies_are_drawn_anew(models: dict[str, Path]) -> None:
    composer = Composer.from_pretrained(models["lstm"])
    options: dict[str, Any] = {"num": 3, "bars": 12, "seed": 4}
    pieces = list(composer.compose_many(**options))
    assert all(piece.sidecar["originality"]["by_people"]["pieces"] >= 1 for piece in pieces)
    # As if the second one had been learned from.
    composer.folder.__dict__["index"] = Index.of([pieces[1].score], ["its copy"])
    found = [piece.sidecar["originality"] for piece in composer.compose_many(**options)]
    assert [each["may_be_memorised"] for each in found] == [False, True, False]
    assert found[1]["longest"]["piece"] == "its copy" and found[1]["longest"]["bars"][0] == 1
    original = list(composer.compose_many(**options, original=True))
    assert not any(piece.sidecar["originality"]["may_be_memorised"] for piece in original)
    same = [one.score == other.score for one, other in zip(pieces, original, strict=True)]
    assert same == [True, False, True]
    assert composer.again(original[1].sidecar).score == original[1].score
    humanised = composer.compose(humanise=pieces[1].score, seed=1)
    assert humanised.sidecar["originality"] is None  # its notes are the user's


def test_a_piece_is_the_same_alone_as_among_others_whoever_had_its_place_before() -> None:
    composer = Composer.from_pretrained()  # which composes in int8
    pieces = list(composer.compose_many(num=PLACES + 6, bars=8, seed=7))
    for piece in pieces:
        assert midi_bytes(composer.again(piece.sidecar).score) == midi_bytes(piece.score)


def test_drums_alone_are_drawn_anew_unless_somebody_asked_for_them(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    composer = Composer.from_pretrained(models["lstm"])
    score_of, drawn = NewPiece.score, []

    def drums_at_first(self: NewPiece, *drawing: Any) -> Score:
        drawn.append(score_of(self, *drawing))
        return _for_drums(drawn[-1]) if len(drawn) < 3 else drawn[-1]

    monkeypatch.setattr(NewPiece, "score", drums_at_first)
    piece = composer.compose(bars=2, seed=1)
    assert piece.score.instruments == [0] and piece.score == drawn[2] != drawn[0]
    drawn.clear()
    assert composer.compose(bars=2, seed=1, instruments="piano").score.instruments == [128]
    assert len(drawn) == 1


def _for_drums(score: Score) -> Score:
    notes = score.notes.copy()
    notes["instrument"] = 128
    return replace(score, notes=notes)


def test_without_an_index_nobody_can_tell_what_is_original(folder: Path, tmp_path: Path) -> None:
    options = TrainingOptions(preset="tiny", epochs=0.5, index=False)
    composer = Composer.from_pretrained(train(folder, tmp_path / "model", options))
    assert not (tmp_path / "model" / INDEX).exists()
    assert composer.compose(bars=2, seed=1).sidecar["originality"] is None
    with pytest.raises(InputError, match="--no-index"):
        composer.compose(bars=2, seed=1, original=True)
