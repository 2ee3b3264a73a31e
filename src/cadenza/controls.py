"""Controls: what a user wants of a piece, held while it is drawn, never mended afterwards.

`Controls` is the wish, from words such as "D minor" or "violin: G3-E6". What does not change while a piece
grows narrows the repertoire; what does is kept by `Limits`, which `grammar.NoteGrammar` asks at every event.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

import numpy as np

from cadenza.errors import InputError
from cadenza.repertoire import Repertoire
from cadenza.score import DRUM_KIT, GM_INSTRUMENTS, instrument_name, pitch_name
from cadenza.vocabulary import (
    DENOMINATORS,
    FIRST_KIT,
    FIRST_METRE_VALUE,
    FIRST_TEMPO_VALUE,
    KITS,
    MAX_NUMERATOR,
    N_TEMPI,
    bar_steps,
    instrument_of_kind,
    metre_of,
    metre_value,
    tempo_level,
    tempo_of,
)

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "melodic minor": (0, 2, 3, 5, 7, 9, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "locrian": (0, 1, 3, 5, 6, 8, 10),
    "major pentatonic": (0, 2, 4, 7, 9),
    "minor pentatonic": (0, 3, 5, 7, 10),
    "blues": (0, 3, 5, 6, 7, 10),
    "whole tone": (0, 2, 4, 6, 8, 10),
}
SLOWEST, FASTEST = (float(tempo_of(np.array(level))) for level in (0, N_TEMPI - 1))
MAX_SECONDS = 3600.0
_NATURAL = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_NOTE = re.compile(r"([A-Ga-g])([#b♯♭]*)(-?\d{1,4})?")


@dataclass(frozen=True)
class Controls:
    """What a piece must keep to; None and empty leave it to the model. Pitches are MIDI keys, kinds those of events."""

    scale: frozenset[int] | None = None  # pitch classes that pitched instruments may play
    strictness: float = 1.0  # the least share of pitched notes that lie in the scale
    tempo: float | None = None  # quarters a minute, from start to end
    metre: int | None = None  # its number, from start to end
    seconds: float | None = None  # length, to the nearest bar
    instruments: tuple[str, ...] = ()  # alone may play
    must_play: tuple[str, ...] = ()
    ranges: dict[str, tuple[int, int]] = field(default_factory=dict)  # by instrument, lowest and highest key
    polyphony: int | None = None  # notes that a pitched instrument sounds at once
    density: tuple[int, int | None] = (0, None)  # least and most notes in a bar
    max_repeat: int | None = None  # bars; no longer passage comes twice

    def narrowed(
        self,
        repertoire: Repertoire,
        steps_per_quarter: int,
        kinds_so_far: Sequence[int] | None = None,
        metre_so_far: int | None = None,
    ) -> Repertoire:
        """What is left of a repertoire; raises InputError if it cannot do what is asked.

        kinds_so_far, metre_so_far: of music that goes on, which are kept where no others are named.
        """
        ranges = self._ranges(repertoire, kinds_so_far)
        metres = self._metres(repertoire, metre_so_far)
        least = self.density[0]
        roomy = tuple(metre for metre in metres if _places(metre, steps_per_quarter) >= least)
        if not roomy:
            most = max(_places(metre, steps_per_quarter) for metre in metres)
            raise InputError(f"a bar has only {most} places for notes; ask for at most so many in it.")
        tempi = self._tempi(repertoire)
        return replace(repertoire, kinds=tuple(ranges), pitch_ranges=ranges, metres=roomy, tempi=tempi)

    def _ranges(
        self, repertoire: Repertoire, kinds_so_far: Sequence[int] | None
    ) -> dict[int, tuple[int, int]]:
        """Ranges of the kinds that may play; those that nobody named are dropped if they cannot."""
        names = _names(repertoire.kinds)
        groups = [set(_kinds_of(wish, names)) for wish in self.instruments]
        named = set().union(*groups)
        required = set(self.required(repertoire.kinds))
        if named and required - named:
            raise InputError(
                f"{names[min(required - named)]} must play, but is not among the instruments; add it."
            )
        kinds = named or set(repertoire.kinds if kinds_so_far is None else kinds_so_far)
        ranges = {kind: repertoire.pitch_ranges[kind] for kind in sorted(kinds | required)}
        groups += [{kind} for kind in required]
        for wish, (low, high) in self.ranges.items():
            meant = set(_kinds_of(wish, names)) & ranges.keys()
            if not meant:
                raise InputError(f"{wish} has a range but does not play; name it among the instruments.")
            groups.append(meant)
            for kind in meant:
                ranges[kind] = (low, high)
        able = {kind: span for kind, span in ranges.items() if self._can_play(kind, span)}
        # Of several that one word stands for, some may have to be silent; then they are left out.
        silent = [min(group) for group in groups if not group & able.keys()] or (
            [] if able else sorted(ranges)
        )
        if silent:
            raise InputError(
                f"{names[silent[0]]} has no note left in its range and this scale; widen one of them or leave it out."
            )
        return able

    def _can_play(self, kind: int, span: tuple[int, int]) -> bool:
        keys = range(span[0], span[1] + 1)
        free = self.scale is None or kind >= FIRST_KIT or self.strictness == 0
        return any(free or key % 12 in (self.scale or ()) for key in keys)

    def _metres(self, repertoire: Repertoire, so_far: int | None) -> tuple[int, ...]:
        if self.metre is None:
            return repertoire.metres if so_far is None else (so_far,)
        value = FIRST_METRE_VALUE + self.metre
        if value not in repertoire.metres:
            known = ", ".join(_metre_name(metre - FIRST_METRE_VALUE) for metre in repertoire.metres)
            raise InputError(
                f"the model never saw the metre {_metre_name(self.metre)}; those it knows are {known}."
            )
        return (value,)

    def _tempi(self, repertoire: Repertoire) -> tuple[int, ...]:
        if self.tempo is None:
            return repertoire.tempi
        return (FIRST_TEMPO_VALUE + int(tempo_level(self.tempo)),)

    def required(self, kinds: Sequence[int]) -> tuple[int, ...]:
        """Those of these kinds that must play; raises InputError for one that cannot."""
        names = _names(kinds)
        found: list[int] = []
        for wish in self.must_play:
            matching = _kinds_of(wish, names)
            if len(matching) > 1:
                which = ", ".join(names[kind] for kind in matching)
                raise InputError(f"{wish!r} may mean {which}; name the one that must play.")
            found += [kind for kind in matching if kind not in found]
        return tuple(sorted(found))

    def capacity(self, metres: Sequence[int], steps_per_quarter: int) -> int:
        """How many notes a bar may have in any of these metres."""
        shortest = min(_places(metre, steps_per_quarter) for metre in metres)
        most = self.density[1]
        return shortest if most is None else min(most, shortest)


def kinds_named(text: str, first: Sequence[int], kinds: Sequence[int]) -> list[int]:
    """Which kinds names such as "violin, cello" mean, of the first ones if they can, else of the others.

    Raises InputError for a name that means none.
    """
    near, names = _names(first), _names(kinds)
    wishes = parse_names(text)
    return sorted({kind for w in wishes for kind in _matching(w, near) or _kinds_of(w, names)})


def _names(kinds: Sequence[int]) -> dict[int, str]:
    return dict(zip(kinds, map(instrument_name, instrument_of_kind(kinds).tolist()), strict=True))


def _places(metre: int, steps_per_quarter: int) -> int:
    return bar_steps(metre - FIRST_METRE_VALUE, steps_per_quarter)


NOTHING = Controls()


# -- from words -----------------------------------------------------------------------------------


def parse_controls(
    *,
    key: str | None = None,
    scale: str | None = None,
    key_strictness: float | None = None,
    tempo: float | None = None,
    metre: str | None = None,
    seconds: float | None = None,
    instruments: str | None = None,
    must_play: str | None = None,
    ranges: str | None = None,
    polyphony: int | None = None,
    density: str | None = None,
    max_repeat: int | None = None,
) -> Controls:
    """Controls from the words of a user; raises InputError for what cannot be meant."""
    pitch_classes = parse_scale(key, scale)
    if key_strictness is not None and pitch_classes is None:
        raise InputError("key strictness needs a key or a scale.")
    checks = (
        (key_strictness, 0.0, 1.0, "key strictness", "a share"),
        (tempo, SLOWEST, FASTEST, "tempo", "quarters a minute"),
        (seconds, 1.0, MAX_SECONDS, "seconds", "a length"),
        (polyphony, 1, 128, "polyphony", "notes at once"),
        (max_repeat, 1, 1024, "max repeat", "bars"),
    )
    for value, low, high, name, unit in checks:
        if value is not None and not low <= value <= high:
            raise InputError(f"{name} must be {unit} between {low:g} and {high:g}, not {value}.")
    return Controls(
        scale=pitch_classes,
        strictness=1.0 if key_strictness is None else key_strictness,
        tempo=tempo,
        metre=parse_metre(metre),
        seconds=seconds,
        instruments=parse_names(instruments),
        must_play=parse_names(must_play),
        ranges=parse_ranges(ranges),
        polyphony=polyphony,
        density=parse_density(density),
        max_repeat=max_repeat,
    )


def parse_scale(key: str | None, scale: str | None) -> frozenset[int] | None:
    """Pitch classes of a key such as "D minor" or of notes such as "C E G A"; None of neither."""
    if key is not None and scale is not None:
        raise InputError("give either a key or a scale, not both.")
    if scale is not None:
        notes = re.findall(r"[^\s,]+", scale)
        if not notes:
            raise InputError("a scale needs at least one note.")
        return frozenset(_pitch_class(note, f"scale {scale!r}") for note in notes)
    if key is None:
        return None
    tonic, _, name = " ".join(key.replace("-", " ").split()).partition(" ")
    if tonic.endswith("m") and not name:  # as chords are written
        tonic, name = tonic[:-1], "minor"
    mode = name.lower() or ("minor" if tonic[:1].islower() else "major")
    if mode not in SCALES:
        raise InputError(f"key {key!r}: no such mode; write a note and one of {', '.join(SCALES)}.")
    root = _pitch_class(tonic, f"key {key!r}")
    return frozenset((root + step) % 12 for step in SCALES[mode])


def _pitch_class(note: str, where: str) -> int:
    found = _NOTE.fullmatch(note)
    if found is None or found[3]:
        raise InputError(f"{where}: {note!r} is not a note name such as C, F# or Bb.")
    return (_NATURAL[found[1].upper()] + _accidentals(found[2])) % 12


def _accidentals(signs: str) -> int:
    return sum(1 if sign in "#♯" else -1 for sign in signs)


def parse_metre(text: str | None) -> int | None:
    """Number of a metre such as "3/4"."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    if found is None or not (1 <= int(found[1]) <= MAX_NUMERATOR and int(found[2]) in DENOMINATORS):
        raise InputError(f"metre {text!r} is not a metre such as 3/4 or 6/8.")
    return int(metre_value(int(found[1]), int(found[2])))


def _metre_name(metre: int) -> str:
    numerator, denominator = metre_of(np.array([metre]))
    return f"{numerator[0]}/{denominator[0]}" if numerator[0] else "none"


def parse_names(text: str | None) -> tuple[str, ...]:
    """Names in a row such as "violin, cello"."""
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise InputError(f"{text!r} names no instrument.")
    return names


def parse_ranges(text: str | None) -> dict[str, tuple[int, int]]:
    """Keys by instrument, from words such as "violin: G3-E6, cello: C2-A4"."""
    found: dict[str, tuple[int, int]] = {}
    for part in parse_names(text):
        name, _, span = part.partition(":")
        ends = re.fullmatch(r"\s*([^\s-]+-?\d*)\s*-\s*(\S+)\s*", span)
        if not name.strip() or ends is None:
            raise InputError(f"range {part!r} is not an instrument and two notes such as violin: G3-E6.")
        low, high = (_key(note, part) for note in ends.groups())
        if low > high:
            raise InputError(f"range {part!r}: {pitch_name(low)} lies above {pitch_name(high)}.")
        if name.strip().lower() in map(str.lower, found):
            raise InputError(f"range {part!r}: {name.strip()} is given twice.")
        found[name.strip()] = (low, high)
    return found


def _key(note: str, where: str) -> int:
    found = _NOTE.fullmatch(note)
    if found is None or found[3] is None:
        raise InputError(f"range {where!r}: {note!r} is not a note with its octave such as G3.")
    key = 12 * (int(found[3]) + 1) + _NATURAL[found[1].upper()] + _accidentals(found[2])
    if not 0 <= key < 128:
        raise InputError(f"range {where!r}: {note} lies outside MIDI's C-1 to G9.")
    return key


def parse_density(text: str | None) -> tuple[int, int | None]:
    """Least and most notes in a bar, from "4-12", "4-" or "-12"."""
    if text is None:
        return 0, None
    found = re.fullmatch(r"\s*(\d{0,4})\s*-\s*(\d{0,4})\s*", text)
    least, most = (found[1] or "0", found[2]) if found else ("", "")
    if not found or not (found[1] or most) or (most and not max(1, int(least)) <= int(most)):
        raise InputError(f"density {text!r} is not a number of notes in a bar such as 4-12, 4- or -12.")
    return int(least), int(most) if most else None


def _kinds_of(wish: str, names: dict[int, str]) -> list[int]:
    """Kinds by this name, or else all whose names hold all of its words; raises InputError if there are none."""
    found, slug = _matching(wish, names), _slug(wish)
    if found:
        return found
    known = _some(list(names.values()))
    everything = [*GM_INSTRUMENTS, *(instrument_name(DRUM_KIT + kit) for kit in KITS)]
    if slug in everything:
        raise InputError(
            f"the model never saw {slug} (in that style, where one is named); those it knows are {known}."
        )
    near = get_close_matches(slug, everything, 1, 0.7)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise InputError(f"there is no instrument {wish!r}.{hint} Those the model knows are {known}.")


def _slug(wish: str) -> str:
    return "-".join(re.split(r"[\s-]+", wish.lower().strip()))


def _matching(wish: str, names: dict[int, str]) -> list[int]:
    slug = _slug(wish)
    exact = [kind for kind, name in names.items() if name == slug]
    return exact or [kind for kind, name in names.items() if set(slug.split("-")) <= set(name.split("-"))]


def _some(names: Sequence[str], most: int = 20) -> str:
    """The names in a row, or the first of them and how many more there are."""
    more = (
        f" and {len(names) - most} more (cadenza inspect lists those of a folder)"
        if len(names) > most
        else ""
    )
    return ", ".join(names[:most]) + more


# -- while a piece grows --------------------------------------------------------------------------


class Limits:
    """What a piece has played so far, as far as controls depend on it.

    Steps are counted from the piece's start. A set of kinds is a whole number with their bits set. A deadlock
    cannot come about: every method leaves room for what the controls still ask for.
    """

    def __init__(
        self, controls: Controls, kinds: Sequence[int], required: Sequence[int], capacity: int
    ) -> None:
        self.controls, self.capacity = controls, capacity
        counted = (
            controls.must_play,
            controls.polyphony,
            controls.density != NOTHING.density,
            controls.strictness < 1,
        )
        self.count = any(counted)  # else there is nothing to take note of
        self.everyone = _bits(kinds)
        self.missing = _bits(required)
        self.entry_bar = 0  # from here on only those play that are missing, until none is
        self.ends: dict[int, list[int]] = {}  # of the notes that sound, latest first, by pitched kind
        self.in_bar = 0  # notes of this bar
        self.partial = False  # whether this bar began before the music that is to keep to the controls
        self.notes = self.foreign = 0  # of pitched instruments, and those of them outside the scale

    def start(self, first_bar: int, bars: int, partial: bool = False) -> None:
        """So many bars begin here, or after the rest of a partial one, which need not fill.

        Raises InputError if they have no room for all that must play.
        """
        self.partial = partial
        before = bars // 4
        count, room = self.missing.bit_count(), (bars - before) * self.capacity
        if count > room:
            raise InputError(
                f"{count} instruments must play, but so short a piece has room for {room}; make it longer."
            )
        self.entry_bar = first_bar + before

    def copy(self) -> Limits:
        """One that goes on from here by itself."""
        other = copy.copy(self)
        other.ends = {kind: ends.copy() for kind, ends in self.ends.items()}
        return other

    def free(self, step: int, bar: int) -> int:
        """The kinds that may play at this step of this bar."""
        if self.missing and bar >= self.entry_bar:
            return self.missing
        return self._idle(step)

    def _idle(self, step: int) -> int:
        """The kinds that have not as many notes sounding at this step as they may."""
        if not self.ends:
            return self.everyone
        return self.everyone & ~_bits(kind for kind in self.ends if self.ready(kind) > step)

    def ready(self, kind: int) -> int:
        """The first step at which the kind sounds fewer notes than it may."""
        ends, limit = self.ends.get(kind, []), self.controls.polyphony
        return 0 if limit is None or len(ends) < limit else ends[limit - 1]

    def _first_free(self) -> int:
        """The first step at which some kind may play."""
        if self.controls.polyphony is None or self.missing or self.everyone & ~_bits(self.ends):
            return 0
        return min(self.ready(kind) for kind in self.ends if self.everyone >> kind & 1)

    def earliest(self, bar_end: int) -> int:
        """The first step at which another note may come."""
        most, first = self.controls.density[1], self._first_free()
        return max(first, bar_end) if most is not None and self.in_bar >= most else first

    def latest(self, bar_end: int, bar_length: int, horizon: int) -> int:
        """The last step at which the next event may come, so that bars fill and all instruments enter."""
        in_bar = self.controls.density[0] if self.partial else self.in_bar
        by_density = self._latest_by_density(in_bar, bar_end, bar_length, horizon)
        count = self.missing.bit_count()
        if not count:
            return by_density
        bars = -(-count // self.capacity)
        first = count - (bars - 1) * self.capacity
        return min(by_density, horizon - (bars - 1) * bar_length - first)

    def _latest_by_density(self, in_bar: int, bar_end: int, bar_length: int, horizon: int) -> int:
        least = self.controls.density[0]
        if in_bar < least:
            return bar_end - (least - in_bar)
        return horizon if least == 0 or bar_end >= horizon else bar_end + bar_length - least

    def longest(self, kind: int, step: int, bar_end: int, bar_length: int, horizon: int) -> int:
        """How long a note may sound, so that the next one can come in time."""
        if self.controls.polyphony is None or not self.controls.density[0]:
            return horizon - step
        in_bar, bars = self.in_bar, max(0, -((bar_end - 1 - step) // bar_length))
        if bars:
            in_bar, bar_end = 0, bar_end + bars * bar_length
        in_bar = in_bar + 1 if bars or not self.partial else self.controls.density[0]
        deadline = self._latest_by_density(in_bar, bar_end, bar_length, horizon)
        others = self.missing or self._idle(step)
        if deadline >= horizon or others & ~(1 << kind):
            return horizon - step
        return deadline - step

    def may_leave_scale(self) -> bool:
        """Whether one more note outside the scale leaves the share of those inside high enough."""
        return self.foreign + 1 <= (1 - self.controls.strictness) * (self.notes + 1)

    def advance(self, kind: int, pitch: int, step: int, end: int) -> None:
        """Take note of a note from `step` to `end`."""
        self.missing &= ~(1 << kind)
        self.in_bar += 1
        if kind >= FIRST_KIT:
            return
        scale = self.controls.scale
        self.notes += 1
        self.foreign += scale is not None and pitch % 12 not in scale
        if self.controls.polyphony is not None:
            ends = [other for other in self.ends.get(kind, []) if other > step]
            self.ends[kind] = sorted([*ends, end], reverse=True)

    def new_bar(self, partial: bool) -> None:
        """A bar line has passed, of a bar in which new music may begin later, or of a whole one."""
        self.in_bar, self.partial = 0, partial


def _bits(kinds: Iterable[int]) -> int:
    return sum(1 << kind for kind in set(kinds))
