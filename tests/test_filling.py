"""Filling a user's piece: what is given stays note for note, whatever a network draws for the rest."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from cadenza.context import bars_of
from cadenza.controls import Controls
from cadenza.errors import InputError
from cadenza.events import NoteEvents
from cadenza.filling import FillGrammar, OrchestraGrammar
from cadenza.gaps import Gap, random_gap
from cadenza.midi import midi_bytes, parse_midi
from cadenza.options import ComposeOptions
from cadenza.repertoire import Repertoire
from cadenza.score import DRUM_KIT, METRE, TEMPO, NoteArray, Score, make_notes
from cadenza.source import Source
from cadenza.tasks import Orchestration
from cadenza.vocabulary import (
    FIRST_INSTRUMENT,
    KIND,
    PITCH,
    SHIFT,
    VELOCITY,
    instrument_of_kind,
    kind_of_instrument,
)
from music import improvise, random_score, tune

SEEDS = int(os.environ.get("CADENZA_SEEDS", "40"))


def _repertoire(notes: NoteEvents) -> Repertoire:
    scores = [random_score(seed, 200, instruments=(0, 32, 40, 42, DRUM_KIT)) for seed in range(3)]
    return Repertoire.of([notes.encode(score) for score in scores], notes)


def _piece(seed: int) -> Score:
    rng = np.random.default_rng([seed, 7])
    choice = seed % 4
    if choice == 0:
        return tune(seed, bars=int(rng.integers(1, 12)))
    score = random_score(seed, int(rng.integers(2, 160)), on_grid=choice != 3)
    if seed % 3 == 0:  # notes that end off the grid, and long ones
        notes = score.notes.copy()
        notes["duration"] = notes["duration"] * int(rng.integers(1, 12)) + int(rng.integers(0, 40))
        score = replace(score, notes=notes)
    if choice == 2:  # a shift against the grid and empty bars in front
        notes = score.notes.copy()
        notes["onset"] += int(rng.integers(0, 3)) * 1440 + 7
        return Score(480, notes, score.tempi, np.array([(0, 3, 4)], METRE))
    return score


def given_notes(source: Source, gap: Gap) -> NoteArray:
    """The file's notes that lie outside a gap, told apart by hand."""
    step = source.representation.steps_of(source.laid)
    bar = bars_of(source.events, source.representation.steps_per_quarter).number_of(step)
    free = [
        bool(gap.free[min(b, source.bars - 1), kind])
        for b, kind in zip(
            bar.tolist(), kind_of_instrument(source.score.notes["instrument"]).tolist(), strict=True
        )
    ]
    return source.score.notes[~np.array(free)]


def _missing(notes: NoteArray, among: NoteArray) -> Counter[tuple[int, ...]]:
    """Those of the notes that are not among the others."""
    return Counter(map(tuple, notes.tolist())) - Counter(map(tuple, among.tolist()))


def _same(a: NoteArray, b: NoteArray) -> bool:
    return sorted(map(tuple, a.tolist())) == sorted(map(tuple, b.tolist()))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_is_given_stays_note_for_note(seed: int) -> None:
    rng = np.random.default_rng(seed)
    notes = NoteEvents(microtiming=seed % 5 == 4)
    source = Source.of(_piece(seed), notes)
    kinds = sorted({*source.kinds, *([FIRST_INSTRUMENT + 42] if seed % 3 == 0 else [])})
    gap = random_gap(rng, source.bars, kinds)
    polyphony = None if seed % 2 else 1
    scale = frozenset({0, 2, 4, 5, 7, 9, 11}) if seed % 3 == 1 else None
    controls = Controls(scale=scale, polyphony=polyphony)
    grammar = FillGrammar(notes, _repertoire(notes), source.events, source.free_from, gap, kinds, controls)
    events = improvise(grammar, notes, seed)
    filled = source.filled(gap, events, grammar.is_new)

    kept = replace(filled, notes=given_notes(source, gap))
    assert not _missing(kept.notes, filled.notes)
    assert filled.ticks_per_quarter % 480 == 0
    np.testing.assert_array_equal(filled.tempi["qpm"], source.score.tempi["qpm"])
    np.testing.assert_array_equal(filled.metres, source.score.metres)
    # Nor does the file cut any of them.
    alone, together = (parse_midi(midi_bytes(score)).notes for score in (kept, filled))
    assert not _missing(alone, together)
    # The new notes lie in the gap, and keep to the controls.
    flags = np.array(grammar.is_new)
    step = np.cumsum(events[:, 0])
    assert (np.diff(step) >= 0).all() and step[-1] <= source.steps[-1]
    drawn = events[flags]
    assert gap.free[grammar.bar_of_step[step[flags]], drawn[:, KIND]].all()
    if scale is not None:
        pitched = drawn[instrument_of_kind(drawn[:, KIND]) < DRUM_KIT]
        assert np.isin(pitched[:, PITCH] % 12, list(scale)).all()


def test_an_empty_gap_gives_the_file_back() -> None:
    notes = NoteEvents()
    for seed in range(8):
        source = Source.of(_piece(seed), notes)
        gap = source.gap(None, [])
        grammar = FillGrammar(notes, _repertoire(notes), source.events, source.free_from, gap, source.kinds)
        events = improvise(grammar, notes, seed)
        np.testing.assert_array_equal(events, source.events[: len(events)])
        assert _same(source.filled(gap, events, grammar.is_new).notes, source.score.notes)


@pytest.mark.parametrize("microtiming", [False, True])
def test_humanising_keeps_the_notes_and_draws_loudness_and_timing(microtiming: bool) -> None:
    notes = NoteEvents(microtiming=microtiming)
    source = Source.of(tune(3), notes)
    grammar = FillGrammar(
        notes,
        _repertoire(notes),
        source.events,
        source.free_from,
        source.gap(None, []),
        source.kinds,
        loose=frozenset({VELOCITY, SHIFT}),
    )
    human = source.humanised(improvise(grammar, notes, 1))
    for name in ("pitch", "instrument"):
        assert sorted(human.notes[name].tolist()) == sorted(source.score.notes[name].tolist())
    assert len(set(human.notes["velocity"].tolist())) > 4
    moved = np.sort(human.notes["onset"]) - np.sort(source.score.notes["onset"])
    assert (np.abs(moved) <= source.score.ticks_per_quarter // notes.steps_per_quarter // 2 + 1).all()
    assert moved.any() == microtiming


@pytest.mark.parametrize("seed", range(SEEDS))
def test_an_orchestra_plays_the_same_notes(seed: int) -> None:
    notes, rng = NoteEvents(), np.random.default_rng(seed)
    source = Source.of(_piece(seed), notes)
    repertoire = _repertoire(notes)
    first, *others = rng.permutation(repertoire.kinds[:-1]).tolist()  # all but the drums
    ranges = {kind: tuple(np.sort(rng.integers(20, 100, 2)).tolist()) for kind in others} | {first: (20, 100)}
    repertoire = replace(repertoire, pitch_ranges=repertoire.pitch_ranges | ranges)
    kinds = [first, *(kind for kind in others if rng.random() < 0.7)]
    grammar = OrchestraGrammar(notes, repertoire, source.events, kinds, source.bars)
    events = improvise(grammar, notes, seed)
    score = source.orchestrated(events)
    pitched, before = (
        {(int(n["onset"]), int(n["pitch"])) for n in s.notes if n["instrument"] < DRUM_KIT}
        for s in (score, source.score)
    )
    assert pitched <= before
    step = source.representation.steps_of(source.laid)
    places = {
        (int(s), int(p))
        for s, p, i in zip(step, source.score.notes["pitch"], source.score.notes["instrument"], strict=True)
        if i < DRUM_KIT
    }
    assert len(pitched) >= len(places)
    allowed = set(instrument_of_kind(np.array(kinds)).tolist())
    assert {i for i in score.instruments if i < DRUM_KIT} <= allowed
    drums, drums_before = (s.notes[s.notes["instrument"] >= DRUM_KIT] for s in (score, source.score))
    assert _same(drums, drums_before)


@pytest.mark.parametrize("seed", range(20))
def test_an_ensemble_plays_every_key_by_other_players_if_they_can(seed: int) -> None:
    notes = NoteEvents()
    piano = Source.of(tune(seed), notes)
    others = random_score(seed, instruments=(0, 40, 42, 73))
    repertoire = Repertoire.of([notes.encode(others), piano.events], notes)
    task = Orchestration.of(piano, ComposeOptions(), repertoire)
    found = [task.begin(number, seed) for number in range(4)]
    score = task.score(improvise(found[0], notes, seed), found[0])
    assert {(n["onset"], n["pitch"]) for n in score.notes} == {
        (n["onset"], n["pitch"]) for n in piano.score.notes
    }
    wide = replace(repertoire, pitch_ranges=dict.fromkeys(repertoire.kinds, (0, 127)))
    ensembles = {
        tuple(Orchestration.of(piano, ComposeOptions(), wide).begin(n, seed).kinds) for n in range(8)
    }
    assert all(len(kinds) == 1 and kinds[0] not in piano.kinds for kinds in ensembles) and len(ensembles) > 1


def test_an_orchestra_that_cannot_play_a_note_is_refused() -> None:
    notes = NoteEvents()
    source = Source.of(tune(1), notes)
    repertoire = Repertoire.of([notes.encode(random_score(1, instruments=(40,)))], notes)
    narrow = replace(repertoire, pitch_ranges={repertoire.kinds[0]: (60, 80)})
    with pytest.raises(InputError, match="lies outside the ranges of violin"):
        OrchestraGrammar(notes, narrow, source.events, narrow.kinds, source.bars)


def test_bars_are_counted_as_in_the_file() -> None:
    score = tune(1, bars=6)
    notes = score.notes.copy()
    notes["onset"] += 2 * 1920  # two empty bars in front
    source = Source.of(Score(480, notes, score.tempi, score.metres), NoteEvents())
    assert (source.leading_bars, source.bars) == (2, 6)
    gap = source.gap([(3, 3), (8, 8)], source.kinds)
    assert gap.who.tolist() == [2, 0, 0, 0, 0, 2]
    for first, last in ((9, 9), (1, 2), (2, 3), (7, 9)):
        with pytest.raises(InputError, match=f"bars {first}-{last} do not lie within the piece, .* 3 to 8"):
            source.gap([(first, last)], source.kinds)


def test_a_file_too_fine_for_its_grid_keeps_its_resolution() -> None:
    score = tune(1, bars=4)
    fine = Score(9999, score.notes, score.tempi, score.metres)
    source = Source.of(fine, NoteEvents())
    assert source.score.ticks_per_quarter == 9999  # 4 times as many, which 12 divides, a file cannot tell
    late = np.array([(0, 120.0), (2**30, 60.0)], TEMPO)
    with pytest.raises(InputError, match="too long for its resolution"):
        Source.of(Score(1000, score.notes, late, score.metres), NoteEvents())


def test_a_performance_in_free_time_is_filled_in_its_own_time() -> None:
    rng = np.random.default_rng(0)
    onset = np.sort(rng.integers(0, 48_000, 200))
    score = Score(
        480, make_notes(onset, 200, rng.integers(40, 80, 200)), np.array([(0, 120.0), (9_600, 60.0)], TEMPO)
    )
    notes = NoteEvents(microtiming=True)
    source = Source.of(score, notes)
    assert source.laid.is_free
    gap = source.gap([(5, 8)], source.kinds)
    grammar = FillGrammar(notes, _repertoire(notes), source.events, source.free_from, gap, source.kinds)
    filled = source.filled(gap, improvise(grammar, notes, 3), grammar.is_new)
    assert filled.end <= source.score.end + source.score.ticks_per_quarter * 4
    assert not _missing(given_notes(source, gap), filled.notes)
