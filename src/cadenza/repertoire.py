"""What a corpus uses: the instruments, metres, tempi and ranges that its model may compose with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cadenza.closing import Endings
from cadenza.events import NoteEvents
from cadenza.form import Form
from cadenza.vocabulary import (
    FIRST_INSTRUMENT,
    FIRST_KIT,
    FIRST_METRE_VALUE,
    FIRST_TEMPO_VALUE,
    KIND,
    METRE_KIND,
    N_PITCH_VALUES,
    PITCH,
    REST_KIND,
    TEMPO_KIND,
    EventArray,
    is_played,
    tempo_of,
)

T = TypeVar("T")

RARE = 0.01  # a share of pieces below which differences do not count
MOST_FORMS, FORMS_SEEN = 32, 256  # kept of a corpus, and found out


@dataclass(frozen=True)
class Repertoire:
    """What a corpus uses, as event values; saved with the model."""

    kinds: tuple[int, ...]  # instruments and kits, beside metre, tempo and end
    metres: tuple[int, ...]  # pitch values of metre events
    tempi: tuple[int, ...]  # pitch values of tempo events
    pitch_ranges: dict[int, tuple[int, int]]  # of each kind that plays, lowest and highest key
    shares: dict[int, float]  # of each kind, in how large a share of the pieces it plays
    longest_run: int  # how often one key is struck in a row, in all but the most insistent pieces
    endings: Endings  # how its pieces end
    forms: tuple[str, ...]  # of some of its pieces (see `form`)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Repertoire:
        """Inverse of `to_dict`; raises ValueError, KeyError or TypeError if it is damaged."""
        found = cls(
            tuple(map(int, data["kinds"])),
            tuple(map(int, data["metres"])),
            tuple(map(int, data["tempi"])),
            {int(kind): (int(low), int(high)) for kind, (low, high) in data["pitch_ranges"].items()},
            {int(kind): float(share) for kind, share in data["shares"].items()},
            int(data["longest_run"]),
            Endings.from_dict(data["endings"]),
            tuple(map(str, data["forms"])),
        )
        in_range = (
            (found.kinds, FIRST_INSTRUMENT, REST_KIND),
            (found.metres, FIRST_METRE_VALUE, FIRST_TEMPO_VALUE),
            (found.tempi, FIRST_TEMPO_VALUE, N_PITCH_VALUES),
            (tuple(p for pair in found.pitch_ranges.values() for p in pair), 0, 128),
        )
        for values, low, high in in_range:
            if not values or not all(low <= value < high for value in values):
                raise ValueError("values out of range")
        if set(found.pitch_ranges) != set(found.kinds) or set(found.shares) != set(found.kinds):
            raise ValueError("kinds and their ranges or shares disagree")
        for form in found.forms:
            Form.check(form)
        if found.longest_run < 1:
            raise ValueError("no key may be struck")
        return found

    @classmethod
    def of(cls, pieces: Sequence[EventArray], representation: NoteEvents) -> Repertoire:
        """What these pieces use, events of this representation."""
        return cls._of(pieces, Endings.of(pieces, representation), _forms(pieces, representation))

    @classmethod
    def _of(cls, pieces: Sequence[EventArray], endings: Endings, forms: tuple[str, ...]) -> Repertoire:
        events = np.concatenate(pieces)
        kind, pitch = events[:, KIND], events[:, PITCH]
        playing = [int(k) for k in np.unique(kind) if is_played(k)]
        ranges = {k: (int(pitch[kind == k].min()), int(pitch[kind == k].max())) for k in playing}
        runs = [_longest_run(piece) for piece in pieces]
        return cls(
            kinds=tuple(playing),
            metres=tuple(int(v) for v in np.unique(pitch[kind == METRE_KIND])),
            tempi=tuple(int(v) for v in np.unique(pitch[kind == TEMPO_KIND])),
            pitch_ranges=ranges,
            shares={
                k: sum(bool((piece[:, KIND] == k).any()) for piece in pieces) / len(pieces) for k in playing
            },
            longest_run=max(4, round(float(np.quantile(runs, 0.9)))),
            endings=endings,
            forms=forms,
        )

    def among(self, others: Sequence[Repertoire], weights: Sequence[float]) -> Repertoire:
        """What these others use, which are parts of this one, mixed with these weights."""
        ranges = _joined(others)
        return Repertoire(
            tuple(sorted(ranges)),
            tuple(sorted({metre for other in others for metre in other.metres})),
            tuple(sorted({tempo for other in others for tempo in other.tempi})),
            ranges,
            {
                k: sum(w * other.shares.get(k, 0.0) for other, w in zip(others, weights, strict=True))
                for k in ranges
            },
            self.longest_run,
            Endings.mixed([other.endings for other in others], weights),
            tuple(
                form
                for other, weight in zip(others, weights, strict=True)
                for form in _some(other.forms, round(weight * MOST_FORMS))
            ),
        )

    def favoured(self, whole: Repertoire) -> dict[int, float]:
        """Of each kind, the logarithm of how much more often it plays here than in the whole corpus."""
        return {
            kind: math.log((share + RARE) / (whole.shares.get(kind, 0.0) + RARE))
            for kind, share in self.shares.items()
        }

    def with_tempi(self, low: float, high: float) -> Repertoire:
        """Only with the tempi between these, in quarters a minute; with all, if there is none."""
        qpm = tempo_of(np.array(self.tempi) - FIRST_TEMPO_VALUE)
        found = tuple(t for t, q in zip(self.tempi, qpm.tolist(), strict=True) if low <= q <= high)
        return replace(self, tempi=found or self.tempi)

    def with_piece(self, piece: EventArray) -> Repertoire:
        """This and what one more piece uses."""
        other = Repertoire._of([piece], self.endings, self.forms)
        ranges = _joined([self, other])
        return Repertoire(
            tuple(sorted({*self.kinds, *other.kinds})),
            tuple(sorted({*self.metres, *other.metres})),
            tuple(sorted({*self.tempi, *other.tempi})),
            ranges,
            other.shares | self.shares,
            self.longest_run,
            self.endings,
            self.forms,
        )


def _forms(pieces: Sequence[EventArray], representation: NoteEvents) -> tuple[str, ...]:
    """Some forms, evenly chosen from those in which least returns to those in which most does, so that few stand for all."""
    seen = _some(pieces, min(len(pieces), FORMS_SEEN))
    found = [form for piece in seen if (form := Form.of(piece, representation)).back]
    found.sort(key=lambda form: form.mean)
    return tuple(map(str, _some(found, min(len(found), MOST_FORMS))))


def _some(of: Sequence[T], number: int) -> list[T]:
    """So many, evenly chosen; some of them again and again if there are fewer."""
    return [of[int((n + 0.5) * len(of) / number)] for n in range(number)] if of else []


def _joined(parts: Sequence[Repertoire]) -> dict[int, tuple[int, int]]:
    """Of each kind that plays in any of these, lowest and highest key in all of them."""
    found: dict[int, tuple[int, int]] = {}
    for part in parts:
        for kind, (low, high) in part.pitch_ranges.items():
            own_low, own_high = found.get(kind, (low, high))
            found[kind] = (min(low, own_low), max(high, own_high))
    return found


def _longest_run(events: NDArray[Any]) -> int:
    """Longest row of notes on one key by one pitched instrument with nothing else of it in between."""
    longest = 1
    for kind in np.unique(events[:, KIND]):
        if FIRST_INSTRUMENT <= kind < FIRST_KIT:
            pitch = events[events[:, KIND] == kind, PITCH]
            changes = np.flatnonzero(np.diff(pitch, prepend=-2, append=-2))
            longest = max(longest, int(np.diff(changes).max()))
    return longest
