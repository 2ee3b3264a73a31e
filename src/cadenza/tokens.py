"""The tutorial's representation: a piece as a row of note and chord names, one every half quarter.

Kept as a schema of a single field, so that the usual tutorial's network can be trained, sampled and
measured by the same code as ours. Rhythm, loudness and instruments are lost, as they are there.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cadenza.errors import InputError
from cadenza.events import DrawGap, EncodedPiece
from cadenza.schema import NEVER, Field, Schema
from cadenza.score import DRUM_KIT, Score, make_notes, pitch_name
from cadenza.vocabulary import EventArray

UNKNOWN = 0
TOKENS_PER_BAR = 8
_TICKS_PER_QUARTER = 12
_NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def notes_and_chords(score: Score) -> list[str]:
    """Names of what is struck at each onset, such as ['C4', 'F#4', 'E4+G4+C5'], chords from low to high."""
    return ["+".join(pitch_name(p) for p in chord) for chord in _chords(score)]


def _chords(score: Score) -> list[list[int]]:
    notes = score.notes[score.notes["instrument"] < DRUM_KIT]
    strokes = np.unique(np.stack([notes["onset"], notes["pitch"]], axis=1), axis=0)
    starts = np.flatnonzero(np.diff(strokes[:, 0])) + 1
    return [chord[:, 1].tolist() for chord in np.split(strokes, starts) if len(chord)]


def pitch_of_name(name: str) -> int:
    """Inverse of `pitch_name`: 60 for "C4"."""
    sharp = name[1:2] == "#"
    return _NATURALS[name[0]] + sharp + 12 * (int(name[1 + sharp :]) + 1)


def checked_name(name: str) -> str:
    """The name of a note or a chord; raises KeyError, IndexError or ValueError if it is none."""
    pitches = [pitch_of_name(part) for part in name.split("+")]
    if not all(0 <= pitch < 128 for pitch in pitches) or "+".join(map(pitch_name, pitches)) != name:
        raise ValueError("no name of keys that there are")
    return name


@dataclass(frozen=True)
class NotesAndChords:
    """Note and chord names as events of one field; value 0 stands for names that the corpus lacks."""

    vocabulary: tuple[str, ...]

    @classmethod
    def of(cls, scores: Iterable[Score]) -> NotesAndChords:
        """With every name that these scores use; raises InputError if there is none."""
        names = {name for score in scores for name in notes_and_chords(score)}
        if not names:
            raise InputError("no pitched notes, which is all that this preset knows; use another preset.")
        return cls(tuple(sorted(names)))

    @cached_property
    def schema(self) -> Schema:
        """One field, no context."""
        return Schema((Field("token", len(self.vocabulary) + 1),))

    @cached_property
    def _values(self) -> dict[str, int]:
        return {name: value for value, name in enumerate(self.vocabulary, 1)}

    def encode(self, score: Score) -> EventArray:
        """Events (N, 1), one for each onset."""
        values = [self._values.get(name, UNKNOWN) for name in notes_and_chords(score)]
        return np.array(values, dtype=np.int32).reshape(-1, 1)

    def encode_piece(
        self,
        score: Score,
        *,
        bars_to_come: int | None = None,
        matches: bool = True,
        gap: DrawGap | None = None,
        style: str | None = None,
    ) -> EncodedPiece:
        """Events, and no context."""
        events = self.encode(score)
        return EncodedPiece(events, np.empty((len(events), 0), dtype=np.int16))

    def decode(self, events: NDArray[Any]) -> Score:
        """Score of events (N, 1): every name sounds for half a quarter."""
        step = _TICKS_PER_QUARTER // 2
        onset, pitch = [], []
        for index, value in enumerate(np.asarray(events)[:, 0]):
            if value > UNKNOWN:
                keys = [pitch_of_name(name) for name in self.vocabulary[value - 1].split("+")]
                onset += [index * step] * len(keys)
                pitch += keys
        return Score(_TICKS_PER_QUARTER, make_notes(onset, step, pitch))

    def to_dict(self) -> dict[str, Any]:
        """What builds this again."""
        return {"type": "notes-and-chords", "vocabulary": list(self.vocabulary)}


class TokenGrammar:
    """Any known name may follow any other, until the wanted bars are full."""

    def __init__(self, representation: NotesAndChords, bars: int) -> None:
        self.left = bars * TOKENS_PER_BAR
        self.done = False
        self.known = np.zeros(len(representation.vocabulary) + 1, np.float32)
        self.known[UNKNOWN] = NEVER

    def copy(self) -> TokenGrammar:
        """One that goes on from here by itself."""
        return copy.copy(self)

    def no_context(self) -> list[int]:
        """There never is any."""
        return []

    def fill_context(self, field: int, event: list[int], context: list[int]) -> None:
        """Nothing to fill in."""

    def bias(self, field: int, event: list[int]) -> NDArray[np.float32]:
        """0 for every name of the vocabulary, NEVER for unknown ones."""
        return self.known

    def taken(self, field: int, value: int) -> int:
        """The value that is drawn."""
        return value

    def advance(self, event: list[int]) -> None:
        """Count down."""
        self.left -= 1
        self.done = self.left <= 0
