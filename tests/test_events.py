"""The laws of the representation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cadenza.dataset import Augmentation, augment
from cadenza.errors import InputError
from cadenza.events import NoteEvents
from cadenza.schema import NOT_APPLICABLE
from cadenza.score import METRE, Score, make_notes
from cadenza.vocabulary import END_KIND, KIND, METRE_KIND, ONSET, PITCH, REST_KIND, TEMPO_KIND
from music import random_score, tune

SCORES = st.builds(
    random_score,
    st.integers(0, 10**6),
    st.integers(0, 80),
    instruments=st.sampled_from([(0,), (0, 40, 128), (128,), (5, 5, 130, 168, 127)]),
    on_grid=st.booleans(),
)
REPRESENTATIONS = st.builds(
    NoteEvents, st.sampled_from([4, 12, 24]), st.sampled_from([1, 16, 32, 127]), st.booleans()
)


@settings(max_examples=150, deadline=None)
@given(SCORES, REPRESENTATIONS)
def test_decoding_what_was_encoded_gives_the_quantised_score(score: Score, notes: NoteEvents) -> None:
    quantised = notes.quantise(score)
    assert notes.decode(notes.encode(score)) == quantised
    assert notes.quantise(quantised) == quantised


@settings(max_examples=50, deadline=None)
@given(SCORES, REPRESENTATIONS)
def test_encoding_is_canonical_and_within_the_schema(score: Score, notes: NoteEvents) -> None:
    piece = notes.encode_piece(score, bars_to_come=0)
    np.testing.assert_array_equal(notes.encode(notes.quantise(score)), piece.events)
    for columns, fields in ((piece.events, notes.schema.fields), (piece.context, notes.schema.context)):
        for column, field in zip(columns.T, fields, strict=True):
            assert column.min() >= NOT_APPLICABLE, field.name
            assert column.max() < field.size, field.name


def test_a_piece_begins_with_metre_and_tempo_and_ends_on_a_bar_line() -> None:
    notes = NoteEvents()
    events = notes.encode(tune(0, bars=3))
    assert events[:2, KIND].tolist() == [METRE_KIND, TEMPO_KIND]
    assert events[-1, KIND] == END_KIND
    assert int(events[:, ONSET].sum()) == 3 * 48


def test_chords_come_from_high_to_low_and_instruments_in_order() -> None:
    score = Score(480, make_notes([0, 0, 0], 480, [60, 67, 64], 80, [40, 0, 0]))
    events = NoteEvents().encode(score)[2:-1]
    assert events[:, PITCH].tolist() == [67, 64, 60]
    assert (np.diff(events[:, KIND]) >= 0).all()


def test_long_silences_pass_in_rests() -> None:
    notes = NoteEvents()
    score = Score(480, make_notes([0, 480 * 30], 480, 60))
    events = notes.encode(score)
    assert (events[:, KIND] == REST_KIND).sum() == 3
    assert events[:, ONSET].max() <= notes.max_onset
    assert notes.decode(events) == notes.quantise(score)


def test_microtiming_keeps_a_performance_to_an_eighth_of_a_step() -> None:
    score = random_score(3, 100, instruments=(0,), on_grid=False)
    kept = NoteEvents(microtiming=True).quantise(score).notes["onset"] / 96
    true = score.notes["onset"] / 480
    assert all(np.abs(true - onset).min() <= 1 / 192 + 1e-9 for onset in kept)


def test_position_counts_from_the_bar_line_in_every_metre() -> None:
    metres = np.array([(0, 3, 4), (3 * 480, 2, 4)], dtype=METRE)
    score = Score(480, make_notes([0, 480, 3 * 480, 5 * 480 + 240], 240, 60), metres=metres)
    piece = NoteEvents().encode_piece(score, bars_to_come=0)
    note = piece.events[:, KIND] > TEMPO_KIND
    assert piece.context[note, 0].tolist() == [0, 12, 0, 6, 0]
    assert piece.context[note, 3].tolist() == [3, 3, 2, 1, 0]


def test_music_without_metre_has_no_position() -> None:
    score = Score(480, make_notes([0, 480, 960], 240, 60), metres=np.array([(0, 0, 4)], dtype=METRE))
    assert (NoteEvents().encode_piece(score).context[:, 0] == 0).all()


@settings(max_examples=30, deadline=None)
@given(SCORES, st.integers(0, 1000))
def test_augmented_scores_stay_encodable(score: Score, seed: int) -> None:
    changed = augment(score, Augmentation(), np.random.default_rng(seed))
    notes = NoteEvents()
    assert notes.decode(notes.encode(changed)) == notes.quantise(changed)
    assert len(changed) == len(score)


def test_a_key_struck_again_ends_its_sounding_note() -> None:
    score = Score(480, make_notes([0, 480], [1920, 480], 60))
    assert NoteEvents().quantise(score).notes["duration"].tolist() == [12, 12]
    apart = replace(score, notes=make_notes([0, 480], [1920, 480], 60, 80, [0, 1]))
    assert sorted(NoteEvents().quantise(apart).notes["duration"].tolist()) == [12, 48]


@pytest.mark.parametrize(
    "wrong", [{"steps_per_quarter": 0}, {"velocity_levels": 0}, {"velocity_levels": 500}]
)
def test_impossible_resolutions_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError):
        NoteEvents(**wrong)  # type: ignore[arg-type]
