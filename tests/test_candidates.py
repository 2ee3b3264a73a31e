"""The candidates for some pieces: who comes next, and who is drawn anew."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from cadenza.candidates import ATTEMPTS, DRUMS_ALONE, Queue, Standards
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


def _queue(pieces: int, melodic: bool = True) -> tuple[Queue, _Task]:
    task: Any = _Task()
    standards = Standards(lambda new: None, melodic, lambda shared: False)
    return Queue(task, range(pieces), 1, standards), task


def _draw(queue: Queue, piece: int, *kinds: int) -> None:
    """Give these events to the candidate for a piece; the last one ends it."""
    for kind in kinds:
        if kind == END:
            queue.in_progress[piece].grammar.done = True
        queue.add(piece, [0, kind, 60, 0, 0, 0])


def test_pieces_are_handed_over_in_turn_however_they_end() -> None:
    queue, _ = _queue(3)
    grammars = [queue.take() for _ in range(3)]
    assert all(grammars) and queue.take() is None
    _draw(queue, 2, NOTE, NOTE, NOTE, END)
    assert list(queue.finished()) == []
    _draw(queue, 0, NOTE, END)
    _draw(queue, 1, NOTE, NOTE, END)
    assert [(number, len(found.score)) for number, found in queue.finished()] == [(0, 1), (1, 2), (2, 3)]
    assert list(queue.finished()) == [] and queue.in_progress == {}


def test_what_is_written_by_now_is_told_by_piece() -> None:
    queue, _ = _queue(2)
    assert queue.take() and queue.take()
    _draw(queue, 1, NOTE, NOTE)
    assert [(number, len(score)) for number, score in queue.drafts()] == [(1, 2)]


def test_a_piece_for_drums_alone_is_drawn_anew_before_others_begin() -> None:
    queue, task = _queue(3)
    queue.take()
    _draw(queue, 0, DRUM, END)
    assert queue.take() and queue.take()
    assert task.begun == [0, 0, 1]  # in the place that it leaves
    _draw(queue, 0, DRUM, NOTE, END)
    assert [(number, len(found.score)) for number, found in queue.finished()] == [(0, 2)]


def test_drums_that_nothing_joins_are_given_up_early_but_at_the_last_attempt() -> None:
    queue, task = _queue(1)
    for _ in range(ATTEMPTS - 1):
        assert queue.take() is not None
        _draw(queue, 0, *[DRUM] * (DRUMS_ALONE - 1))
        grammar = queue.in_progress[0].grammar
        _draw(queue, 0, DRUM)
        assert grammar.done and queue.in_progress == {}
    assert queue.take() is not None
    _draw(queue, 0, *[DRUM] * DRUMS_ALONE, DRUM, END)
    [(_, found)] = list(queue.finished())
    assert len(found.score) == DRUMS_ALONE + 1 and queue.take() is None
    assert task.begun == [0] * ATTEMPTS


def test_drums_that_others_join_or_that_were_asked_for_go_on() -> None:
    for melodic, kinds in ((True, [NOTE, *[DRUM] * DRUMS_ALONE]), (False, [DRUM] * 2 * DRUMS_ALONE)):
        queue, _ = _queue(1, melodic)
        queue.take()
        _draw(queue, 0, *kinds, END)
        assert [number for number, _ in queue.finished()] == [0]


@pytest.mark.parametrize("shared", [[9, 4, 7], [9, 4, 0]])
def test_the_candidate_that_shares_least_is_taken(shared: list[int]) -> None:
    lengths = iter([*shared, *[99] * ATTEMPTS])
    task: Any = _Task()
    standards = Standards(
        judge=lambda new: Originality(Passage(next(lengths), (1, 2), "another", (3, 4)), 0.0),
        melodic=True,
        refuse=lambda found: found is not None and found.notes > 0,
    )
    queue = Queue(task, range(1), 1, standards)
    for attempt in range(ATTEMPTS):
        if queue.take() is None:
            break
        _draw(queue, 0, *[NOTE] * (attempt + 1), END)
    [(_, found)] = list(queue.finished())
    assert found.notes_shared == min(shared)
    assert len(task.begun) == (3 if 0 in shared else ATTEMPTS)
