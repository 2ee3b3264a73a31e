"""Closing: how the pieces of a corpus end, and how a new one is led to such an end.

A network that has learned for minutes hardly ever ends on the tonic, or on a longer note than those before. How often the pieces
that it learned from do is easily counted: by how much more often than elsewhere a length comes in the last bar in which
notes begin, and a degree of the key among the notes that sound to the end. The logarithm of that, times STRENGTH, is
added to the network's logits in a new piece's last bar (Bayes' rule, as if the bar told nothing of what else the network
goes by). What a corpus does not do asks for nothing. When the last note comes, the network knows by itself.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cadenza.context import bars_of
from cadenza.events import NoteEvents
from cadenza.score import key_profiles
from cadenza.vocabulary import (
    DURATION,
    FIRST_INSTRUMENT,
    FIRST_KIT,
    KIND,
    N_PITCH_VALUES,
    ONSET,
    PITCH,
    EventArray,
)

FloatArray = NDArray[np.float32]

DEGREES = 2 * 2 * 12
LENGTHS = 11  # times of 0, 1, 2-3, 4-7 ... steps are told apart
STRENGTH = 2.0
SMOOTHING = 1.0  # notes by which what was seen, and what was to be expected, are taken to be more
BASS = 6  # semitones above the mean lowest key of bars, to which it reaches
LONGEST_HEARD = 4  # quarters of a note that count for the key


@dataclass(frozen=True)
class Endings:
    """Logarithms of how much more often than elsewhere something comes in a last bar.

    degrees (2 x 2 x 12): semitones above the tonic, of notes of the bass and others, in major and in minor keys, of those
    that sound to the end; lengths (LENGTHS): of notes.
    """

    degrees: tuple[float, ...]
    lengths: tuple[float, ...]

    @classmethod
    def of(cls, pieces: Sequence[EventArray], representation: NoteEvents) -> Endings:
        """Of pieces (N, fields) of these events."""
        counts = [np.zeros((2, DEGREES)), np.zeros((2, LENGTHS))]
        for events in pieces:
            for total, found in zip(counts, _counted(events, representation), strict=True):
                total += found
        degrees, lengths = counts
        apart = degrees.reshape(2, -1, 12)  # of each register and mode, however often it comes
        return cls(*(_rounded(_more_often(*each).ravel()) for each in (apart, lengths)))

    @classmethod
    def mixed(cls, parts: Sequence[Endings], shares: Sequence[float]) -> Endings:
        """Of a mixture of styles."""
        return cls(*(_rounded(np.dot(shares, column)) for column in zip(*map(astuple, parts), strict=True)))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Endings:
        """Inverse of `asdict`; raises ValueError, KeyError or TypeError if it is damaged."""
        found = cls(*(tuple(map(float, data[name])) for name in ("degrees", "lengths")))
        if [len(part) for part in astuple(found)] != [DEGREES, LENGTHS]:
            raise ValueError("parts are missing")
        if not np.isfinite(np.concatenate(astuple(found))).all():
            raise ValueError("parts are no numbers")
        return found


def _counted(events: EventArray, representation: NoteEvents) -> tuple[NDArray[np.float64], ...]:
    """How often each degree (2, DEGREES) and length (2, LENGTHS) comes elsewhere, and at the end, of a piece."""
    step = np.cumsum(events[:, ONSET].astype(np.int64))
    bar = bars_of(events, representation.steps_per_quarter).number_of(step)
    pitched = np.flatnonzero(_is_pitched(events[:, KIND]))
    if not len(pitched):
        return np.zeros((2, DEGREES)), np.zeros((2, LENGTHS))
    steps = representation.durations[events[pitched, DURATION]]
    pitch = events[pitched, PITCH].astype(np.int64)
    heard = np.minimum(steps, LONGEST_HEARD * representation.steps_per_quarter)
    tonic, mode = key_of(np.bincount(pitch % 12, weights=heard, minlength=12).astype(np.float64))
    bars = np.flatnonzero(np.diff(bar[pitched], prepend=-1))
    bass = np.minimum.reduceat(pitch, bars).mean() + BASS
    degree = 24 * (pitch > bass) + 12 * mode + (pitch - tonic) % 12
    is_last = (bar[pitched] == bar[pitched[-1]]).astype(np.int64)
    end = step[pitched] + steps
    sounds_to_the_end = (end >= end.max() - 1).astype(np.int64)
    return _table(sounds_to_the_end, degree, DEGREES), _table(is_last, _digits(steps), LENGTHS)


def _table(is_last: NDArray[Any], value: NDArray[Any], size: int) -> NDArray[np.float64]:
    return np.bincount(is_last * size + value, minlength=2 * size).reshape(2, size).astype(np.float64)


def _more_often(elsewhere: NDArray[np.float64], last: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the ratio to what would come at the end (..., N) if it were as elsewhere, drawn to 0 where little is
    known."""
    both = elsewhere + last
    expected = both * last.sum(axis=-1, keepdims=True) / np.maximum(1.0, both.sum(axis=-1, keepdims=True))
    return np.asarray(np.log((last + SMOOTHING) / (expected + SMOOTHING)))


def _rounded(values: NDArray[Any]) -> tuple[float, ...]:
    return tuple(np.round(values, 3).tolist())


def _digits(steps: NDArray[Any]) -> NDArray[np.int64]:
    """How many binary digits each number of steps (N,) has."""
    return np.minimum(np.ceil(np.log2(steps.astype(np.float64) + 1)).astype(np.int64), LENGTHS - 1)


def _is_pitched(kind: NDArray[Any]) -> NDArray[np.bool_]:
    return (kind >= FIRST_INSTRUMENT) & (kind < FIRST_KIT)


def key_of(heard: NDArray[np.float64]) -> tuple[int, int]:
    """Tonic and mode (0 major, 1 minor) of the likeliest key of music in which each pitch class (12,) is heard so long
    (see `score.estimate_key`)."""
    mode, tonic = divmod(int(np.argmax(key_profiles() @ (heard - heard.mean()))), 12)
    return tonic, mode


class Closing:
    """Leads a piece to its end: hears every note, and tells in the last bar what to add to the logits."""

    def __init__(self, endings: Endings, representation: NoteEvents) -> None:
        self.representation = representation
        self.degrees, self.lengths = (
            (STRENGTH * np.array(part)).astype(np.float32) for part in astuple(endings)
        )
        self.heard = np.zeros(12)
        self.bar, self.lowest = -1, 0  # in which the last note began, and its lowest key
        self.bars, self.lowest_keys = 0, 0  # how many there were, and the sum of their lowest keys

    def copy(self) -> Closing:
        """One that goes on from here by itself."""
        other = copy.copy(self)
        other.heard = self.heard.copy()
        return other

    def after(self, events: EventArray) -> Closing:
        """One that has heard these events (N, fields)."""
        found = self.copy()
        is_pitched = _is_pitched(events[:, KIND])
        pitched = events[is_pitched]
        steps = self.representation.durations[pitched[:, DURATION]]
        bars = bars_of(events, self.representation.steps_per_quarter).number_of(
            np.cumsum(events[:, ONSET].astype(np.int64))[is_pitched]
        )
        columns = (pitched[:, KIND], pitched[:, PITCH], steps, bars)
        for kind, pitch, length, bar in np.stack(columns, axis=1).tolist():
            found.advance(kind, pitch, length, bar)
        return found

    def advance(self, kind: int, pitch: int, steps: int, bar: int) -> None:
        """Take note of a note of so many steps that begins in a bar."""
        if FIRST_INSTRUMENT <= kind < FIRST_KIT:
            if bar != self.bar:
                self.bar, self.lowest = bar, pitch
                self.bars, self.lowest_keys = self.bars + 1, self.lowest_keys + pitch
            elif pitch < self.lowest:
                self.lowest_keys += pitch - self.lowest
                self.lowest = pitch
            self.heard[pitch % 12] += min(steps, LONGEST_HEARD * self.representation.steps_per_quarter)

    def tilt(self, event_field: int, kind: int) -> FloatArray | None:
        """What to add to the logits of a field of an event in the last bar; None adds nothing."""
        if not FIRST_INSTRUMENT <= kind < FIRST_KIT:
            return None
        if event_field == DURATION:
            return self._lengths
        return self._pitches() if event_field == PITCH and self.heard.any() else None

    @cached_property
    def _lengths(self) -> FloatArray:
        return self.lengths[_digits(self.representation.durations)]

    def _pitches(self) -> FloatArray:
        tonic, mode = key_of(self.heard)
        found = np.zeros(N_PITCH_VALUES, np.float32)
        keys = np.arange(128)
        bass = self.lowest_keys / self.bars + BASS
        found[:128] = self.degrees[24 * (keys > bass) + 12 * mode + (keys - tonic) % 12]
        return found
