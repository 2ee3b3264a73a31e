"""Leaning: how a piece is kept near a mood, and to as many players as a style has, while it is drawn.

Both ask that what is measured (see `character`) lies between two values; all else of a style the network knows, which
is told it. Of the music so far the same is measured, note by note, and the farther it lies off, the more is added to the
logits of what would lead there: lower or higher keys, softer or louder notes, longer or shorter waits, more or fewer
notes at once, the degrees of a minor or major key. So a piece leans as much as it needs to, and is left to the network
where it is where it should be. Not exact, as the network has its say.

Source of the key profiles: see `score.estimate_key`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cadenza.character import Range
from cadenza.score import key_profiles
from cadenza.vocabulary import (
    FIRST_INSTRUMENT,
    FIRST_KIT,
    KIND,
    N_KINDS,
    N_PITCH_VALUES,
    ONSET,
    PITCH,
    REST_KIND,
    VELOCITY,
    is_played,
)

FloatArray = NDArray[np.float32]

# Added to a logit at each of the strengths 1 .. STRONGEST.
PER_KEY = 0.05  # a semitone
PER_LOUDNESS = 8.0  # from the softest to the loudest
PER_QUARTER = 6.0  # of waiting
PER_PLAYER = 2.0  # of those that have not played yet
PER_MOMENT = 1.5  # from a note that begins later to one that begins at once
PER_DEGREE = 1.5  # from one of two keys' profiles to the other
MARGIN = 0.1  # of correlation, by which a key should lead over those of the other mode
STRONGEST, AT_FIRST = 4, 2  # strengths, the latter as long as nothing has been heard
LONGEST_WAIT = 1  # quarters; all longer ones count the same, else silence were the shortest way to few notes
USUAL_WAIT = 0.25  # quarters, as which a note at the same time counts: else chords without end were the way to many notes
# As if so much had been heard before that lay where it should: else the first chord is far too dense, and calls for silence.
QUARTERS_BEFORE, MOMENTS_BEFORE = 4, 8
NOTES_BEFORE = 8  # likewise of keys and loudness: else a first note off the register calls for one far on the other side of it


@dataclass
class Leaning:
    """Where a piece should lie, and where it does.

    aims: the lowest and highest value of each attribute; of the mode, 0 (minor) or 1. widths: of an attribute, by which
    distances are measured. favoured: what to add to the logit of a kind that has not played yet (see
    `Repertoire.favoured`).
    """

    aims: dict[str, Range]
    widths: dict[str, float]
    steps_per_quarter: int
    velocity_levels: int
    favoured: dict[int, float]
    notes: int = 0
    steps: int = 0
    moments: int = 0  # at which notes begin
    last_moment: int = -1
    velocity: float = 0.0  # sums of those of the notes so far
    pitched: int = 0
    pitch: float = 0.0
    classes: NDArray[np.float64] = field(default_factory=lambda: np.zeros(12))
    players: int = 0
    waiting: FloatArray = field(init=False)  # 1 for each kind of player that has not played yet
    favour: FloatArray = field(init=False)  # for each of them, what style adds

    def __post_init__(self) -> None:
        self.waiting, self.favour = np.zeros(N_KINDS, np.float32), np.zeros(N_KINDS, np.float32)
        self.waiting[FIRST_INSTRUMENT:REST_KIND] = 1
        self.favour[list(self.favoured)] = list(self.favoured.values())

    def copy(self) -> Leaning:
        """One that goes on from here by itself."""
        other = copy.copy(self)
        other.classes = self.classes.copy()
        other.waiting, other.favour = self.waiting.copy(), self.favour.copy()
        return other

    def advance(self, onset: int, kind: int, pitch: int, velocity: int, duration: int) -> None:
        """Take note of an event."""
        self.steps += onset
        if not is_played(kind):
            return
        self.notes += 1
        self.moments += self.steps != self.last_moment
        self.last_moment = self.steps
        self.players += int(self.waiting[kind])
        self.waiting[kind] = self.favour[kind] = 0
        self.velocity += 128 * (velocity + 0.5) / self.velocity_levels
        if kind < FIRST_KIT:
            self.pitched += 1
            self.pitch += pitch
            self.classes[pitch % 12] += min(duration, 4 * self.steps_per_quarter)

    def tilt(self, event_field: int, kind: int) -> FloatArray | None:
        """What to add to the logits of a field of the next event; None adds nothing."""
        if event_field == ONSET:
            return self._onsets()
        if event_field == VELOCITY and "loudness" in self.aims:
            return self._loudness * self._strength("loudness", self.velocity, self.notes, NOTES_BEFORE)
        if event_field == KIND and (self.favoured or "players" in self.aims):
            return self._entries()
        if event_field == PITCH and is_played(kind) and kind < FIRST_KIT:
            return self._keys()
        return None

    def _entries(self) -> FloatArray:
        if "players" not in self.aims:
            return self.favour
        strength = self._strength("players", self.players + 0.5, 1)  # half way to one more
        return self.favour + np.float32(PER_PLAYER * strength) * self.waiting

    def _onsets(self) -> FloatArray | None:
        found = None
        if "density" in self.aims and self.notes:
            quarters = self.steps / self.steps_per_quarter
            found = self._waits * -self._strength("density", self.notes, quarters, QUARTERS_BEFORE)
        if "texture" in self.aims:
            at_once = np.zeros_like(self._waits)
            at_once[0] = PER_MOMENT * self._strength("texture", self.notes, self.moments, MOMENTS_BEFORE)
            found = at_once if found is None else found + at_once
        return found

    def _keys(self) -> FloatArray | None:
        found = None
        if "register" in self.aims:
            found = self._heights * self._strength("register", self.pitch, self.pitched, NOTES_BEFORE)
        if "mode" in self.aims and self.pitched:
            degrees = self._degrees()
            found = degrees if found is None else found + degrees
        return found

    def _strength(self, name: str, total: float, count: float, before: float = 0.0) -> float:
        """Up to STRONGEST where the mean lies too low, down to its opposite where it lies too high; 0 well between.

        before: how much counts as heard at the nearest value that is aimed at.
        """
        low, high = self.aims[name]
        if not count:
            return AT_FIRST * (float(high == np.inf) - float(low == -np.inf))
        nearest = min(max(total / count, low), high)
        mean, width = (total + before * nearest) / (count + before), self.widths[name]
        up, down = (min(STRONGEST, max(0.0, 1.0 + 2.0 * off / width)) for off in (low - mean, mean - high))
        return up - down

    @cached_property
    def _waits(self) -> FloatArray:
        quarters = np.arange(8 * self.steps_per_quarter + 1) / self.steps_per_quarter
        quarters[0] = USUAL_WAIT
        return (PER_QUARTER * np.minimum(quarters, LONGEST_WAIT)).astype(np.float32)

    @cached_property
    def _loudness(self) -> FloatArray:
        return np.linspace(-PER_LOUDNESS / 2, PER_LOUDNESS / 2, self.velocity_levels, dtype=np.float32)

    @cached_property
    def _heights(self) -> FloatArray:
        return _of_pitches(PER_KEY * (np.arange(128) - 60))

    def _degrees(self) -> FloatArray:
        """What tells the likeliest key of the mode from its strongest rival of the other mode, as far as it has to
        be told: the keys' common notes are left to the network."""
        heard = self.classes - self.classes.mean()
        fits = key_profiles() @ heard / max(1e-9, float(np.linalg.norm(heard)))
        own, other = (
            (slice(12, 24), slice(0, 12)) if self.aims["mode"][1] <= 0 else (slice(0, 12), slice(12, 24))
        )
        wanted, rival = int(np.argmax(fits[own])), int(np.argmax(fits[other]))
        ahead = float(fits[own][wanted] - fits[other][rival])
        strength = min(STRONGEST, max(0.0, 1.0 + (MARGIN - ahead) / MARGIN))
        towards = key_profiles()[own][wanted] - key_profiles()[other][rival]
        strength *= self.pitched / (self.pitched + NOTES_BEFORE)  # a few notes tell little of a key
        return _of_pitches(PER_DEGREE * strength * towards[np.arange(128) % 12])


def _of_pitches(values: NDArray[np.floating[Any]]) -> FloatArray:
    """Values of the 128 keys as those of the field, in which metres and tempi come after them."""
    found = np.zeros(N_PITCH_VALUES, np.float32)
    found[:128] = values
    return found
