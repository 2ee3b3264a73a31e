"""Form: which bars of a piece return, and how a new piece is led back to its own.

What makes a piece out of bars is that some come again: a phrase four or eight bars later, a verse, the groove of the drums. A
network that remembers two bars knows little of that. But how far before each bar of a piece the one lies that it is most like,
and how like it is, is easily written down, tells nothing of the notes, and can be taken over: a new piece has the form of
a piece that was learned from, or one that the user writes as letters. In a bar that is to be like an earlier one, the
event that came at the same place then gets a bonus on the network's logits, field by field: the more alike the bars are to
be, the larger. In a bar that is to be new, the key that followed the last time gets the opposite. The network may still
leave, and is led on from wherever it is.

The likeness of two bars is that of Museformer (Yu et al., NeurIPS 2022): the share of their notes that both have.
"""

from __future__ import annotations

import copy
import math
import re
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from cadenza.context import ContextTracker, bars_of
from cadenza.errors import InputError
from cadenza.events import NoteEvents
from cadenza.schema import NOT_APPLICABLE
from cadenza.vocabulary import DURATION, KIND, ONSET, PITCH, SHIFT, EventArray, place, plays

N_NOTE_FIELDS = 5  # of a note, all but how far it leaves the grid
LONGEST = 64  # bars of a form; a longer piece begins it again
LEAST_ALIKE = 0.3  # below, a bar counts as new
BONUS = -0.5  # added to the logit of each field's chance, if bars are to be so alike
NOVELTY, CONTRAST = (
    1.0,
    3.0,
)  # taken, in a new bar and a new part, from the logit of the key that followed the last time
SAME, VARIED = 0.98, 0.8  # how alike the parts of a form in letters are to be
FREE = "free"  # the form that the network is left to


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
            alike.append(most if most >= LEAST_ALIKE else 0.0)
            same = [b for b, value in likeness.items() if value == most]
            before = back[-1] if back else 0
            back.append(0 if most < LEAST_ALIKE else before if before in same else same[0])
        return cls(tuple(back), tuple(alike))

    def __str__(self) -> str:
        """Such as "- - 1:4 2:9": new, new, somewhat like the bar before, nearly the same as the one two bars before."""
        tenths = [min(9, max(1, round(10 * alike))) for alike in self.alike]
        return " ".join(f"{b}:{tenth}" if b else "-" for b, tenth in zip(self.back, tenths, strict=True))

    @classmethod
    def parse(cls, text: str) -> Form:
        """Inverse of `str`, but for the tenths; raises ValueError for anything else."""
        bars = [re.fullmatch(r"-|([1-9]\d?):([1-9])", bar) for bar in text.split(" ")]
        if len(bars) > LONGEST or not all(bars):
            raise ValueError("not a form")
        pairs = [(int(bar[1] or 0), int(bar[2] or 0) / 10) for bar in bars if bar]
        return cls(tuple(back for back, _ in pairs), tuple(alike for _, alike in pairs))

    def returns(self, bar: int, bars: int) -> tuple[int, float]:
        """How many bars back a bar of a piece of so many bars returns, 0 if it is new, and the bonus of what was heard."""
        n = bar % len(self.back)
        return (self.back[n], bonus(self.alike[n])) if 0 < self.back[n] <= bar else (0, -NOVELTY)


@dataclass(frozen=True)
class Parts:
    """A form in letters, each a part of the piece and all equally long: "AABA"; after a ' a part returns varied."""

    letters: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Parts:
        """Raises InputError for anything else."""
        letters = re.findall(r"[A-Z]'?", text)
        if "".join(letters) != text or not letters:
            raise InputError(f"the form {text!r} is not of letters such as AABA or AA'BA, nor {FREE}.")
        return cls(tuple(letters))

    def returns(self, bar: int, bars: int) -> tuple[int, float]:
        """How many bars back a bar of a piece of so many bars returns, 0 if it is new, and the bonus of what was heard."""
        starts = [n * bars // len(self.letters) for n in range(len(self.letters) + 1)]
        part = int(np.searchsorted(starts, bar, side="right")) - 1
        letter = self.letters[min(part, len(self.letters) - 1)]
        first = next(n for n, other in enumerate(self.letters) if other[0] == letter[0])
        if first >= part or starts[first] + bar - starts[part] >= starts[first + 1]:
            return 0, -CONTRAST if part else -NOVELTY
        return starts[part] - starts[first], bonus(VARIED if "'" in letter else SAME)


def _bars(events: EventArray, representation: NoteEvents) -> list[set[tuple[int, ...]]]:
    """What begins in each of the first bars of a piece: (position, kind, key, length)."""
    notes = plays(events[:, KIND])
    step = np.cumsum(events[:, ONSET].astype(np.int64))[notes]
    metres = bars_of(events, representation.steps_per_quarter)
    number = metres.number_of(step)
    metre = np.maximum(np.searchsorted(metres.start, step, side="right") - 1, 0)
    position = (step - metres.start[metre]) % metres.length[metre]
    found: list[set[tuple[int, ...]]] = [set() for _ in range(min(LONGEST, int(number.max(initial=-1)) + 1))]
    columns = (position, *(events[notes, column] for column in (KIND, PITCH, DURATION)))
    for bar, note in zip(number.tolist(), np.stack(columns, axis=1).tolist(), strict=True):
        if bar < LONGEST:
            found[bar].add(tuple(note))
    return found


def bonus(alike: float) -> float:
    """For two bars to be so alike (0 .. 1), as much of their notes must be the same, and so must all fields of each."""
    field = (2 * alike / (1 + alike)) ** (1 / N_NOTE_FIELDS)
    return max(0.0, BONUS + math.log(field / (1 - field)))


class Reprise:
    """Leads a piece through a form: tells which value of the next event gets a bonus, and how large it is."""

    def __init__(self, form: Form | Parts) -> None:
        self.form = form
        # Of the next event, as far as its place is known: the one that it is to be like, and how far that lies after the
        # place; how many bars back; the bonus of what was heard there, or, in a new bar, the last time.
        self.meant: list[int] | None = None
        self.later, self.back, self.bonus = 0, 0, 0.0

    def copy(self) -> Reprise:
        """One that goes on from here by itself."""
        return copy.copy(self)

    def tilt(self, at: ContextTracker, field: int, event: list[int]) -> tuple[int, float] | None:
        """The value of a field of the next event that gets a bonus, and the bonus."""
        if field == ONSET:
            self._look(at, 0)
        elif field == KIND:
            self._look(at, event[ONSET])
        if self.back == 0 and field == PITCH and plays(event[KIND]) and at.expected is not None:
            return at.expected[PITCH], self.bonus
        if self.meant is None or field == SHIFT:
            return None
        if field == ONSET:
            return self.later, self.bonus
        agrees = self.later == 0 and all(event[f] == self.meant[f] for f in (KIND, PITCH) if f < field)
        return (self.meant[field], self.bonus) if agrees and self.meant[field] != NOT_APPLICABLE else None

    def _look(self, at: ContextTracker, onset: int) -> None:
        """Find what came after this place in the bar that is to return."""
        self.meant, self.back, self.bonus = None, 0, 0.0
        bars, position = divmod(at.now + onset - at.bar_start, at.bar_length)
        if at.metre is None:
            return
        self.back, self.bonus = self.form.returns(at.bar_number + bars, at.bars)
        step = at.now + onset - self.back * at.bar_length
        if self.back == 0 or step - position < at.metre_since:
            return
        heard = place(step, at.last_kind, at.last_pitch) if onset == 0 else -1
        for n in range(bisect_left(at.steps, step), len(at.steps)):
            event, later = at.events[n], at.steps[n] - step
            if later >= at.bar_length - position:
                return
            if plays(event[KIND]) and place(at.steps[n], event[KIND], event[PITCH]) > heard:
                self.meant, self.later = event, later
                return
