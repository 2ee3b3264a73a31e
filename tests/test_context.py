"""The context of events: what echoes tell, and that stepping tells the same as looking at whole pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cadenza.context import (
    AHEAD_ONSET,
    AHEAD_PITCH,
    COMING_PITCH,
    ECHO_DURATION,
    ECHO_PITCH,
    ECHO_VELOCITY,
    FILL,
    FIRST_END,
    KEY,
    KEY_NOTES,
    LAST_END,
    MATCH,
    MATCH_DURATION,
    MATCH_ONSET,
    MATCH_PITCH,
    N_CONTEXT,
    NEXT_ONSET,
    SOUNDS_ON,
    STYLE,
    UNTOLD,
    ContextTracker,
    Given,
    context_of,
)
from cadenza.events import NoteEvents, kinds_of
from cadenza.gaps import Gap, random_gap
from cadenza.schema import NOT_APPLICABLE
from cadenza.score import METRE, IntArray, Score, make_notes
from cadenza.vocabulary import KIND, N_KINDS, ONSET, TEMPO_KIND, EventArray
from music import random_score, tune


def _piece(seed: int) -> Score:
    score = random_score(seed, 150) if seed % 2 else tune(seed, bars=12)
    if seed % 4 == 3:  # in free time
        return Score(480, score.notes, metres=np.array([(0, 0, 4)], METRE))
    return score


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("microtiming", [False, True])
def test_stepping_tells_the_same_as_whole_pieces(seed: int, microtiming: bool) -> None:
    score = _piece(seed)
    notes = NoteEvents(microtiming=microtiming)
    piece = notes.encode_piece(score, bars_to_come=0)
    tracker = ContextTracker(notes.steps_per_quarter, notes.max_onset, _bars(piece.context))
    _assert_told(tracker, piece.events, piece.context)


def _assert_told(tracker: ContextTracker, events: EventArray, contexts: EventArray) -> None:
    for n, event in enumerate(events.tolist()):
        context = [NOT_APPLICABLE] * N_CONTEXT
        for field in range(len(event)):
            tracker.fill(field, event, context)
        assert context == contexts[n].tolist(), f"event {n}"
        tracker.advance(event)


@pytest.mark.parametrize("seed", range(16))
def test_stepping_tells_the_same_around_a_gap(seed: int) -> None:
    notes, rng = NoteEvents(), np.random.default_rng(seed)
    events = notes.encode(_piece(seed))
    bars = int(notes.context(events, bars_to_come=0)[0, 3])
    gap = random_gap(rng, bars, kinds_of(events))
    context = notes.context(events, bars_to_come=0, gap=gap)
    given = Given(events, gap, notes.steps_per_quarter, notes.max_onset)
    assert 0 < len(given.notes) < (events[:, KIND] > TEMPO_KIND).sum() - 1
    _assert_told(ContextTracker(notes.steps_per_quarter, notes.max_onset, bars, given), events, context)
    plain = notes.context(events, bars_to_come=0)
    np.testing.assert_array_equal(context[:, :MATCH], plain[:, :MATCH])
    assert (plain[:, FILL:SOUNDS_ON] == NOT_APPLICABLE).all()
    np.testing.assert_array_equal(context[:, SOUNDS_ON:], plain[:, SOUNDS_ON:])


def test_a_style_is_told_with_every_event_and_a_mixture_by_shares() -> None:
    notes = NoteEvents(styles=("bach", "ragtime", "hymns"))
    assert notes.votes({"bach": 1.0}) == (0, 0, 0, 0)
    assert notes.votes({"bach": 0.7, "ragtime": 0.3}) == (0, 0, 0, 1)
    assert notes.votes({"hymns": 0.4, "ragtime": 0.3, "bach": 0.3}) == (0, 1, 2, 2)
    assert notes.votes({"unknown": 1.0}) == notes.votes({}) == UNTOLD
    score = tune(1)
    told, untold = notes.encode_piece(score, style="ragtime"), notes.encode_piece(score)
    columns = slice(STYLE, SOUNDS_ON)
    assert (told.context[:, columns] == 1).all() and (untold.context[:, columns] == NOT_APPLICABLE).all()
    np.testing.assert_array_equal(told.context[:, :STYLE], untold.context[:, :STYLE])
    tracker = ContextTracker(notes.steps_per_quarter, notes.max_onset, 99)
    tracker.styles = notes.votes({"ragtime": 1.0})
    context = [NOT_APPLICABLE] * N_CONTEXT
    tracker.fill(ONSET, untold.events[0].tolist(), context)
    assert context[columns] == [1, 1, 1, 1]


def test_given_notes_are_told_ahead_of_time() -> None:
    score = Score(
        480, make_notes(np.arange(12) * 480, 240, np.arange(60, 72)), metres=np.array([(0, 4, 4)], METRE)
    )
    notes = NoteEvents()
    events = notes.encode(score)
    free = np.zeros((3, N_KINDS), bool)
    free[1] = True  # the second of three bars is new
    context = notes.context(events, bars_to_come=0, gap=Gap.of(free, kinds_of(events)))
    played = np.flatnonzero(events[:, KIND] > TEMPO_KIND)[:-1]
    ahead = [61, 62, 63, 68, 68, 68, 68, 68, 69, 70, 71, NOT_APPLICABLE]
    assert context[played, AHEAD_PITCH].tolist() == ahead
    assert context[played, FILL].tolist() == [0, 0, 0, 2, 2, 2, 2, 2, 0, 0, 0, 0]
    assert context[played[3:9], AHEAD_ONSET].tolist() == [60, 48, 36, 24, 12, 12]
    assert context[played[4:8], COMING_PITCH].tolist() == [68, 69, 70, 71]  # a bar later


def test_what_sounds_on_is_told() -> None:
    notes = make_notes([0, 0, 480, 960], [480, 960, 240, 480], [67, 60, 40, 62], instrument=[0, 0, 42, 0])
    piece = NoteEvents().encode_piece(Score(480, notes, metres=np.array([(0, 4, 4)], METRE)))
    played = np.flatnonzero(piece.events[:, KIND] > TEMPO_KIND)[:4]
    assert piece.context[played, SOUNDS_ON].tolist() == [0, 12, 0, 0]
    assert piece.context[played, FIRST_END].tolist() == [12, 12, 6, 12]
    assert piece.context[played, LAST_END].tolist() == [12, 24, 12, 12]


def test_the_key_of_the_last_notes_is_told() -> None:
    major = np.array([0, 4, 7, 5, 9, 2, 7, 0])
    rounds = KEY_NOTES // 8
    key = _keys_told(np.concatenate([np.tile(60 + major, 3 * rounds), np.tile(66 + major, rounds)]))
    assert key[0] == NOT_APPLICABLE and (key[8 : 3 * KEY_NOTES] == 0).all()  # C major
    half = 3 * KEY_NOTES + KEY_NOTES // 2
    assert key[half - 9] == 0 and key[half + 9] == 6  # F sharp major, once it is heard for longer


def test_a_minor_key_is_told_and_long_notes_count_more_but_not_without_end() -> None:
    minor = np.array([0, 3, 7, 8, 2, 5, 0, 7])
    assert _keys_told(57 + np.tile(minor, 2))[-1] == 12 + 9  # A minor
    pitch = np.array([60, 64, 67, 61, 65, 68, 61, 60])
    assert _keys_told(pitch, np.array([3, 3, 3, 1, 1, 1, 1, 1]))[-1] == 0
    assert _keys_told(pitch, np.array([1, 1, 1, 3, 3, 3, 3, 1]))[-1] == 1
    evenly = _keys_told(pitch)
    assert _keys_told(pitch, np.array([4, 4, 4, 8, 8, 8, 8, 1]))[-1] == evenly[-1]


def _keys_told(pitch: IntArray, quarters: Any = 4) -> EventArray:
    """Of each note of a line."""
    quarters = np.broadcast_to(quarters, pitch.shape)
    onset = np.concatenate([[0], np.cumsum(quarters)[:-1]])
    piece = NoteEvents().encode_piece(Score(480, make_notes(onset * 480, quarters * 480, pitch)))
    return piece.context[np.flatnonzero(piece.events[:, KIND] > TEMPO_KIND)[: len(pitch)], KEY]


def _bars(context: EventArray) -> int:
    """Bars of a piece of at most 16, from its first event."""
    return int(context[0, 3])


def test_echoes_tell_what_was_played_a_bar_earlier() -> None:
    onset = [0, 0, 480, 1920, 1920, 2400]
    score = Score(
        480,
        make_notes(onset, 240, [67, 60, 65, 67, 60, 65], [20, 40, 60, 80, 100, 120]),
        metres=np.array([(0, 4, 4)], dtype=METRE),
    )
    piece = NoteEvents().encode_piece(score)
    repeated = np.flatnonzero(piece.events[:, KIND] > TEMPO_KIND)[3:6]
    assert piece.context[repeated, ECHO_PITCH].tolist() == [67, 60, 65]
    assert (piece.context[repeated, ECHO_DURATION] == 5).all()
    assert piece.context[repeated, ECHO_VELOCITY].tolist() == [2, 5, 7]
    assert piece.context[repeated, NEXT_ONSET].tolist() == [12, 12, 36]
    first = np.flatnonzero(piece.events[:, KIND] > TEMPO_KIND)[:3]
    assert (piece.context[first, NEXT_ONSET:MATCH] == NOT_APPLICABLE).all()


def test_the_context_of_an_event_does_not_depend_on_what_follows() -> None:
    notes = NoteEvents()
    score = random_score(7, 200)
    whole = notes.encode_piece(score)
    for n in (20, 60, 120):
        start = context_of(whole.events[:n], notes.steps_per_quarter, notes.max_onset)
        np.testing.assert_array_equal(start, whole.context[:n])


def _matches(onset: Sequence[int], pitches: Sequence[int]) -> NDArray[np.int16]:
    """Context of the notes of a piece in 4/4 of these notes, with onsets in quarters."""
    notes = make_notes(np.array(onset) * 480, 240, pitches, np.full(len(pitches), 64))
    piece = NoteEvents().encode_piece(Score(480, notes, metres=np.array([(0, 4, 4)], dtype=METRE)))
    return piece.context[piece.events[:, KIND] > TEMPO_KIND][:-1]


def test_a_match_tells_what_followed_the_last_time() -> None:
    again = _matches(range(10), [60, 62, 64, 65, 67, 60, 62, 64, 65, 69])[7:]  # 64, 65 again, then not 67
    assert again[:, MATCH].tolist() == [1, 1, 0]
    assert again[:, MATCH_ONSET].tolist() == [12, 12, NOT_APPLICABLE]
    assert again[:, MATCH_PITCH].tolist() == [NOT_APPLICABLE, 65, 67]
    assert again[:, MATCH_DURATION].tolist() == [NOT_APPLICABLE, 5, NOT_APPLICABLE]


def test_what_followed_within_a_bar_is_no_match() -> None:
    assert (_matches(range(12), [60, 62, 64, 65] * 3)[:, MATCH] == 0).all()
    assert _matches(range(8), [59, 60, 62, 64, 65, 67, 60, 62])[-1, MATCH] == 1


def test_matches_may_be_left_untold() -> None:
    told, untold = (NoteEvents().encode_piece(tune(1), matches=matches) for matches in (True, False))
    assert (untold.context[:, MATCH:SOUNDS_ON] == NOT_APPLICABLE).all()
    np.testing.assert_array_equal(untold.context[:, :MATCH], told.context[:, :MATCH])
