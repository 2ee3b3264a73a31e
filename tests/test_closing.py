"""Closing: what last bars have more of is counted, and a new piece's last bar tends to it."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from cadenza.closing import Closing, Endings, key_of
from cadenza.events import NoteEvents
from cadenza.grammar import NoteGrammar
from cadenza.repertoire import Repertoire
from cadenza.score import METRE, Score, estimate_key, make_notes
from cadenza.vocabulary import DURATION, ONSET, PITCH, kind_of_instrument
from music import drawn, tune

NOTES = NoteEvents()
PIANO = int(kind_of_instrument(np.array([0]))[0])


def _ending(seed: int) -> Score:
    """A tune whose last bar is one long chord on C."""
    score = tune(seed, bars=7)
    bar = 4 * 480
    chord = make_notes([7 * bar] * 3, bar, [60, 52, 36], 80)
    return Score(480, np.concatenate([score.notes, chord]), score.tempi, np.array([(0, 4, 4)], dtype=METRE))


PIECES = [NOTES.encode(_ending(seed)) for seed in range(12)]
ENDINGS = Endings.of(PIECES, NOTES)


def test_what_last_bars_have_more_of_is_counted() -> None:
    (low, _), (others, _) = np.array(ENDINGS.degrees).reshape(2, 2, 12)
    assert low.argmax() == 0 and low[0] > 0.5 and low[5] < 0
    assert others.argmax() in (0, 4) and others[2] < 0 and others[7] < 0
    whole, eighth = (np.searchsorted(NOTES.durations, steps) for steps in (48, 6))
    closing = Closing(ENDINGS, NOTES)
    lengths = closing.tilt(DURATION, PIANO)
    assert lengths is not None and lengths[whole] > 0.5 > 0 > lengths[eighth]
    assert closing.tilt(ONSET, -1) is None


def test_where_pieces_end_as_they_go_on_nothing_is_asked_for() -> None:
    as_ever = Endings.of([NOTES.encode(tune(seed, bars=10)) for seed in range(80)], NOTES)
    assert all(np.abs(part).max() < 0.8 for part in (as_ever.degrees, as_ever.lengths))
    assert not any(Endings.of([], NOTES).lengths)


def test_they_are_told_from_the_tonic_whatever_the_key() -> None:
    closing = Closing(ENDINGS, NOTES)
    for tonic in (0, 6):
        heard = Closing(ENDINGS, NOTES)
        for degree in (0, 2, 4, 5, 7, 9, 11, 0, 4, 7):
            heard.advance(PIANO, 60 + tonic + degree, 12, degree)
        assert key_of(heard.heard) == (tonic, 0)
        tilt = heard.tilt(PITCH, PIANO)
        assert tilt is not None and tilt[:48].argmax() % 12 == tonic
    assert closing.tilt(PITCH, PIANO) is None  # nothing heard yet


def test_key_of_is_the_key_that_is_shown() -> None:
    for seed in range(8):
        score = tune(seed)
        heard = np.bincount(score.notes["pitch"] % 12, score.notes["duration"], 12).astype(np.float64)
        tonic, mode = key_of(heard)
        name = ("C Db D Eb E F F# G Ab A Bb B".split(), "C C# D Eb E F F# G G# A Bb B".split())[mode][tonic]
        assert estimate_key(score) == f"{name} {('major', 'minor')[mode]}"


def test_endings_are_mixed_and_come_back_from_json() -> None:
    nothing = Endings.of([], NOTES)
    half = Endings.mixed([ENDINGS, nothing], [0.5, 0.5])
    np.testing.assert_allclose(half.degrees, np.array(ENDINGS.degrees) / 2, atol=1e-3)
    told = asdict(ENDINGS)
    assert Endings.from_dict(json.loads(json.dumps(told))) == ENDINGS
    for wrong in ({}, {**told, "degrees": [1.0]}, {**told, "lengths": [np.inf] * 11}):
        with pytest.raises((KeyError, ValueError)):
            Endings.from_dict(wrong)


def test_pieces_by_a_network_that_knows_nothing_tend_to_such_ends() -> None:
    repertoire = Repertoire.of(PIECES, NOTES)

    def short_notes_in_last_bars(closing: Closing | None) -> int:
        found = 0
        for seed in range(40):
            grammar = NoteGrammar(NOTES, repertoire, bars=2)
            grammar.closing = closing and closing.copy()
            score = NOTES.decode(drawn(grammar, NOTES, seed))
            last = score.notes[score.notes["onset"] >= 4 * NOTES.steps_per_quarter]
            # As all notes but the last ones are.
            found += int(((last["duration"] >= 4) & (last["duration"] < 16)).sum())
        return found

    assert short_notes_in_last_bars(Closing(ENDINGS, NOTES)) < 0.5 * short_notes_in_last_bars(None)
