"""No passage of more than n bars comes twice: which notes would make one, told in time to draw others.

A bar is what begins in it: (position, kind, key) of every note, in order. Bars in which nothing begins do not count.
Where the last n bars were heard before, the bar that followed then must not follow again, so one of its notes
has to become another one: the last one that leaves a choice of keys.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

Note = tuple[int, int, int]  # position in the bar, kind, key
Bar = tuple[Note, ...]


class Repetition:
    """What was heard bar by bar, and what must not follow; `most` is n, at least 1."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.bars: list[Bar] = []
        self.followers: dict[tuple[Bar, ...], dict[Bar, None]] = {}  # of every n bars in a row
        self.bar: list[Note] = []  # as far as it has been drawn
        self.matching: list[Bar] = []  # bars that must not come again, as far as this one is the same

    def copy(self) -> Repetition:
        """One that goes on from here by itself."""
        other = copy.copy(self)
        other.bars, other.bar, other.matching = self.bars.copy(), self.bar.copy(), self.matching.copy()
        other.followers = {row: bars.copy() for row, bars in self.followers.items()}
        return other

    def add(self, position: int, kind: int, pitch: int) -> None:
        """Take note of a note in this bar."""
        note, n = (position, kind, pitch), len(self.bar)
        self.matching = [bar for bar in self.matching if len(bar) > n and bar[n] == note]
        self.bar.append(note)

    def new_bar(self) -> None:
        """A bar line has passed."""
        if not self.bar:
            return
        self.matching = self._matching_next()
        row, bar = tuple(self.bars[-self.most :]), tuple(self.bar)
        if len(row) == self.most:
            self.followers.setdefault(row, {})[bar] = None
        self.bars.append(bar)
        self.bar = []

    def _matching_next(self) -> list[Bar]:
        """The bars that must not come after this one, if it ends here."""
        bar = tuple(self.bar)
        row = tuple([*self.bars, bar][-self.most :])
        found = list(self.followers.get(row, ()))
        if row == tuple(self.bars[-self.most :]) and bar not in found:
            found.append(bar)
        return found

    def _now(self, next_bar: bool) -> tuple[list[Bar], int]:
        """The bars that must not come, and how many of their notes are there already."""
        if next_bar and self.bar:
            return self._matching_next(), 0
        return self.matching, len(self.bar)

    def keys_to_avoid(
        self, position: int, kind: int, next_bar: bool, choices: Callable[[int, int], int]
    ) -> list[int]:
        """The keys that must not be struck next at this position, of this bar or a later one, by this kind.

        choices tells how many keys below a limit a kind has.
        """
        matching, n = self._now(next_bar)
        return [
            bar[n][2]
            for bar in matching
            if len(bar) > n and bar[n][:2] == (position, kind) and _turning(bar, matching, choices) == n
        ]

    def positions_to_avoid(self, next_bar: bool, choices: Callable[[int, int], int]) -> list[int]:
        """Where the next note must not come, in this bar or in later ones, since no note of a bar that must not
        come again leaves a choice."""
        matching, n = self._now(next_bar)
        last = [bar for bar in matching if len(bar) == n + 1]
        return [bar[n][0] for bar in last if _turning(bar, matching, choices) < n]


def _turning(bar: Bar, matching: list[Bar], choices: Callable[[int, int], int]) -> int:
    """The last note of a bar that leaves more keys than are to be avoided there; -1 if none does."""
    for n in range(len(bar) - 1, -1, -1):
        position, kind, _ = bar[n]
        there = [other[n] for other in matching if len(other) > n and other[:n] == bar[:n]]
        avoided = {key for *place, key in there if place == [position, kind]}
        in_chord = n > 0 and bar[n - 1][:2] == (position, kind)
        if choices(kind, bar[n - 1][2] if in_chord else 128) > len(avoided):
            return n
    return -1
