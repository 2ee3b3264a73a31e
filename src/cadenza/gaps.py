"""Gaps: which instruments are new in which bars of a piece; everything else is given.

One idea behind filling bars, writing parts to a melody and varying a piece. Networks learn it from pieces with
gaps drawn at random (`random_gap`), around which the context tells of the given notes (see `context`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cadenza.vocabulary import KIND, N_KINDS, EventArray

NO_ONE, SOME, EVERYONE = range(3)  # who may play something new in a bar
LONGEST_RUN = 8  # bars in a row that are all new, or all given, while learning


@dataclass(frozen=True)
class Gap:
    """free (bars, N_KINDS) tells which kinds are new in each bar, who (bars,) whether those are all that play."""

    free: NDArray[np.bool_]
    who: NDArray[np.int64]  # NO_ONE, SOME or EVERYONE

    @classmethod
    def of(cls, free: NDArray[np.bool_], playing: Sequence[int]) -> Gap:
        """A gap in a piece in which these kinds play."""
        new = free[:, list(playing)]
        who = np.where(new.all(axis=1), EVERYONE, np.where(new.any(axis=1), SOME, NO_ONE))
        return cls(free, who)

    def given(self, notes: EventArray, bar: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these notes (N, fields), in these bars (N,), lie outside."""
        return np.asarray(~self.free[np.minimum(bar, len(self.free) - 1), notes[:, KIND]])

    @cached_property
    def _filled_before(self) -> NDArray[np.int64]:
        """How many bars before each (bars + 1,) are filled by some (row 0), and by everyone (row 1)."""
        counts = np.stack([self.who >= SOME, self.who == EVERYONE]).cumsum(axis=1)
        return np.concatenate([np.zeros((2, 1), np.int64), counts], axis=1)

    def between(self, first: Any, last: Any) -> Any:
        """NO_ONE, SOME or EVERYONE, by who may play something new in the bars first .. last (each (N,))."""
        n, before = len(self.who), self._filled_before
        counts = before[:, np.minimum(last, n - 1) + 1] - before[:, np.minimum(first, n - 1)]
        return (counts > 0).sum(axis=0)


def random_gap(rng: np.random.Generator, bars: int, playing: Sequence[int]) -> Gap:
    """A gap to learn from: runs of bars, parts, or cells here and there, as users will ask for them."""
    runs, parts, cells = range(3)
    kind = int(rng.integers(3)) if len(playing) > 1 else int(rng.choice([runs, cells], p=[0.7, 0.3]))
    free = np.zeros((bars, N_KINDS), bool)
    if kind == cells:
        free[:, list(playing)] = rng.random((bars, len(playing))) < rng.uniform(0.1, 0.9)
        return Gap.of(free, playing)
    those = list(playing)
    if kind == parts:
        those = rng.permutation(those)[: rng.integers(1, len(those))].tolist()
    if kind == parts and rng.random() < 0.7:
        free[:, those] = True
    else:
        free[np.ix_(np.flatnonzero(_runs(rng, bars)), np.array(those))] = True
    return Gap.of(free, playing)


def _runs(rng: np.random.Generator, bars: int) -> NDArray[np.bool_]:
    """New and given bars (bars,), in runs that take turns."""
    new, found = bool(rng.random() < 0.2), np.zeros(bars, bool)
    start = 0
    while start < bars:
        length = int(rng.integers(1, LONGEST_RUN, endpoint=True))
        found[start : start + length] = new
        start, new = start + length, not new
    return found
