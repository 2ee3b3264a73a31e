"""The words for moods, and what they stand for: levels of what `character` measures."""

from __future__ import annotations

LEVELS = {
    "density": ("sparse", "", "dense"),
    "register": ("low", "", "high"),
    "loudness": ("soft", "", "loud"),
    "tempo": ("slow", "", "fast"),
    "mode": ("minor", "major"),
}
UNITS = {
    "density": "notes in a quarter",
    "register": "as mean key",
    "loudness": "as mean velocity",
    "tempo": "quarters a minute",
}
MOODS = {
    "happy": ("major", "fast", "high"),
    "sad": ("minor", "slow", "low"),
    "calm": ("slow", "soft", "sparse"),
    "energetic": ("fast", "loud", "dense"),
    "dark": ("minor", "low"),
    "bright": ("major", "high"),
    "tender": ("major", "slow", "soft"),
    "dramatic": ("minor", "loud", "dense"),
}
