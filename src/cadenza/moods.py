"""The words for moods, and what they stand for: levels of what `character` measures."""

from __future__ import annotations

LEVELS = {
    "players": ("solo", "", "ensemble"),
    "density": ("sparse", "", "dense"),
    "texture": ("thin", "", "full"),
    "register": ("low", "", "high"),
    "loudness": ("soft", "", "loud"),
    "tempo": ("slow", "", "fast"),
    "mode": ("minor", "major"),
}
UNITS = {
    "players": "instruments",
    "density": "notes in a quarter",
    "texture": "notes that begin at once",
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
