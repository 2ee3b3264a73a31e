"""Controls hold exactly, whatever the network says."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cadenza.controls import (
    SCALES,
    Controls,
    parse_scale,
)
from cadenza.errors import InputError
from cadenza.events import NoteEvents
from cadenza.grammar import NoteGrammar
from cadenza.repertoire import Repertoire
from cadenza.sampling import IntArray
from cadenza.score import DRUM_KIT, Score, bar_lines, instrument_name
from cadenza.vocabulary import KIND, METRE_KIND, ONSET, TEMPO_KIND
from music import improvise, random_score, tune

SEEDS = int(os.environ.get("CADENZA_SEEDS", "60"))
EVENTS = NoteEvents()
INSTRUMENTS = (0, 40, 42, 128, 136)


@pytest.fixture(scope="module")
def repertoire() -> Repertoire:
    scores = [tune(1), *(random_score(n, instruments=INSTRUMENTS) for n in range(4))]
    return Repertoire.of([EVENTS.encode(score) for score in scores])


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
    return any(word in str(error) for word in ("has room for", "no note left", "places for notes"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_is_drawn_keeps_to_all_controls(seed: int, repertoire: Repertoire) -> None:
    controls = _wishes(seed, repertoire)
    try:
        grammar = NoteGrammar(EVENTS, repertoire, 1 + seed % 6, controls)
    except InputError as error:
        if not _refused(error):
            raise
        return
    events = improvise(grammar, EVENTS, seed)
    _check(controls, events, EVENTS.decode(events))


@pytest.mark.parametrize("seed", range(SEEDS // 2))
def test_a_continuation_keeps_to_them_from_where_it_begins(seed: int, repertoire: Repertoire) -> None:
    controls = _wishes(seed, repertoire)
    prompt = EVENTS.encode(tune(seed, bars=3))[:-1]
    start = 3 * 48
    try:
        grammar = NoteGrammar.after(EVENTS, repertoire, 1 + seed % 6, prompt, start, controls)
    except InputError as error:
        if not _refused(error):
            raise
        return
    events = np.concatenate([prompt.astype(np.int64), improvise(grammar, EVENTS, seed)])
    _check(controls, events, EVENTS.decode(events), start)
