"""Character: what a piece is like as a whole: its style and its measured mood.

A style is a sub-folder of the corpus. Folders have no captions, so moods are words for what can be measured:

    players    instruments                 solo, ensemble
    density    notes in a quarter          sparse, dense
    texture    notes that begin at once    thin, full
    register   mean key                    low, high
    loudness   mean velocity               soft, loud
    tempo      quarters a minute           slow, fast
    mode       of the estimated key        minor, major

each a level of the corpus itself: its lowest, middle or highest third. A style has habits: where the middle half of
its pieces lies in players and tempo.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cadenza.errors import InputError
from cadenza.moods import LEVELS, MOODS
from cadenza.score import DEFAULT_QPM, DRUM_KIT, Score, estimate_key, nearest_steps

# What a style has to be held to; the rest the network knows, which is told the style.
HABITS = ("players", "tempo")
MOMENTS_PER_QUARTER = 12  # notes to which the same one is nearest begin at once
Range = tuple[float, float]
_LEVEL_OF = {word: (name, n) for name, words in LEVELS.items() for n, word in enumerate(words) if word}


def measure(score: Score) -> dict[str, float]:
    """What moods are words for, of one piece with notes; the mode is 0 (minor) or 1."""
    notes = score.notes
    pitched = notes[notes["instrument"] < DRUM_KIT]
    quarters = max(1.0, score.end / score.ticks_per_quarter)
    moments = nearest_steps(notes["onset"], score.ticks_per_quarter, MOMENTS_PER_QUARTER)
    starts = np.append(score.tempi["tick"], score.end) if len(score.tempi) else np.array([0, score.end])
    lasts = np.maximum(np.diff(starts), 0)
    qpm = score.tempi["qpm"] if len(score.tempi) else np.array([DEFAULT_QPM])
    return {
        "players": float(len(score.instruments)),
        "density": len(notes) / quarters,
        "texture": len(notes) / max(1, len(np.unique(moments))),
        "register": float(pitched["pitch"].mean()) if len(pitched) else 60.0,
        "loudness": float(notes["velocity"].mean()) if len(notes) else 64.0,
        "tempo": float(np.average(qpm, weights=lasts)) if lasts.sum() else float(qpm[0]),
        "mode": float(estimate_key(score).endswith("major")),
    }


@dataclass(frozen=True)
class Character:
    """What a corpus has to tell: its styles, if there are several, and where its thirds lie."""

    styles: tuple[str, ...] = ()
    thirds: dict[str, Range] = field(default_factory=dict)  # of what differs between pieces
    habits: dict[str, dict[str, Range]] = field(default_factory=dict)  # of each style, what is usual

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
        if len(names) < 2:
            return cls((), thirds)
        usual = _usual(thirds)
        by_style = {
            name: [values for values, style in zip(found, styles, strict=True) if style == name]
            for name in names
        }
        return cls(tuple(names), thirds, {name: _habits(pieces, usual) for name, pieces in by_style.items()})

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Character:
        """Inverse of `asdict`; raises TypeError, ValueError, KeyError or AttributeError if it is damaged."""
        thirds = _ranges(data["thirds"])
        habits = {str(style): _ranges(ranges) for style, ranges in data["habits"].items()}
        styles = tuple(map(str, data["styles"]))
        if set(habits) != set(styles):
            raise ValueError("styles and their habits disagree")
        usual = _usual(thirds)  # models of before tell of more
        kept = {style: {name: ranges[name] for name in usual} for style, ranges in habits.items()}
        return cls(styles, thirds, kept)

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

    def aims(self, mood: str | None, style: str | None) -> dict[str, Range]:
        """Between which values each attribute should lie, as a mood asks for, or else as is usual in a style; in a
        mixture of styles, between the means of their limits."""
        found: dict[str, Range] = {}
        for known, share in self.shares(style).items() if style is not None else ():
            for name, (low, high) in self.habits[known].items():
                so_far = found.get(name, (0.0, 0.0))
                found[name] = so_far[0] + share * low, so_far[1] + share * high
        for name, level in self.levels(mood).items():
            low, high = self.thirds[name]
            found[name] = ((-np.inf, low), (low, high), (high, np.inf))[level]
        return found

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


def _usual(thirds: dict[str, Range]) -> list[str]:
    """In which attributes the styles of a corpus have habits: of those in which its pieces differ."""
    return [name for name in HABITS if name in thirds]


def _habits(pieces: Sequence[dict[str, float]], names: Sequence[str]) -> dict[str, Range]:
    """Where the middle half of these pieces lies in these attributes."""
    quartiles = {name: np.quantile([values[name] for values in pieces], [0.25, 0.75]) for name in names}
    return {name: (float(low), float(high)) for name, (low, high) in quartiles.items()}


def _ranges(data: dict[str, Any]) -> dict[str, Range]:
    """Raises ValueError for an attribute that is not known."""
    if not set(data) <= set(LEVELS):
        raise ValueError("unknown attributes")
    return {str(name): (float(low), float(high)) for name, (low, high) in data.items()}


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
