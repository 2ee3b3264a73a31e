"""The candidates for some pieces: who comes next, and who is drawn anew."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from cadenza.candidates import ATTEMPTS, DRUMS_ALONE, Line, Standards
from cadenza.originality import Originality, Passage
from cadenza.sampling import Grammar, IntArray
from cadenza.score import DRUM_KIT, Score, make_notes
from cadenza.vocabulary import END_KIND, FIRST_INSTRUMENT, FIRST_KIT

DRUM, NOTE, END = FIRST_KIT, FIRST_INSTRUMENT, END_KIND


@dataclass
class _Rules:
    number: int
    done: bool = False


@dataclass
class _Task:
    """Pieces of one bar of quarters, as many as there were events, for drums alone if nothing else played."""

    told: Any = None
    begun: list[int] = field(default_factory=list)

    def begin(self, number: int, seed: int) -> Any:
        self.begun.append(number)
        return _Rules(number)

    def score(self, events: IntArray, grammar: Grammar) -> Score:
        kinds = events[:, 1][events[:, 1] != END]
        instruments = np.where(kinds >= FIRST_KIT, DRUM_KIT, 0)
        return Score(480, make_notes(480 * np.arange(len(kinds)), 480, 60, 80, instruments))

    def new(self, events: IntArray, grammar: Grammar) -> Score | None:
        return None


def _line(pieces: int, melodic: bool = True) -> tuple[Line, _Task]:
    task: Any = _Task()
    standards = Standards(lambda new: None, melodic, lambda shared: False)
    return Line(task, range(pieces), 1, standards), task


def _draw(line: Line, taken: int, *kinds: int) -> None:
    """Give these events to a candidate; the last one ends it."""
    for kind in kinds:
        if kind == END:
            line.drawn[taken].grammar.done = True
        line.add(taken, [0, kind, 60, 0, 0, 0])


def test_pieces_are_handed_over_in_turn_however_they_end() -> None:
    line, _ = _line(3)
    grammars = [line.take() for _ in range(3)]
    assert all(grammars) and line.take() is None
    _draw(line, 2, NOTE, NOTE, NOTE, END)
    assert list(line.finished()) == []
    _draw(line, 0, NOTE, END)
    _draw(line, 1, NOTE, NOTE, END)
    assert [(number, len(found.score)) for number, found in line.finished()] == [(0, 1), (1, 2), (2, 3)]
    assert list(line.finished()) == [] and line.drawn == {}


def test_what_is_written_by_now_is_told_by_piece() -> None:
    line, _ = _line(2)
    assert line.take() and line.take()
    _draw(line, 1, NOTE, NOTE)
    assert [(number, len(score)) for number, score in line.drafts()] == [(1, 2)]


def test_a_piece_for_drums_alone_is_drawn_anew_before_others_begin() -> None:
    line, task = _line(3)
    line.take()
    _draw(line, 0, DRUM, END)
    assert line.take() and line.take()
    assert task.begun == [0, 0, 1]  # in the place that it leaves
    _draw(line, 1, DRUM, NOTE, END)
    assert [(number, len(found.score)) for number, found in line.finished()] == [(0, 2)]


def test_drums_that_nothing_joins_are_given_up_early_but_at_the_last_attempt() -> None:
    line, task = _line(1)
    for attempt in range(ATTEMPTS - 1):
        assert line.take() is not None
        _draw(line, attempt, *[DRUM] * (DRUMS_ALONE - 1))
        grammar = line.drawn[attempt].grammar
        _draw(line, attempt, DRUM)
        assert grammar.done and line.drawn == {}
    assert line.take() is not None
    _draw(line, ATTEMPTS - 1, *[DRUM] * DRUMS_ALONE, DRUM, END)
    [(_, found)] = list(line.finished())
    assert len(found.score) == DRUMS_ALONE + 1 and line.take() is None
    assert task.begun == [0] * ATTEMPTS


def test_drums_that_others_join_or_that_were_asked_for_go_on() -> None:
    for melodic, kinds in ((True, [NOTE, *[DRUM] * DRUMS_ALONE]), (False, [DRUM] * 2 * DRUMS_ALONE)):
        line, _ = _line(1, melodic)
        line.take()
        _draw(line, 0, *kinds, END)
        assert [number for number, _ in line.finished()] == [0]


@pytest.mark.parametrize("shared", [[9, 4, 7], [9, 4, 0]])
def test_the_candidate_that_shares_least_is_taken(shared: list[int]) -> None:
    lengths = iter([*shared, *[99] * ATTEMPTS])
    task: Any = _Task()
    standards = Standards(
        judge=lambda new: Originality(Passage(next(lengths), (1, 2), "another", (3, 4)), 0.0),
        melodic=True,
        may_be_memorised=lambda found: found is not None and found.notes > 0,
    )
    line = Line(task, range(1), 1, standards)
    for taken in range(ATTEMPTS):
        if line.take() is None:
            break
        _draw(line, taken, *[NOTE] * (taken + 1), END)
    [(_, found)] = list(line.finished())
    assert found.notes_shared == min(shared)
    assert len(task.begun) == (3 if 0 in shared else ATTEMPTS)
