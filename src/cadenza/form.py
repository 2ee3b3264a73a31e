"""Form: which bars of a piece return, and how a new piece is led back to its own.

What makes a piece out of bars is that some come again: a phrase four or eight bars later, a verse, the groove of the drums. A
network that remembers two bars knows little of that. But how far before each bar of a piece the one lies that it is most like,
and how like it is, is easily written down, tells nothing of the notes, and can be taken over: a new piece has the form of
a piece that was learned from, or one that the user writes as letters. In a bar that is to be like an earlier one, the
event that came at the same place then is added to on the network's logits, in each field but the shift: the more alike the bars
are to be, the more. In a bar that is to be new, the key that followed the last time is taken from. The network may still
leave, and is led on from wherever it is.

The likeness of two bars is that of Museformer (Yu et al., NeurIPS 2022): the share of their notes that both have.
"""

from __future__ import annotations

import copy
import math
import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cadenza.context import ContextTracker, bars_of
from cadenza.errors import InputError
from cadenza.events import NoteEvents
from cadenza.schema import NOT_APPLICABLE
from cadenza.vocabulary import DURATION, KIND, ONSET, PITCH, SHIFT, EventArray, is_played, place, plays

FREE = "free"  # the form that the network is left to
LONGEST = 64  # bars, or parts, of a form
LEAST_ALIKE = 0.3  # below, a bar counts as new
N_NOTE_FIELDS = 5  # of a note, all but the shift
BY_ITSELF = 2.0  # so much of a pull, in logits, is the network's own
NOVELTY = 1.0  # taken from a logit in a new bar
CONTRAST = 3.0  # and in a new part
SAME, VARIED = 0.999, 0.75  # how alike the parts of a form in letters are to be


_BAR = r"(?:-|[1-9]\d?:[1-9])"
_WRITTEN = re.compile(rf"{_BAR}(?: {_BAR}){{0,{LONGEST - 1}}}")


class Returns(Protocol):
    """What a piece is led through."""

    def returns(self, bar: int, bars: int) -> tuple[int, float]:
        """How many bars back a bar of a piece of so many returns, 0 if it is new, and what is added to the logits of what
        was heard there, or the last time."""


@dataclass(frozen=True)
class Form:
    """For every bar (N,): how many bars before it the one lies that it returns to, 0 for none, and how alike they are."""

    back: tuple[int, ...]
    alike: tuple[float, ...]

    @classmethod
    def of(cls, events: EventArray, representation: NoteEvents) -> Form:
        """Of a piece (N, fields): each bar returns to the one that it is most like; of several, to the one as far before it
        as the bar before returned, or the last of them."""
        back: list[int] = []
        alike: list[float] = []
        bars = _bars(events, representation)
        for number, bar in enumerate(bars):
            likeness = {
                b: len(bar & bars[number - b]) / len(bar | bars[number - b])
                for b in range(1, number + 1)
                if bar
            }
            most = max(likeness.values(), default=0.0)
            same = [b for b, value in likeness.items() if value == most]
            before = back[-1] if back else 0
            returns = most >= LEAST_ALIKE
            alike.append(most if returns else 0.0)
            back.append((before if before in same else same[0]) if returns else 0)
        return cls(tuple(back), tuple(alike))

    def __str__(self) -> str:
        """Such as "- - 1:4 2:9": new, new, somewhat like the bar before, nearly the same as the one two bars before."""
        tenths = [min(9, max(1, round(10 * alike))) for alike in self.alike]
        return " ".join(f"{b}:{tenth}" if b else "-" for b, tenth in zip(self.back, tenths, strict=True))

    @classmethod
    def parse(cls, text: str) -> Form:
        """Inverse of `str`, but for the tenths; raises ValueError for anything else."""
        cls.check(text)
        pairs = [bar.split(":") if bar != "-" else ("0", "0") for bar in text.split(" ")]
        return cls(tuple(int(back) for back, _ in pairs), tuple(int(tenths) / 10 for _, tenths in pairs))

    @staticmethod
    def check(text: str) -> None:
        """Raise ValueError for what is not written as `str` does."""
        if not _WRITTEN.fullmatch(text):
            raise ValueError("not a form")

    @property
    def mean(self) -> float:
        """How much returns, 0 .. 1."""
        return sum(self.alike) / len(self.alike)

    def returns(self, bar: int, bars: int) -> tuple[int, float]:
        """See Returns; a longer piece begins the form again."""
        n = bar % len(self.back)
        return (self.back[n], pull(self.alike[n])) if self.back[n] else (0, -NOVELTY)


@dataclass(frozen=True)
class Parts:
    """A form in letters, each a part of the piece, and all as long as each other as far as bars allow: "AABA"; before a ' a letter
    returns varied."""

    letters: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Parts:
        """From letters, small or large, with or without blanks; raises InputError for anything else."""
        plain = re.sub(r"\s", "", text).replace("\u2019", "'").upper()
        letters = re.findall(r"[A-Z]'?", plain)
        if "".join(letters) != plain or not 0 < len(letters) <= LONGEST:
            raise InputError(
                f"the form {text[:80]!r} is not of 1 to {LONGEST} letters, such as AABA or AA'BA, nor {FREE}."
            )
        return cls(tuple(letters))

    def returns(self, bar: int, bars: int) -> tuple[int, float]:
        """See Returns."""
        starts = [n * bars // len(self.letters) for n in range(len(self.letters) + 1)]
        part = min(bisect_right(starts, bar), len(self.letters)) - 1
        letter = self.letters[part]
        first = [other[0] for other in self.letters].index(letter[0])
        back = starts[part] - starts[first]
        if bar - back >= starts[first + 1] or not back:  # what a longer part has more of is new
            return 0, -CONTRAST if part else -NOVELTY
        return back, pull(VARIED if "'" in letter else SAME)


def _bars(events: EventArray, representation: NoteEvents) -> list[set[tuple[int, ...]]]:
    """What begins in each of the first bars of a piece: (position, kind, key, length)."""
    notes = plays(events[:, KIND])
    step = np.cumsum(events[:, ONSET].astype(np.int64))[notes]
    metres = bars_of(events, representation.steps_per_quarter)
    number = metres.number_of(step)
    found: list[set[tuple[int, ...]]] = [set() for _ in range(min(LONGEST, int(number.max(initial=-1)) + 1))]
    columns = (metres.position_of(step), *(events[notes, column] for column in (KIND, PITCH, DURATION)))
    for bar, note in zip(number.tolist(), np.stack(columns, axis=1).tolist(), strict=True):
        if bar < LONGEST:
            found[bar].add(tuple(note))
    return found


def pull(alike: float) -> float:
    """What to add to logits for two bars to be so alike (0 .. 1): as much of their notes must be the same, and so must all
    fields of each."""
    alike = min(alike, SAME)
    field = (2 * alike / (1 + alike)) ** (1 / N_NOTE_FIELDS)
    return max(0.0, math.log(field / (1 - field)) - BY_ITSELF) if alike > 0 else 0.0


class Reprise:
    """Leads a piece through a form: tells what to add to the logit of which value of the next event."""

    def __init__(self, form: Returns) -> None:
        self.form = form
        # Of the next event, as far as its place is known: the one that it is to be like, how far that lies after the
        # place, whether the bar is new, and what is added to the logits of what was heard there, or the last time.
        self.meant: list[int] | None = None
        self.later, self.is_new, self.pull = 0, False, 0.0

    def copy(self) -> Reprise:
        """One that goes on from here by itself."""
        return copy.copy(self)

    def tilt(self, at: ContextTracker, field: int, event: list[int]) -> tuple[int, float] | None:
        """A value of a field of the next event, and what to add to its logit; None adds nothing."""
        if field == ONSET:
            self._look(at, at.now, at.max_onset)
        elif field == KIND:
            self._look(at, at.now + event[ONSET], 0)
        if self.is_new and field == PITCH and is_played(event[KIND]) and at.expected is not None:
            return at.expected[PITCH], self.pull
        if self.meant is None or field == SHIFT:
            return None
        if field == ONSET:
            return self.later, self.pull
        agrees = all(event[f] == self.meant[f] for f in (KIND, PITCH) if f < field)
        return (self.meant[field], self.pull) if agrees and self.meant[field] != NOT_APPLICABLE else None

    def _look(self, at: ContextTracker, step: int, reach: int) -> None:
        """Find the next note, at most `reach` steps on, of the bars that this one and the next ones return to."""
        self.meant, self.is_new = None, False
        if at.metre is None:
            return
        bars = (step - at.bar_start) // at.bar_length
        bar, line = at.bar_number + bars, at.bar_start + bars * at.bar_length
        start = step
        while start <= step + reach:
            back, self.pull = self.form.returns(bar, at.bars)
            then = line - back * at.bar_length
            if not 0 < back <= bar or then < at.metre_since:
                self.is_new = back == 0 and start == step
                return
            source = start - back * at.bar_length
            heard = place(source, at.last_kind, at.last_pitch) if start == at.now else -1
            self._find(at, source, min(then + at.bar_length, source + step + reach - start + 1), heard)
            if self.meant is not None:
                self.later += start - step
                return
            bar, line = bar + 1, line + at.bar_length
            start = line

    def _find(self, at: ContextTracker, step: int, until: int, heard: int) -> None:
        """The first note from a step on whose place comes after what was heard, if it comes before another step."""
        for n in range(bisect_left(at.steps, step), len(at.steps)):
            event = at.events[n]
            if at.steps[n] >= until:
                return
            if is_played(event[KIND]) and place(at.steps[n], event[KIND], event[PITCH]) > heard:
                self.meant, self.later = event, at.steps[n] - step
                return
