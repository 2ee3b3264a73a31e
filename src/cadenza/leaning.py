"""Leaning: how a piece is kept near a mood while it is drawn.

A mood asks for levels of what is measured (see `character`). Of the music so far the same is measured, note by note,
and the farther it lies off its third, the more is added to the logits of what would lead there: lower or higher keys,
softer or louder notes, longer or shorter waits, the degrees of a minor or major key. So a piece leans as much as it
needs to, and is left to the network where it is where it should be. Not exact, as the network has its say.

Source of the key profiles: see `score.estimate_key`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cadenza.score import key_profiles
from cadenza.vocabulary import FIRST_KIT, KIND, N_KINDS, N_PITCH_VALUES, ONSET, PITCH, VELOCITY, plays

FloatArray = NDArray[np.float32]

# Added to a logit at each of the strengths 1 .. STRONGEST.
PER_KEY = 0.05  # a semitone
PER_LOUDNESS = 4.0  # from the softest to the loudest
PER_QUARTER = 0.7  # of waiting
PER_DEGREE = 1.5  # from the least to the best fitting note of a key
STRONGEST, AT_FIRST = 4, 2  # strengths, the latter as long as nothing has been heard
LONGEST_WAIT = 4  # quarters; all longer ones count the same


@dataclass
class Leaning:
    """Where a piece should lie, and where it does; levels and thirds by attribute.

    favoured: what to add to the logit of a kind that has not played yet (see `Repertoire.favoured`).
    """

    levels: dict[str, int]
    thirds: dict[str, tuple[float, float]]
    steps_per_quarter: int
    velocity_levels: int
    favoured: dict[int, float]
    notes: int = 0
    steps: int = 0
    velocity: float = 0.0  # sums of those of the notes so far
    pitched: int = 0
    pitch: float = 0.0
    classes: NDArray[np.float64] = field(default_factory=lambda: np.zeros(12))
    entries: FloatArray = field(init=False)  # of the kinds that have not played yet

    def __post_init__(self) -> None:
        self.entries = np.zeros(N_KINDS, np.float32)
        self.entries[list(self.favoured)] = list(self.favoured.values())

    def copy(self) -> Leaning:
        """One that goes on from here by itself."""
        other = copy.copy(self)
        other.classes, other.entries = self.classes.copy(), self.entries.copy()
        return other

    def advance(self, onset: int, kind: int, pitch: int, velocity: int, duration: int) -> None:
        """Take note of an event."""
        self.steps += onset
        if not plays(kind):
            return
        self.notes += 1
        self.entries[kind] = 0
        self.velocity += 128 * (velocity + 0.5) / self.velocity_levels
        if kind < FIRST_KIT:
            self.pitched += 1
            self.pitch += pitch
            self.classes[pitch % 12] += min(duration, 4 * self.steps_per_quarter)

    def tilt(self, event_field: int, kind: int) -> FloatArray | None:
        """What to add to the logits of a field of the next event; None adds nothing."""
        if event_field == ONSET and "density" in self.levels:
            mean = self.notes * self.steps_per_quarter / self.steps if self.steps else None
            return self._waits * -self._strength("density", mean)
        if event_field == VELOCITY and "loudness" in self.levels:
            return self._loudness * self._strength(
                "loudness", self.velocity / self.notes if self.notes else None
            )
        if event_field == KIND and self.favoured:
            return self.entries
        if event_field == PITCH and plays(kind) and kind < FIRST_KIT:
            return self._keys()
        return None

    def _keys(self) -> FloatArray | None:
        found = None
        if "register" in self.levels:
            mean = self.pitch / self.pitched if self.pitched else None
            found = self._heights * self._strength("register", mean)
        if "mode" in self.levels and self.pitched:
            profiles = key_profiles()[12:] if self.levels["mode"] == 0 else key_profiles()[:12]
            tonic = int(np.argmax(profiles @ self.classes))
            degrees = self._degrees[self.levels["mode"]][tonic]
            found = degrees if found is None else found + degrees
        return found

    def _strength(self, name: str, mean: float | None) -> float:
        """From 0, where the piece is in its third, up to STRONGEST; below 0 towards lower values."""
        low, high = self.thirds[name]
        sign = 1 if self.levels[name] == 2 else -1
        if mean is None:
            return float(sign * AT_FIRST)
        off = (high - mean if sign > 0 else mean - low) / (high - low)
        return sign * min(STRONGEST, max(0.0, 1.0 + 2.0 * off))

    @cached_property
    def _waits(self) -> FloatArray:
        quarters = np.arange(8 * self.steps_per_quarter + 1) / self.steps_per_quarter
        return (PER_QUARTER * np.minimum(quarters, LONGEST_WAIT)).astype(np.float32)

    @cached_property
    def _loudness(self) -> FloatArray:
        return np.linspace(-PER_LOUDNESS / 2, PER_LOUDNESS / 2, self.velocity_levels, dtype=np.float32)

    @cached_property
    def _heights(self) -> FloatArray:
        return _of_pitches(PER_KEY * (np.arange(128) - 60))

    @cached_property
    def _degrees(self) -> tuple[list[FloatArray], list[FloatArray]]:
        """Of minor and of major keys on each tonic: what to add for every key."""
        profiles = key_profiles()
        spans = PER_DEGREE * (profiles - profiles.max()) / (profiles.max() - profiles.min())
        tilts = [_of_pitches(span[np.arange(128) % 12]) for span in spans]
        return tilts[12:], tilts[:12]


def _of_pitches(values: NDArray[np.floating[Any]]) -> FloatArray:
    """Values of the 128 keys as those of the field, in which metres and tempi come after them."""
    found = np.zeros(N_PITCH_VALUES, np.float32)
    found[:128] = values
    return found
