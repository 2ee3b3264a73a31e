"""Candidates: which is drawn next, which must be drawn anew, and which become the pieces."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from cadenza.originality import Originality
from cadenza.sampling import Drawing, Grammar, IntArray
from cadenza.score import DRUM_KIT, Score
from cadenza.tasks import Task
from cadenza.vocabulary import FIRST_KIT, KIND, is_played

ATTEMPTS = 8  # at a piece that must be another one
# Notes after which a piece that began with drums alone is taken to go on so: of the 56 pieces with drums and other
# instruments that the bundled model learned from, one waits longer for anything else.
DRUMS_ALONE = 64


@dataclass(frozen=True)
class Candidate:
    """A piece that was drawn, and what it shares with those learned from, if anybody can tell."""

    score: Score
    shared: Originality | None

    @property
    def notes_shared(self) -> int:
        """In a row."""
        return self.shared.notes if self.shared else 0

    @property
    def is_for_drums(self) -> bool:
        """Whether nothing else plays."""
        return len(self.score) > 0 and int(self.score.notes["instrument"].min()) >= DRUM_KIT


@dataclass(frozen=True)
class Standards:
    """What candidates are held to."""

    judge: Callable[[Score], Originality | None]  # new notes alone
    melodic: bool  # a piece for drums alone would surprise
    refuse: Callable[[Originality | None], bool]  # a piece that shares so much

    def faults(self, candidate: Candidate) -> tuple[bool, int]:
        """The less, the better; without any it is taken."""
        refused = self.refuse(candidate.shared)
        return self.melodic and candidate.is_for_drums, candidate.notes_shared if refused else 0


@dataclass
class _Draw:
    """A candidate in progress."""

    number: int  # of the piece
    attempt: int  # at it, from 1 on
    grammar: Grammar
    events: list[list[int]]
    drums: int = 0  # notes of drums as long as nothing else has played, then -1

    @property
    def is_last(self) -> bool:
        return self.attempt == ATTEMPTS

    def is_for_drums_alone(self) -> bool:
        """To be asked after every event."""
        kind = self.events[-1][KIND]
        if self.drums >= 0 and is_played(kind):
            self.drums = self.drums + 1 if kind >= FIRST_KIT else -1
        return self.drums >= DRUMS_ALONE


class Queue:
    """The candidates for some pieces of a task: those that wait, those in progress, the best of each piece.

    A candidate with faults is drawn anew, at once, as long as there are attempts left, and the best one is taken.
    """

    def __init__(self, task: Task, numbers: range, seed: int, standards: Standards) -> None:
        self.task, self.seed, self.standards = task, seed, standards
        self.waiting = deque((number, 1) for number in numbers)
        self.to_come = deque(numbers)
        self.opening: list[list[int]] = [] if task.told is None else task.told[0].tolist()
        self.in_progress: dict[int, _Draw] = {}
        self.best: dict[int, Candidate] = {}
        self.ready: set[int] = set()

    def take(self) -> Drawing | None:
        """See `sampling.generate`; the number is that of the piece, at which each attempt gives another one."""
        if not self.waiting:
            return None
        number, attempt = self.waiting.popleft()
        grammar = self.task.begin(number, self.seed)
        self.in_progress[number] = _Draw(number, attempt, grammar, list(self.opening))
        random = np.random.default_rng([self.seed, number, *([attempt] if attempt > 1 else [])])
        return Drawing(number, grammar, random)

    def add(self, number: int, event: list[int]) -> None:
        """An event of the candidate that is in progress for the piece."""
        draw = self.in_progress[number]
        draw.events.append(event)
        if self.standards.melodic and draw.is_for_drums_alone() and not draw.is_last:
            draw.grammar.done = True
            self._draw_anew(self.in_progress.pop(number))
        elif draw.grammar.done:
            self._settle(self.in_progress.pop(number))

    def finished(self) -> Iterator[tuple[int, Candidate]]:
        """Pieces that are ready, as all before them, by number."""
        while self.to_come and self.to_come[0] in self.ready:
            number = self.to_come.popleft()
            self.ready.remove(number)
            yield number, self.best.pop(number)

    def drafts(self) -> Iterator[tuple[int, Score]]:
        """What is written by now, by number."""
        for draw in self.in_progress.values():
            if draw.events:
                yield draw.number, self.task.score(_array(draw), draw.grammar)

    def _settle(self, draw: _Draw) -> None:
        events, faults = _array(draw), self.standards.faults
        score, new = self.task.score(events, draw.grammar), self.task.new(events, draw.grammar)
        found = Candidate(score, self.standards.judge(score if new is None else new))
        best = self.best[draw.number] = min(self.best.get(draw.number, found), found, key=faults)
        if any(faults(best)) and not draw.is_last:
            self._draw_anew(draw)
        else:
            self.ready.add(draw.number)

    def _draw_anew(self, draw: _Draw) -> None:
        self.waiting.appendleft((draw.number, draw.attempt + 1))


def _array(draw: _Draw) -> IntArray:
    return np.array(draw.events, dtype=np.int64)
