"""Character: what a piece is like as a whole: its style and its measured mood.

A style is a sub-folder of the corpus. Folders have no captions, so moods are words for what can be measured:

    density    notes in a quarter          sparse, dense
    register   mean key                    low, high
    loudness   mean velocity               soft, loud
    tempo      quarters a minute           slow, fast
    mode       of the estimated key        minor, major

each a level of the corpus itself: its lowest, middle or highest third.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cadenza.errors import InputError
from cadenza.moods import LEVELS, MOODS
from cadenza.score import DEFAULT_QPM, DRUM_KIT, Score, estimate_key

_LEVEL_OF = {word: (name, n) for name, words in LEVELS.items() for n, word in enumerate(words) if word}


def measure(score: Score) -> dict[str, float]:
    """What moods are words for, of one piece with notes; the mode is 0 (minor) or 1."""
    notes = score.notes
    pitched = notes[notes["instrument"] < DRUM_KIT]
    quarters = max(1.0, score.end / score.ticks_per_quarter)
    starts = np.append(score.tempi["tick"], score.end) if len(score.tempi) else np.array([0, score.end])
    lasts = np.maximum(np.diff(starts), 0)
    qpm = score.tempi["qpm"] if len(score.tempi) else np.array([DEFAULT_QPM])
    return {
        "density": len(notes) / quarters,
        "register": float(pitched["pitch"].mean()) if len(pitched) else 60.0,
        "loudness": float(notes["velocity"].mean()) if len(notes) else 64.0,
        "tempo": float(np.average(qpm, weights=lasts)) if lasts.sum() else float(qpm[0]),
        "mode": float(estimate_key(score).endswith("major")),
    }


@dataclass(frozen=True)
class Character:
    """What a corpus has to tell: its styles, if there are several, and where its thirds lie."""

    styles: tuple[str, ...] = ()
    thirds: dict[str, tuple[float, float]] = field(default_factory=dict)  # of what differs between pieces

    @classmethod
    def of(cls, scores: Sequence[Score], styles: Sequence[str]) -> Character:
        """Of a corpus of scores, each with its style."""
        names = sorted(set(styles))
        found = [measure(score) for score in scores]
        thirds = {}
        for name in LEVELS:
            values = [values[name] for values in found]
            low, high = (0.0, 1.0) if name == "mode" else np.quantile(values, [1 / 3, 2 / 3])
            if low < high and min(values) < max(values):
                thirds[name] = (float(low), float(high))
        return cls(tuple(names) if len(names) > 1 else (), thirds)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Character:
        """Inverse of `asdict`; raises TypeError, ValueError, KeyError or AttributeError if it is damaged."""
        thirds = {str(n): (float(low), float(high)) for n, (low, high) in data["thirds"].items()}
        if not set(thirds) <= set(LEVELS):
            raise ValueError("unknown attributes")
        return cls(tuple(map(str, data["styles"])), thirds)

    def level(self, name: str, value: float) -> int:
        """Number of the level of a measured attribute."""
        low, high = self.thirds[name]
        if name == "mode":
            return int(value > 0)
        return 0 if value <= low else 2 if value >= high else 1

    def levels(self, mood: str | None) -> dict[str, int]:
        """The level of each attribute that the words of a mood ask for; raises InputError for what this corpus
        cannot tell, or words that contradict each other."""
        found: dict[str, int] = {}
        for word in parse_mood(mood):
            name, level = _LEVEL_OF[word]
            if name not in self.thirds and word in _words(mood):
                raise InputError(f"mood {word!r}: the model's pieces are all alike in {name}; leave it out.")
            if found.get(name, level) != level:
                raise InputError(f"mood {mood!r} asks for two kinds of {name}; leave one out.")
            found[name] = level
        return {name: level for name, level in found.items() if name in self.thirds}

    def shares(self, style: str) -> dict[str, float]:
        """The share of each style in a mixture; raises InputError for one that the corpus has not."""
        found: dict[str, float] = {}
        for name, share in parse_styles(style).items():
            known = self._style(name)
            found[known] = found.get(known, 0.0) + share
        return found

    def _style(self, name: str) -> str:
        for style in self.styles:
            if style.lower() == name.lower():
                return style
        if not self.styles:
            raise InputError(
                "the model knows no styles, since its folder had no sub-folders; leave the style out."
            )
        raise InputError(
            f"the model never saw the style {name}; those it knows are {', '.join(self.styles)}."
        )


def parse_styles(text: str | None) -> dict[str, float]:
    """Shares, which sum to 1, by style, from "bach" or "bach:0.7, ragtime:0.3"."""
    found: dict[str, float] = {}
    for part in [] if text is None else text.split(","):
        name, _, share = map(str.strip, part.partition(":"))
        if not name:
            raise InputError(f"style {text!r} is not a style, or a mixture such as bach:0.7, ragtime:0.3.")
        try:
            weight = float(share or 1)
        except ValueError:
            weight = -1.0
        if not 0 < weight < 1e6:
            raise InputError(f"style {part.strip()!r}: the share must be a number above 0.")
        found[name] = found.get(name, 0.0) + weight
    total = sum(found.values())
    return {name: weight / total for name, weight in found.items()}


def _words(text: str | None) -> list[str]:
    return re.findall(r"[^\s,]+", (text or "").lower())


def parse_mood(text: str | None) -> list[str]:
    """Levels such as "slow" from words such as "sad, loud"."""
    found: list[str] = []
    for word in _words(text):
        if word not in MOODS and word not in _LEVEL_OF:
            known = ", ".join([*MOODS, *_LEVEL_OF])
            raise InputError(f"mood: {word!r} is none of the words {known}.")
        found += MOODS.get(word, (word,))
    return found
