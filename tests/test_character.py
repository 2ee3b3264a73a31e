"""Style and mood: what is measured of a piece, and what a user's words stand for."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from cadenza.character import Character, measure, parse_mood, parse_styles
from cadenza.errors import InputError
from cadenza.moods import LEVELS, MOODS
from cadenza.score import TEMPO, Score, make_notes, transpose
from music import tune


def _at(score: Score, qpm: float, velocity: int) -> Score:
    notes = score.notes.copy()
    notes["velocity"] = velocity
    return replace(score, notes=notes, tempi=np.array([(0, qpm)], TEMPO))


def _corpus() -> tuple[list[Score], list[str]]:
    scores = [_at(transpose(tune(n), n - 4), 60 + 15 * n, 30 + 10 * n) for n in range(9)]
    return scores, ["folk", "bach", "bach"] * 3


def test_measures_are_those_of_the_notes() -> None:
    notes = make_notes([0, 480, 960, 1440], 480, [60, 64, 67, 72], [40, 60, 80, 100])
    score = Score(480, notes, np.array([(0, 60.0), (960, 120.0)], TEMPO))
    values = measure(score)
    assert values["density"] == 1 and values["register"] == 65.75 and values["loudness"] == 70
    assert values["tempo"] == 90 and values["mode"] == 1


def test_levels_are_thirds_of_the_corpus() -> None:
    scores, styles = _corpus()
    character = Character.of(scores, styles)
    assert character.styles == ("bach", "folk")
    for name in ("register", "loudness", "tempo"):
        found = [character.level(name, measure(score)[name]) for score in scores]
        assert found == sorted(found) and [found.count(level) for level in range(3)] == [3, 3, 3]


def test_what_is_alike_in_all_pieces_is_no_fact() -> None:
    character = Character.of([tune(n) for n in range(6)], ["", "", "", "", "", ""])
    assert character.styles == () and "loudness" not in character.thirds
    with pytest.raises(InputError, match="the model knows no styles"):
        character.shares("bach")
    with pytest.raises(InputError, match="all alike in tempo"):
        character.levels("slow")


def test_a_style_aims_at_its_habits_and_a_mood_at_its_third() -> None:
    scores, styles = _corpus()
    character = Character.of(scores, styles)
    habits = character.habits
    aims = character.aims("loud", "bach")
    assert aims["tempo"] == habits["bach"]["tempo"]
    assert aims["loudness"] == (character.thirds["loudness"][1], np.inf)
    mixed = character.aims(None, "bach:3, folk:1")["tempo"]
    assert mixed == pytest.approx(
        0.75 * np.array(habits["bach"]["tempo"]) + 0.25 * np.array(habits["folk"]["tempo"])
    )
    assert set(character.aims(None, "bach")) == {"tempo"}  # though pieces differ in loudness, too
    written = asdict(character)
    assert Character.from_dict(written) == character
    written["habits"]["bach"]["loudness"] = (60.0, 70.0)  # by a version that had more of them
    assert Character.from_dict(written) == character
    del written["habits"]["bach"]["tempo"]
    with pytest.raises(KeyError):
        Character.from_dict(written)


def test_words_stand_for_levels() -> None:
    scores, styles = _corpus()
    character = Character.of(scores, styles)
    assert character.shares("Bach:3, folk:1") == {"bach": 0.75, "folk": 0.25}
    assert character.levels("slow, loud") == {"tempo": 0, "loudness": 2}
    assert character.levels("Slow SLOW") == {"tempo": 0}
    assert set(MOODS["sad"]) == set(parse_mood("sad"))
    assert all(
        level in {w for words in LEVELS.values() for w in words} for m in MOODS.values() for level in m
    )
    with pytest.raises(InputError, match="asks for two kinds of tempo"):
        character.levels("sad, fast")
    for wrong in ("", "bach:x", "bach:0", ":2", "a,,b"):
        with pytest.raises(InputError):
            parse_styles(wrong)
    with pytest.raises(InputError, match="'grumpy' is none of the words happy, "):
        parse_mood("grumpy")
