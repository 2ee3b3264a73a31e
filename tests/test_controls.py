"""Controls hold exactly, whatever the network says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cadenza import ComposeOptions, Composer
from cadenza.context import bars_of
from cadenza.controls import (
    SCALES,
    Controls,
    parse_density,
    parse_metre,
    parse_names,
    parse_ranges,
    parse_scale,
)
from cadenza.errors import InputError
from cadenza.events import NoteEvents
from cadenza.grammar import NoteGrammar
from cadenza.midi import midi_bytes, write_midi
from cadenza.model_folder import ModelFolder
from cadenza.models import ModelConfig, build_model
from cadenza.presets import ARCHITECTURES
from cadenza.repertoire import Repertoire
from cadenza.runtime import GraphModel
from cadenza.sampling import PLACES, Drawing, IntArray, SamplingOptions, generate
from cadenza.score import DRUM_KIT, METRE, Score, bar_lines, instrument_name, make_notes
from cadenza.tasks import Opening
from cadenza.training import write_graphs
from cadenza.vocabulary import (
    FIRST_INSTRUMENT,
    KIND,
    METRE_KIND,
    ONSET,
    PITCH,
    REST_KIND,
    TEMPO_KIND,
    instrument_of_kind,
)
from music import improvise, random_score, tune

SEEDS = int(os.environ.get("CADENZA_SEEDS", "60"))
EVENTS = NoteEvents()
INSTRUMENTS = (0, 40, 42, 128, 136)


@pytest.fixture(scope="module")
def repertoire() -> Repertoire:
    scores = [tune(1), *(random_score(n, instruments=INSTRUMENTS) for n in range(4))]
    return Repertoire.of([EVENTS.encode(score) for score in scores], EVENTS)


def _wishes(seed: int, repertoire: Repertoire) -> Controls:
    """Some controls, drawn at random, each of them present in every second piece or so."""
    rng = np.random.default_rng([seed, 1])
    names = [instrument_name(number) for number in INSTRUMENTS]
    controls = Controls()
    if rng.random() < 0.5:
        mode = str(rng.choice(sorted(SCALES)))
        tonic = str(rng.choice(["C", "F#", "Bb", "E"]))
        controls = replace(
            controls,
            scale=parse_scale(f"{tonic} {mode}", None),
            strictness=float(rng.choice([1, 1, 0.9, 0.5])),
        )
    if rng.random() < 0.4:
        controls = replace(controls, tempo=float(rng.uniform(40, 300)))
    if rng.random() < 0.4:
        metre = int(rng.choice(repertoire.metres)) - 128
        controls = replace(controls, metre=metre)
    if rng.random() < 0.2:
        controls = replace(controls, seconds=float(rng.uniform(1, 12)))
    if rng.random() < 0.5:
        chosen = tuple(str(name) for name in rng.choice(names, rng.integers(1, 4), replace=False))
        controls = replace(controls, instruments=chosen)
    if rng.random() < 0.4:
        playing = controls.instruments or tuple(names)
        must = tuple(
            str(name) for name in rng.choice(playing, rng.integers(1, len(playing) + 1), replace=False)
        )
        controls = replace(controls, must_play=must)
    if rng.random() < 0.4:
        low = int(rng.integers(40, 60))
        name = (controls.instruments or ("violin",))[0]
        if name not in ("drums", "brush-drums"):
            controls = replace(controls, ranges={name: (low, low + int(rng.integers(12, 30)))})
    if rng.random() < 0.5:
        controls = replace(controls, polyphony=int(rng.integers(1, 4)))
    if rng.random() < 0.5:
        least = int(rng.integers(0, 9))
        most = least + int(rng.integers(0, 6)) or None
        controls = replace(controls, density=(least, most))
    if rng.random() < 0.3:
        controls = replace(controls, max_repeat=int(rng.integers(1, 4)))
    return controls


def _check(controls: Controls, events: IntArray, score: Score, start: int = 0) -> None:
    """Raise AssertionError unless the music from step `start` on keeps to the controls."""
    notes = score.notes[score.notes["onset"] >= start]
    pitched = notes[notes["instrument"] < DRUM_KIT]
    if controls.scale is not None:
        foreign = ~np.isin(pitched["pitch"] % 12, sorted(controls.scale))
        assert foreign.sum() <= (1 - controls.strictness) * len(pitched) + 1e-9
    if controls.instruments:
        allowed = {*controls.instruments, *controls.must_play}
        assert {instrument_name(i) for i in notes["instrument"]} <= allowed
    assert {*controls.must_play} <= {instrument_name(i) for i in notes["instrument"]}
    for name, (low, high) in controls.ranges.items():
        pitch = [n["pitch"] for n in notes if instrument_name(n["instrument"]) == name]
        assert all(low <= p <= high for p in pitch)
    if controls.polyphony is not None:
        assert _most_at_once(pitched) <= controls.polyphony
    if controls.max_repeat is not None:
        assert _longest_repeat(events, EVENTS, start) <= controls.max_repeat
    least, most = controls.density
    lines = bar_lines(score, int(events[:, ONSET].sum()))
    lines = lines[lines >= start]
    counts = np.histogram(notes["onset"], lines)[0] if len(lines) > 1 else np.array([])
    assert all(least <= count and (most is None or count <= most) for count in counts), counts
    kinds = events[:, KIND]
    if controls.metre is not None or controls.seconds is not None:
        assert (kinds == METRE_KIND).sum() <= 1 + (start > 0)
    if controls.tempo is not None:
        later = score.tempi[score.tempi["tick"] >= start]
        assert len(later) <= 1
    if controls.seconds is not None and start == 0:
        assert (kinds == TEMPO_KIND).sum() == 1
        qpm = controls.tempo or float(score.tempi["qpm"][0])
        bar = float(np.diff(lines)[0]) / score.ticks_per_quarter * 60 / qpm
        length = float(lines[-1]) / score.ticks_per_quarter * 60 / qpm
        assert abs(length - controls.seconds) <= bar / 2 + 1e-6 or len(lines) == 2


def _longest_repeat(events: IntArray, representation: NoteEvents, start: int = 0) -> int:
    """Bars of the longest passage that ends after step `start` and was heard before, empty bars aside."""
    step = np.cumsum(events[:, ONSET])
    bars = bars_of(events, representation.steps_per_quarter)
    contents: dict[int, list[tuple[int, int, int]]] = {}
    metre = np.searchsorted(bars.start, step, side="right") - 1
    position = (step - bars.start[metre]) % bars.length[metre]
    for bar, place, event in zip(
        bars.number_of(step).tolist(), position.tolist(), events.tolist(), strict=True
    ):
        if FIRST_INSTRUMENT <= event[KIND] < REST_KIND:
            contents.setdefault(bar, []).append((place, event[KIND], event[PITCH]))
    heard = [tuple(contents[bar]) for bar in sorted(contents)]
    first_new = sum(bar < int(bars.number_of(np.array([start]))[0]) for bar in contents)
    longest = 0
    for last in range(first_new, len(heard)):
        for other in range(last):
            length = 0
            while length <= other and heard[last - length] == heard[other - length]:
                length += 1
            longest = max(longest, length)
    return longest


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_longer_passage_comes_twice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    narrow = NoteEvents(
        steps_per_quarter=int(rng.integers(1, 3))
    )  # so few ways that bars repeat all the time
    onset = np.arange(16) * 480
    kinds = rng.choice([0, 40, 128], rng.integers(1, 3), replace=False)
    keys = 60 + rng.integers(0, 3 + seed % 3, 16)
    piece = Score(
        480, make_notes(onset, 480, keys, 80, rng.choice(kinds, 16)), metres=np.array([(0, 2, 4)], METRE)
    )
    most = int(rng.integers(1, 4))
    controls = Controls(max_repeat=most, density=(int(rng.integers(0, 3)), 3))
    corpus = Repertoire.of([narrow.encode(piece)], narrow)
    prompt = narrow.encode(piece)[:-1]
    begun = NoteGrammar(narrow, corpus, 30, controls)
    continued = NoteGrammar.after(narrow, corpus, 30, prompt, 16 * narrow.steps_per_quarter, controls)
    for grammar, start, events in (
        (begun, 0, prompt[:0]),
        (continued, 16 * narrow.steps_per_quarter, prompt),
    ):
        try:
            drawn = improvise(grammar, narrow, seed)
        except InputError as error:  # three keys and a bar of two places may leave nothing new
            assert "leave no way" in str(error) and len(corpus.kinds) == 1  # noqa: PT017
            continue
        whole = np.concatenate([events.astype(np.int64), drawn])
        assert _longest_repeat(whole, narrow, start) <= most


def _most_at_once(notes: Any) -> int:
    """Of all instruments, the most notes that one sounds at the same time."""
    found = 0
    for instrument in np.unique(notes["instrument"]):
        own = notes[notes["instrument"] == instrument]
        ends = own["onset"] + own["duration"]
        found = max(found, *(int(((own["onset"] <= t) & (ends > t)).sum()) for t in own["onset"]))
    return found


def _refused(error: InputError) -> bool:
    """Whether these wishes contradict each other: nothing was composed."""
    return any(
        word in str(error) for word in ("has room for", "no note left", "places for notes", "does not play")
    )


def _unless_refused(make: Callable[[], NoteGrammar]) -> NoteGrammar | None:
    """The rules, or None where the wishes contradict each other."""
    try:
        return make()
    except InputError as error:
        if not _refused(error):
            raise
        return None


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_is_drawn_keeps_to_all_controls(seed: int, repertoire: Repertoire) -> None:
    controls = _wishes(seed, repertoire)
    grammar = _unless_refused(lambda: NoteGrammar(EVENTS, repertoire, 1 + seed % 6, controls))
    if grammar is None:
        return
    events = improvise(grammar, EVENTS, seed)
    _check(controls, events, EVENTS.decode(events))


@pytest.mark.parametrize("seed", range(SEEDS // 2))
def test_a_continuation_keeps_to_them_from_where_it_begins(seed: int, repertoire: Repertoire) -> None:
    controls = _wishes(seed, repertoire)
    prompt = EVENTS.encode(tune(seed, bars=3))[:-1]
    start = 3 * 48
    grammar = _unless_refused(
        lambda: NoteGrammar.after(EVENTS, repertoire, 1 + seed % 6, prompt, start, controls)
    )
    if grammar is None:
        return
    events = np.concatenate([prompt.astype(np.int64), improvise(grammar, EVENTS, seed)])
    _check(controls, events, EVENTS.decode(events), start)


@pytest.mark.parametrize("seed", range(SEEDS // 2))
@pytest.mark.parametrize("microtiming", [False, True])
def test_a_prompt_that_stops_within_a_bar_is_no_dead_end(
    seed: int, microtiming: bool, repertoire: Repertoire
) -> None:
    representation = NoteEvents(microtiming=microtiming)
    controls = replace(_wishes(seed, repertoire), metre=None, seconds=None)
    prompt = representation.encode(tune(seed, bars=3))[:-1]
    rng = np.random.default_rng(seed)
    end = int(prompt[:, ONSET].sum()) + int(rng.integers(1, 60))
    grammar = _unless_refused(lambda: NoteGrammar.after(representation, repertoire, 3, prompt, end, controls))
    if grammar is None:
        return
    events = improvise(grammar, representation, seed)
    step = np.cumsum(np.concatenate([prompt.astype(np.int64), events])[:, ONSET])
    first, last = -(-end // 48) * 48, int(step[-1])
    assert step[len(prompt)] >= end and last == first + 3 * 48
    notes = step[len(prompt) :][(events[:, KIND] > TEMPO_KIND) & (events[:, KIND] < REST_KIND)]
    counts = np.histogram(notes, np.arange(first, last + 1, 48))[0]
    least, most = controls.density
    assert all(least <= count and (most is None or count <= most) for count in counts), counts


def test_a_prompt_that_ends_in_a_long_silence_is_continued_where_it_stops() -> None:
    prompt = replace(tune(2, bars=2), metres=np.array([(0, 24, 8), (1920, 4, 4)], dtype=METRE))
    opening = Opening.of(prompt, 1, EVENTS)
    assert opening.events[:, ONSET].sum() <= opening.end == 48


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("prompt", [None, tune(4, bars=2)])
def test_every_network_keeps_to_all_controls_at_once(
    models: dict[str, Path], kind: str, prompt: Score | None
) -> None:
    wishes: dict[str, Any] = {"key": "E minor", "key_strictness": 0.9, "tempo": 97, "metre": "4/4"}
    wishes |= {"instruments": "piano, violin", "must_play": "violin", "ranges": "piano: C3-C6, violin: G3-E6"}
    wishes |= {"polyphony": 2, "density": "3-8", "max_repeat": 1}
    known = {"violin"} <= _names(models[kind])
    if not known:
        wishes |= {"instruments": "piano", "must_play": "piano", "ranges": "piano: C3-C6"}
    composer = Composer.from_pretrained(models[kind])
    for piece in composer.compose_many(prompt=prompt, num=4, bars=3, seed=5, **wishes):
        score = piece.score
        start = 0 if prompt is None else 2 * 4 * score.ticks_per_quarter
        events = EVENTS.encode(score).astype(np.int64)
        _check(ComposeOptions(**wishes).controls(), events, score, start)
        assert score.tempi["qpm"][score.tempi["tick"] >= start].tolist() == [97]
        assert {name: piece.sidecar["options"][name] for name in wishes} == wishes


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, GraphModel]:
    """An untrained network of each architecture, which knows nothing of what is asked for."""
    found = {}
    for kind in ARCHITECTURES:
        torch.manual_seed(1)
        config = ModelConfig(kind, width=16, layers=1, head_width=8, heads=2, memory=16)
        weights = build_model(config, EVENTS.schema).state_dict()
        folder = tmp_path_factory.mktemp(kind)
        write_graphs(folder, weights, asdict(config), EVENTS, ["fp32"])
        found[kind] = GraphModel(folder / "graph-fp32", EVENTS.schema)
    return found


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("seed", range(SEEDS // 6))
def test_whatever_a_network_draws_keeps_to_all_controls(
    kind: str, seed: int, repertoire: Repertoire, networks: dict[str, GraphModel]
) -> None:
    controls = _wishes(seed, repertoire)
    grammar = _unless_refused(lambda: NoteGrammar(EVENTS, repertoire, 1 + seed % 6, controls))
    if grammar is None:
        return
    options = SamplingOptions(temperature=2.0 if seed % 2 else 1.0, min_p=0.0 if seed % 3 else 0.2)
    drawing = Drawing(0, grammar, np.random.default_rng(seed))
    events = np.array(_drawn(networks[kind], [drawing], options)[0], np.int64)
    _check(controls, events, EVENTS.decode(events))


def _drawn(
    network: GraphModel, drawings: list[Drawing], options: SamplingOptions
) -> dict[int, list[list[int]]]:
    found: dict[int, list[list[int]]] = {drawing.number: [] for drawing in drawings}
    take = partial(next, iter(drawings), None)
    for step in generate(network, take, EVENTS.schema, options):
        for number, event in step:
            found[number].append(event)
    return found


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_what_is_drawn_for_a_candidate_is_the_same_alone_and_in_a_place_that_others_had(
    kind: str, repertoire: Repertoire, networks: dict[str, GraphModel]
) -> None:
    def drawn(numbers: range) -> dict[int, list[list[int]]]:
        drawings = [
            Drawing(n, NoteGrammar(EVENTS, repertoire, 4 + n % 5), np.random.default_rng(n)) for n in numbers
        ]
        return _drawn(networks[kind], drawings, SamplingOptions())

    last = PLACES + 3
    together = drawn(range(last + 1))
    assert len({str(events) for events in together.values()}) == last + 1
    assert together[last] == drawn(range(last, last + 1))[last]


def _names(model: Path) -> set[str]:
    repertoire = ModelFolder.open(model).repertoire
    assert repertoire is not None
    return {instrument_name(int(i)) for i in instrument_of_kind(np.array(repertoire.kinds))}


def test_seconds_are_kept_to_the_nearest_bar(models: dict[str, Path]) -> None:
    composer = Composer.from_pretrained(models["lstm"])
    piece = composer.compose(seconds=12.2, tempo=120, metre="4/4", density="1-", seed=1)
    bar = 4 * piece.score.ticks_per_quarter
    assert (piece.score.notes["onset"].max() // bar) + 1 == 6  # 12.2 s at 2 s a bar


def test_a_piece_is_composed_again_from_its_sidecar(models: dict[str, Path], tmp_path: Path) -> None:
    composer = Composer.from_pretrained(models["gru"])
    wishes: dict[str, Any] = {"key": "G major", "tempo": 101.5, "polyphony": 3}
    pieces = list(composer.compose_many(num=PLACES + 2, bars=3, seed=9, temperature=0.9, **wishes))
    for piece in (pieces[1], pieces[-1]):
        sidecar = json.loads(json.dumps(piece.sidecar))
        again = composer.again(sidecar)
        assert midi_bytes(again.score) == midi_bytes(piece.score)
        assert again.sidecar == piece.sidecar
    with pytest.raises(InputError, match=r"composed with model gru [0-9a-f]{16}, not lstm"):
        Composer.from_pretrained(models["lstm"]).again(pieces[0].sidecar)
    broken: Any
    for broken in ({}, [], {**pieces[0].sidecar, "options": 3}, {**pieces[0].sidecar, "piece": "x"}):
        with pytest.raises(InputError, match="JSON file that lies beside"):
            composer.again(broken)


@pytest.mark.parametrize(
    ("wishes", "complaint"),
    [
        ({"key": "H minor"}, "not a note name"),
        ({"key": "C sad"}, "no such mode"),
        ({"key": "C", "scale": "C E G"}, "not both"),
        ({"scale": "C E3"}, "not a note name"),
        ({"key_strictness": 0.5}, "needs a key"),
        ({"key": "C", "key_strictness": 2.0}, "between 0 and 1"),
        ({"tempo": 5.0}, "between 30 and 480"),
        ({"metre": "3"}, "not a metre"),
        ({"metre": "3/5"}, "not a metre"),
        ({"metre": "23/32"}, "never saw the metre 23/32"),
        ({"seconds": 0.1}, "between 1 and 3600"),
        ({"instruments": " , "}, "names no instrument"),
        ({"instruments": "banjo"}, "never saw banjo"),
        ({"instruments": "panio"}, "Did you mean piano"),
        ({"ranges": "piano"}, "is not an instrument and two notes"),
        ({"ranges": "piano: C5-C4"}, "lies above"),
        ({"ranges": "piano: C-C4"}, "with its octave"),
        ({"ranges": "piano: C4-C40"}, "outside MIDI"),
        ({"ranges": "piano: C#4-C#4", "key": "C major"}, "piano has no note left"),
        ({"polyphony": 0}, "between 1 and 128"),
        ({"density": "9-4"}, "not a number of notes in a bar"),
        ({"ranges": "piano: C3-C4, Piano: C5-C6"}, "twice"),
        ({"density": "9" * 5000 + "-"}, "not a number of notes in a bar"),
        ({"density": "many"}, "not a number of notes in a bar"),
        ({"density": "4000-"}, "places for notes"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence_before_anything_is_composed(
    models: dict[str, Path], wishes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        Composer.from_pretrained(models["lstm"]).compose_many(**wishes)


def test_instruments_that_nobody_named_are_dropped_if_they_cannot_play(repertoire: Repertoire) -> None:
    one_note = replace(repertoire, pitch_ranges={**repertoire.pitch_ranges, repertoire.kinds[1]: (61, 61)})
    for wishes in ({"must_play": ("piano",)}, {"ranges": {"piano": (48, 72)}}, {"instruments": ("piano",)}):
        controls = Controls(scale=parse_scale("C", None), **wishes)
        assert repertoire.kinds[1] not in controls.narrowed(one_note, 12).kinds
    with pytest.raises(InputError, match="violin has a range but does not play"):
        Controls(instruments=("piano",), ranges={"violin": (55, 88)}).narrowed(repertoire, 12)
    loose = Controls(scale=parse_scale("C", None), strictness=0.0, must_play=("piano",))
    assert repertoire.kinds[1] in loose.narrowed(one_note, 12).kinds


def test_who_must_play_is_among_those_who_may(repertoire: Repertoire) -> None:
    controls = Controls(instruments=("piano",), must_play=("violin",))
    with pytest.raises(InputError, match="violin must play, but is not among the instruments; add it"):
        controls.narrowed(repertoire, 12)


def test_a_range_may_be_wider_than_the_corpus_has(repertoire: Repertoire) -> None:
    found = Controls(ranges={"violin": (40, 110)}).narrowed(repertoire, 12)
    assert (40, 110) in found.pitch_ranges.values() and (40, 110) not in repertoire.pitch_ranges.values()


def test_a_long_piece_in_seconds_has_room_for_all_that_must_play(repertoire: Repertoire) -> None:
    controls = Controls(
        seconds=60, tempo=120.0, metre=parse_metre("4/4"), must_play=("piano", "violin"), density=(0, 1)
    )
    for wishes in (controls, replace(controls, metre=None, tempo=None)):
        events = improvise(NoteGrammar(EVENTS, repertoire, 1, wishes), EVENTS, 1)
        _check(wishes, events, EVENTS.decode(events))
    with pytest.raises(InputError, match="has room for 1"):
        NoteGrammar(EVENTS, repertoire, 16, replace(controls, seconds=2))


def test_a_piece_is_composed_again_from_the_same_prompt_alone(
    models: dict[str, Path], tmp_path: Path
) -> None:
    composer = Composer.from_pretrained(models["gru"])
    path = tmp_path / "prompt.mid"
    write_midi(tune(3, bars=2), path)
    piece = composer.compose(prompt=path, bars=2, seed=1)
    assert midi_bytes(composer.again(piece.sidecar).score) == midi_bytes(piece.score)
    write_midi(tune(4, bars=2), path)
    with pytest.raises(InputError, match="other music"):
        composer.again(piece.sidecar)
    path.unlink()
    with pytest.raises(InputError, match=r"made from .*prompt.mid, which is not there"):
        composer.again(piece.sidecar)
    of_score = composer.compose(prompt=tune(3, bars=2), bars=2, seed=1)
    assert midi_bytes(composer.again(of_score.sidecar, tune(3, bars=2)).score) == midi_bytes(of_score.score)
    with pytest.raises(InputError, match="was no file"):
        composer.again(of_score.sidecar)
    with pytest.raises(InputError, match="int8"):
        Composer.from_pretrained(models["gru"], "fp32").again(
            {**piece.sidecar, "model": {**piece.sidecar["model"], "precision": "int8"}}
        )


def test_a_model_of_names_keeps_to_no_controls(models: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="cannot keep to key"):
        Composer.from_pretrained(models["tokens"]).compose_many(key="C major")


def test_words_become_controls() -> None:
    assert parse_scale("d  minor", None) == frozenset({2, 4, 5, 7, 9, 10, 0})
    assert parse_scale("Bb", None) == parse_scale("A# major", None) == frozenset({10, 0, 2, 3, 5, 7, 9})
    assert parse_scale("a", None) == parse_scale("A minor", None)
    assert parse_scale(None, "C, E G♭") == frozenset({0, 4, 6})
    assert parse_ranges("violin: G3-E6, cello: C2 - C4") == {"violin": (55, 88), "cello": (36, 60)}
    assert parse_scale("Am", None) == parse_scale("a minor", None)
    assert parse_scale(None, "C, E, G,") == frozenset({0, 4, 7})
    assert parse_ranges("piano: C-1-G9") == {"piano": (0, 127)}
    assert [parse_density(text) for text in ("4-12", "4-", "-12", None)] == [
        (4, 12),
        (4, None),
        (0, 12),
        (0, None),
    ]
    assert parse_names("violin, Steel Guitar") == ("violin", "Steel Guitar")
    assert parse_metre("6/8") == parse_metre(" 6 / 8 ")
