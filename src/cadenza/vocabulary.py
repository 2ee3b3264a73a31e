"""The numbers that stand for kinds of events, metres, tempi and instruments."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cadenza.score import DEFAULT_QPM, DRUM_KIT, DRUM_KITS, IntArray, bar_ticks

ONSET, KIND, PITCH, DURATION, VELOCITY, SHIFT = range(6)

# Kinds, in the order in which they come at one step.
METRE_KIND, TEMPO_KIND, FIRST_INSTRUMENT = 0, 1, 2
FIRST_KIT = FIRST_INSTRUMENT + DRUM_KIT
KITS = tuple(DRUM_KITS)
REST_KIND = FIRST_KIT + len(KITS)
END_KIND = REST_KIND + 1
N_KINDS = END_KIND + 1

MAX_NUMERATOR = 24
DENOMINATORS = (1, 2, 4, 8, 16, 32)
N_METRES = 1 + MAX_NUMERATOR * len(DENOMINATORS)  # the first one is "no metre"
TEMPO_STEPS_PER_OCTAVE = 16  # a step is 4.4 %
N_TEMPI = 4 * TEMPO_STEPS_PER_OCTAVE + 1  # 30 .. 480 quarters a minute
FIRST_METRE_VALUE = 128
FIRST_TEMPO_VALUE = FIRST_METRE_VALUE + N_METRES
N_PITCH_VALUES = FIRST_TEMPO_VALUE + N_TEMPI

SHIFTS = 8  # per step
PHRASE_BARS = 8
MAX_STYLES = 64  # that a model can tell apart
STYLE_VOTES = 4  # of which a mixture of styles has a share each
MAX_BARS_LEFT = 16
UNKNOWN_BARS_LEFT = MAX_BARS_LEFT + 1

EventArray = NDArray[np.signedinteger[Any]]


def tempo_of(level: IntArray) -> NDArray[np.float64]:
    """Quarters a minute of tempo levels (N,)."""
    return np.asarray(DEFAULT_QPM * 2.0 ** ((level - N_TEMPI // 2) / TEMPO_STEPS_PER_OCTAVE))


def tempo_level(qpm: Any) -> IntArray:
    """The nearest levels (N,) of tempi in quarters a minute."""
    octaves = np.log2(np.maximum(np.asarray(qpm, dtype=np.float64), 1.0) / DEFAULT_QPM)
    nearest = np.floor(octaves * TEMPO_STEPS_PER_OCTAVE + 0.5 + 1e-9).astype(np.int64)
    return np.clip(nearest + N_TEMPI // 2, 0, N_TEMPI - 1)


def metre_value(numerator: Any, denominator: Any) -> IntArray:
    """Number of a metre; one with a numerator over 24 or an unusual denominator counts as none."""
    numerator, denominator = np.asarray(numerator, dtype=np.int64), np.asarray(denominator, dtype=np.int64)
    power = np.searchsorted(DENOMINATORS, denominator)
    known = np.isin(denominator, DENOMINATORS) & (numerator >= 1) & (numerator <= MAX_NUMERATOR)
    return np.where(known, 1 + (numerator - 1) * len(DENOMINATORS) + power, 0)


def metre_of(value: IntArray) -> tuple[IntArray, IntArray]:
    """Numerators and denominators of metres (N,) by number; 0/4 is none."""
    numerator = np.where(value > 0, (value - 1) // len(DENOMINATORS) + 1, 0)
    denominator = np.where(value > 0, np.array(DENOMINATORS)[(value - 1) % len(DENOMINATORS)], 4)
    return numerator, denominator


@cache
def bar_steps(value: int, steps_per_quarter: int) -> int:
    """Length in steps of a bar in the metre with this number."""
    numerator, denominator = metre_of(np.array([value]))
    return bar_ticks(int(numerator[0]), int(denominator[0]), steps_per_quarter)


@cache
def duration_steps(steps_per_quarter: int) -> IntArray:
    """The durations that there are, in steps: every one up to 8 quarters, then whole quarters up to 32."""
    fine = np.arange(1, 8 * steps_per_quarter + 1)
    steps = np.concatenate([fine, np.arange(9, 33) * steps_per_quarter])
    steps.flags.writeable = False  # there is but one
    return steps


def known_instrument(instrument: Any) -> IntArray:
    """Instruments (N,) with unknown drum kits replaced by the nearest kit below (General MIDI 2)."""
    instrument = np.asarray(instrument, dtype=np.int64)
    kits = np.array(KITS)
    kit = kits[np.searchsorted(kits, np.maximum(instrument - DRUM_KIT, 0), side="right") - 1]
    return np.where(instrument < DRUM_KIT, instrument, DRUM_KIT + kit)


def kind_of_instrument(instrument: Any) -> IntArray:
    """Event kinds of instruments (N,)."""
    instrument = known_instrument(instrument)
    kit = np.searchsorted(KITS, np.maximum(instrument - DRUM_KIT, 0))
    return np.where(instrument < DRUM_KIT, FIRST_INSTRUMENT + instrument, FIRST_KIT + kit)


def plays(kind: Any) -> NDArray[np.bool_]:
    """Which of these kinds (N,) are instruments or kits, whose events are notes."""
    kind = np.asarray(kind)
    return np.asarray((kind >= FIRST_INSTRUMENT) & (kind < REST_KIND))


def is_played(kind: int) -> bool:
    """`plays` for a single kind, of which composing asks at every event."""
    return FIRST_INSTRUMENT <= kind < REST_KIND


def place(step: Any, kind: Any, pitch: Any) -> Any:
    """Rank of an event in the order in which events come: by step, kind, and key from high to low."""
    return (step * N_KINDS + kind) * N_PITCH_VALUES - pitch


def instrument_of_kind(kind: Any) -> IntArray:
    """Instruments of note kinds (N,)."""
    kind = np.asarray(kind, dtype=np.int64)
    kit = np.array(KITS)[np.clip(kind - FIRST_KIT, 0, len(KITS) - 1)]
    return np.where(kind < FIRST_KIT, kind - FIRST_INSTRUMENT, DRUM_KIT + kit)
