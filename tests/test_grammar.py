"""Whatever sampling can produce is a valid score of the wanted length."""

from __future__ import annotations

import numpy as np
import pytest

from cadenza.events import NoteEvents
from cadenza.grammar import NoteGrammar
from cadenza.midi import midi_bytes, parse_midi
from cadenza.repertoire import Repertoire
from cadenza.schema import NEVER, NOT_APPLICABLE
from cadenza.score import Score, bar_lines
from cadenza.vocabulary import END_KIND, KIND, METRE_KIND, ONSET, PITCH, TEMPO_KIND, metre_value
from music import improvise, random_score, tune


def _corpus(representation: NoteEvents) -> Repertoire:
    scores = [tune(1), *(random_score(n, instruments=(0, 40, 128, 136)) for n in range(4))]
    return Repertoire.of([representation.encode(score) for score in scores], representation)


@pytest.mark.parametrize("microtiming", [False, True])
@pytest.mark.parametrize("bars", [1, 5])
@pytest.mark.parametrize("seed", range(6))
def test_every_allowed_sequence_is_a_valid_score_of_the_wanted_length(
    seed: int, bars: int, microtiming: bool
) -> None:
    representation = NoteEvents(microtiming=microtiming)
    repertoire = _corpus(representation)
    for candidate in range(3):
        grammar = NoteGrammar(representation, repertoire, bars)
        events = improvise(grammar, representation, 10 * seed + candidate)
        end = int(np.flatnonzero(events[:, KIND] == END_KIND)[0])
        score = representation.decode(events)
        np.testing.assert_array_equal(representation.quantise(score).notes, score.notes)
        assert _n_bars(score, int(events[: end + 1, ONSET].sum()), representation) == bars
        if len(score):
            assert score.notes["onset"].min() >= 0
            assert score.end <= int(events[: end + 1, ONSET].sum()) * (8 if microtiming else 1)
            again = parse_midi(midi_bytes(score))
            assert set(again.instruments) <= {0, 40, 128, 136}
            assert len(again) == len(score)


def _n_bars(score: Score, end: int, representation: NoteEvents) -> int:
    scale = representation.ticks_per_quarter // representation.steps_per_quarter
    lines = bar_lines(score, end * scale)
    assert lines[-1] == end * scale, "the piece ends between bar lines"
    return len(lines) - 1


def test_no_key_is_struck_more_often_in_a_row_than_the_corpus_does() -> None:
    representation = NoteEvents()
    repertoire = _corpus(representation)
    grammar = NoteGrammar(representation, repertoire, 4)
    kind = repertoire.kinds[0]
    for n in range(2 + repertoire.longest_run):
        opening = [0, n, (repertoire.metres, repertoire.tempi)[min(n, 1)][0], NOT_APPLICABLE, NOT_APPLICABLE]
        grammar.advance(opening if n < 2 else [1, kind, 60, 0, 5])
    bias = grammar.bias(PITCH, [1, kind, -1, -1, -1])
    assert bias is not None
    assert bias[60] == np.float32(NEVER) and bias[61] == 0


def test_a_continuation_starts_where_the_prompt_stops() -> None:
    representation = NoteEvents()
    repertoire = _corpus(representation)
    prompt = representation.encode(tune(5, bars=3))[:-1]
    for candidate in range(2):
        grammar = NoteGrammar.after(representation, repertoire, 4, prompt, 3 * 48)
        events = np.concatenate([prompt.astype(np.int64), improvise(grammar, representation, candidate)])
        step = np.cumsum(events[:, ONSET])
        assert step[len(prompt) :].min() >= 3 * 48
        end = int(np.flatnonzero(events[:, KIND] == END_KIND)[0])
        score = representation.decode(events)
        assert len(bar_lines(score, int(step[end]))) - 1 == 3 + 4


def test_a_copy_goes_on_by_itself() -> None:
    representation = NoteEvents()
    prompt = representation.encode(random_score(3, 60))[:-1]
    end = int(prompt[:, ONSET].sum())

    def after_prompt() -> NoteGrammar:
        return NoteGrammar.after(representation, _corpus(representation), 2, prompt, end)

    original, alone = after_prompt(), after_prompt()
    copied = original.copy()
    for grammar in (copied, original.copy()):
        assert (
            improvise(grammar, representation, 1).tolist()
            == improvise(after_prompt(), representation, 1).tolist()
        )
    improvise(original, representation, 2)
    improvise(alone, representation, 2)
    for name, value in vars(alone.at).items():
        assert vars(original.at)[name] == value, f"{name} is shared with a copy that has gone on"
    assert (original.run_pitch, original.run_length) == (alone.run_pitch, alone.run_length)


def test_a_network_that_would_wait_beyond_the_end_ends_the_piece() -> None:
    representation = NoteEvents()
    grammar = NoteGrammar(representation, _corpus(representation), 1)
    metre = 128 + int(metre_value(4, 4))
    grammar.advance([0, METRE_KIND, metre, -1, -1])
    grammar.advance([0, TEMPO_KIND, grammar.repertoire.tempi[0], -1, -1])
    grammar.advance([40, grammar.repertoire.kinds[0], 60, 0, 5])
    bias = grammar.bias(ONSET, [-1] * 5)
    assert bias is not None and not bias[1:].any()
    assert [grammar.taken(ONSET, value) for value in (1, 8, 9, 96)] == [1, 8, 8, 8]


def test_a_repertoire_survives_json() -> None:
    repertoire = _corpus(NoteEvents())
    assert Repertoire.from_dict(repertoire.to_dict()) == repertoire
