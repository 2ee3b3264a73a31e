"""Where the keys of a drum kit (General MIDI) are written, as most drummers read them (Weinberg 1998)."""

from __future__ import annotations

FEET = frozenset({35, 36, 44})  # bass drums, and the hi-hat's pedal
CROSS, CIRCLED, DIAMOND, TRIANGLE = "x", "circle-x", "diamond", "triangle"
# Key: step, octave and shape of the head, empty for the usual one.
_PLACES = {
    22: ("G", 5, CROSS), 26: ("G", 5, CIRCLED),  # the edge of the hi-hat, as Roland's kits have it
    35: ("E", 4, ""), 36: ("F", 4, ""), 37: ("C", 5, CROSS), 38: ("C", 5, ""), 39: ("A", 4, TRIANGLE), 40: ("C", 5, ""),
    41: ("G", 4, ""), 42: ("G", 5, CROSS), 43: ("A", 4, ""), 44: ("D", 4, CROSS), 45: ("B", 4, ""),
    46: ("G", 5, CIRCLED), 47: ("D", 5, ""), 48: ("E", 5, ""), 49: ("A", 5, CROSS), 50: ("F", 5, ""),
    51: ("F", 5, CROSS), 52: ("C", 6, CROSS), 53: ("F", 5, DIAMOND), 54: ("B", 5, TRIANGLE), 55: ("B", 5, CROSS),
    56: ("E", 5, TRIANGLE), 57: ("B", 5, CROSS), 59: ("F", 5, CROSS),
}  # fmt: skip
_OTHERS = ("E", 5, DIAMOND)


def place_of(key: int) -> tuple[str, int, str]:
    """Step, octave and shape of the head for a key of a drum kit."""
    return _PLACES.get(key, _OTHERS)
