"""Names of pitches in a key: which of C sharp and D flat, by the line of fifths.

A name is its place on the line of fifths (... Bb -2, F -1, C 0, G 1, ... F# 6 ...). Of the names that a key has, the one
nearest to the key and to what sounded lately is meant (Temperley 2001); where two are about as near, a note that
rises by a semitone is the sharper, one that falls the flatter.
"""

from __future__ import annotations

from collections.abc import Sequence

from cadenza.sheet.grid import DIVISIONS, Tone

STEPS = "FCGDAEB"  # from place -1 on
FLATTEST, SHARPEST = -12, 16
LATELY = 16  # notes whose mean place counts
OF_KEY = 0.6  # how much the key counts against what sounded lately
LEADING = 1.6  # places by which a semitone that follows tips the scale
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
    """Places on the line of fifths of tones in their order."""
    home = fifths + (3 if is_minor else 2)
    follows = _semitones_that_follow(found)
    places: list[int] = []
    for tone, leads in zip(found, follows, strict=True):
        recent = places[-LATELY:]
        centre = OF_KEY * home + (1 - OF_KEY) * (sum(recent) / len(recent) if recent else home)
        first = 7 * tone.pitch % 12 - 12
        names = [place for place in range(first, SHARPEST + 1, 12) if place >= FLATTEST]
        diatonic = [place for place in names if fifths - 1 <= place <= fifths + 5]
        centre += LEADING * leads
        places.append(diatonic[0] if diatonic else min(names, key=lambda place: abs(place - centre)))
    return places


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
