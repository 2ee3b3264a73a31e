"""Names of pitches in a key: which of C sharp and D flat, by the line of fifths.

A name is its place on the line of fifths (... Bb -2, F -1, C 0, G 1, ... F# 6 ...). Of the names that a key has, the one
nearest to the key and to what sounds near it is meant (Temperley 2001); where two are about as near, a note that
rises by a semitone is the sharper, one that falls the flatter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cadenza.sheet.grid import DIVISIONS, Tone

STEPS = "FCGDAEB"  # from place -1 on
FLATTEST, SHARPEST = -12, 16
NEAR = 2 * DIVISIONS  # before and after a note: what sounds there counts
STAYING = 1.5  # places by which a name that was given there tips the scale
OF_KEY = 0.4  # how much the key counts against what sounds near
UNKNOWN = 99
LOWEST_OCTAVE = 0  # that has a number in MusicXML
LEADING = 1.0  # places by which a semitone that follows tips the scale
SOON = 2 * DIVISIONS
_NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def fifths_of(key: str) -> int:
    """Sharps (or flats, below 0) in the signature of a key such as "D minor"; 0 of "none"."""
    if key == "none":
        return 0
    tonic, mode = key.split()
    place = STEPS.index(tonic[0]) - 1 + 7 * tonic.count("#") - 7 * tonic[1:].count("b")
    return place - 3 if mode == "minor" else place


def named(place: int, pitch: int) -> tuple[str, int, int]:
    """Step, alteration in semitones and octave of a key number that has this place on the line of fifths."""
    step, alter = STEPS[(place + 1) % 7], (place + 1) // 7
    return step, alter, (pitch - alter - _NATURALS[step]) // 12 - 1


def alter_in(fifths: int, step: str) -> int:
    """How a signature alters a step."""
    return (fifths + 6 - (STEPS.index(step))) // 7 if fifths >= 0 else -((-fifths + STEPS.index(step)) // 7)


def spelled(found: Sequence[Tone], fifths: int, is_minor: bool) -> list[int]:
    """Places on the line of fifths of the tones of all parts, in the order in which they begin."""
    home = fifths + (3 if is_minor else 2)
    # A minor key has the leading tone of its dominant, too.
    leading = fifths + 8
    of_key = {place % 12: place for place in (*range(fifths - 1, fifths + 6), *([leading] * is_minor))}
    diatonic = np.array([of_key.get(7 * tone.pitch % 12, UNKNOWN) for tone in found])
    starts = np.array([tone.start for tone in found])
    near = zip(
        np.searchsorted(starts, starts - NEAR),
        np.searchsorted(starts, starts + NEAR, side="right"),
        strict=True,
    )
    places: list[int] = []
    for tone, place, leads, (first, last) in zip(
        found, diatonic, _semitones_that_follow(found), near, strict=True
    ):
        if place == UNKNOWN:
            around = diatonic[first:last]
            known = around[(around != UNKNOWN) & (around != leading)]  # which lies far from the others
            centre = OF_KEY * home + (1 - OF_KEY) * (known.mean() if len(known) else home) + LEADING * leads
            recent = places[first:]
            place = min(
                _names_of(tone.pitch), key=lambda name: abs(name - centre) - STAYING * (name in recent)
            )
        places.append(int(place))
    return places


def _names_of(pitch: int) -> list[int]:
    names = [place for place in range(7 * pitch % 12 - 24, SHARPEST + 1, 12) if place >= FLATTEST]
    return [place for place in names if named(place, pitch)[2] >= LOWEST_OCTAVE] or names


def _semitones_that_follow(found: Sequence[Tone]) -> list[int]:
    """For every tone 1 if one a semitone higher follows soon, -1 if one lower does first, 0 if neither."""
    told = []
    for number, tone in enumerate(found):
        leads = 0
        for later in found[number + 1 : number + 24]:
            if later.start > tone.end + SOON:
                break
            if later.start > tone.start and abs(later.pitch - tone.pitch) == 1:
                leads = later.pitch - tone.pitch
                break
        told.append(leads)
    return told
