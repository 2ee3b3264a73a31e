"""ComposeOptions: what a user may ask for when composing, checked before anything is drawn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from cadenza.character import parse_mood, parse_styles
from cadenza.controls import Controls, parse_controls
from cadenza.errors import InputError
from cadenza.form import FREE, Parts
from cadenza.sampling import SamplingOptions

MAX_BARS, MAX_PIECES = 1024, 256
CONTROLS: tuple[str, ...] = tuple(parse_controls.__kwdefaults__ or {})


@dataclass(frozen=True)
class ComposeOptions:
    """What to compose; a sampling value of None takes the model's own default."""

    bars: int = 16  # new ones; a prompt's come on top
    num: int = 1
    seed: int | None = None  # None draws one, which the result tells
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    surprise: float | None = None  # one dial, 0 .. 1, over temperature, top-p and min-p; 0.5 is the default
    style: str | None = None  # a sub-folder of the corpus, or a mixture: "bach:0.7, ragtime:0.3"
    mood: str | None = None  # words such as "sad, loud" (see `character`)
    form: str | None = None  # "AABA" (see `form`), or "free"; None takes that of a piece learned from
    prompt_bars: int | None = None  # of the prompt; None takes all
    fill_bars: str | None = None  # that are filled: "9-12, 17"; None fills all
    tracks: str | None = None  # the instruments that are new where a gap is filled: "bass, drums"
    amount: float | None = None  # how much is varied, 0 .. 1
    original: bool | None = None  # pieces that may be memorised are drawn anew
    # Controls, in the words of `controls.parse_controls`; None leaves it to the model.
    key: str | None = None  # "D minor", "F# dorian"
    scale: str | None = None  # "C E G A"
    key_strictness: float | None = None  # least share of notes in the key; None stands for all
    tempo: float | None = None  # quarters a minute
    metre: str | None = None  # "3/4"
    seconds: float | None = None  # of new music, to the nearest bar; instead of bars
    instruments: str | None = None  # that alone may play: "violin, cello"
    must_play: str | None = None  # and those that must
    ranges: str | None = None  # "violin: G3-E6, cello: C2-C4"
    polyphony: int | None = None  # notes that an instrument sounds at once, drums aside
    density: str | None = None  # notes in a bar: "4-12"
    max_repeat: int | None = None  # bars: no longer passage is heard twice

    def __post_init__(self) -> None:
        _check_types(self)
        checks = (
            (1 <= self.bars <= MAX_BARS, f"bars must be between 1 and {MAX_BARS}, not {self.bars}."),
            (1 <= self.num <= MAX_PIECES, f"num must be between 1 and {MAX_PIECES}, not {self.num}."),
            (self.seed is None or 0 <= self.seed < 2**63, "the seed must be 0 or more."),
            (self.prompt_bars is None or self.prompt_bars >= 1, "prompt bars must be at least 1."),
            (
                self.surprise is None or 0 <= self.surprise <= 1,
                f"surprise must be between 0 and 1, not {self.surprise}.",
            ),
            (
                self.amount is None or 0 < self.amount <= 1,
                f"the amount must be above 0 and at most 1, not {self.amount}.",
            ),
        )
        for good, message in checks:
            if not good:
                raise InputError(message)
        parse_styles(self.style)
        parse_mood(self.mood)
        parse_bars(self.fill_bars)
        if self.form not in (None, FREE):
            Parts.parse(self.form)
        self.controls()

    def wishes(self) -> dict[str, Any]:
        """The controls that are given, by name."""
        return {name: value for name in CONTROLS if (value := getattr(self, name)) is not None}

    def asked(self) -> dict[str, Any]:
        """All options but the seed that are given, by name."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "seed"}
        return {name: value for name, value in values.items() if value is not None}

    def controls(self) -> Controls:
        """What the piece must keep to."""
        return parse_controls(**self.wishes())

    def sampling(self, defaults: dict[str, Any]) -> SamplingOptions:
        """Sampling options: what is given here, else what the dial says, else the model's."""
        given = {k: v for k, v in asdict(self).items() if k in SamplingOptions.__annotations__}
        dial = {} if self.surprise is None else surprising(self.surprise, SamplingOptions(**defaults))
        return SamplingOptions(**{**defaults, **dial, **{k: v for k, v in given.items() if v is not None}})


def _check_types(options: ComposeOptions) -> None:
    """Raise InputError for a value of another type than its field's: a text for a number, or the other way round."""
    kinds: dict[str, tuple[str, tuple[type, ...]]] = {
        "int": ("a whole number", (int,)),
        "float": ("a number", (int, float)),
        "str": ("a text", (str,)),
        "bool": ("true or false", (bool,)),
    }
    for option in fields(options):
        value, (what, types) = getattr(options, option.name), kinds[str(option.type).partition(" ")[0]]
        optional = str(option.type).endswith("None")
        fits = isinstance(value, types) and (bool in types or not isinstance(value, bool))
        if fits or (value is None and optional):
            continue
        raise InputError(f"{option.name.replace('_', ' ')} must be {what}, not {value!r}.")


def surprising(surprise: float, usual: SamplingOptions) -> dict[str, float]:
    """Sampling options for a dial of 0 .. 1: at 0.5 the usual ones, below it safer, above it more adventurous."""
    above, below = max(0.0, 2 * surprise - 1), max(0.0, 1 - 2 * surprise)
    return {
        # Lower values of top-p and temperature than these lead to loops.
        "temperature": round(usual.temperature * (1 + 0.15 * above - 0.05 * below), 4),
        "top_p": round(usual.top_p * (1 - 0.02 * below), 4),
        "min_p": round(min(0.9, usual.min_p + 0.15 * below) * (1 - 0.75 * above), 4),
    }


def parse_bars(text: str | None) -> list[tuple[int, int]] | None:
    """First and last bars, counted from 1, from "9-12, 17"; None of None."""
    if text is None:
        return None
    found = []
    for part in text.split(","):
        ends = re.fullmatch(r"\s*(\d{1,6})\s*(?:-\s*(\d{1,6})\s*)?", part)
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (0, 0)
        if not 1 <= first <= last:
            raise InputError(f"bars {text!r} are not bars such as 9-12 or 9-12, 17.")
        found.append((first, last))
    return found


def refuse(options: ComposeOptions, names: Sequence[str], task: str) -> None:
    """Raise InputError for the first of these options that is given."""
    for name in names:
        if getattr(options, name) is not None:
            raise InputError(f"{name.replace('_', ' ')} cannot be asked for when {task}; leave it out.")
