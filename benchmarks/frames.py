"""Nats per frame on the piano-roll sets of Boulanger-Lewandowski et al. 2012, against published models.

    python -m benchmarks.frames --mat JSB_Chorales.mat --minutes 30

A frame is a set of keys. Its exact likelihood comes from events: (frames since the previous note, key),
the keys of a frame from the highest down; the piece's end is an event, too. As in the evaluation of
Bai et al. 2018, the notes of the first frame are given and the sum is divided by the other frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.fitting import (
    MATCH_LENGTHS,
    Published,
    averaged_nats,
    fit_as_told,
    last_match,
    parser,
    piece_nats,
    report,
)
from cadenza.dataset import shuffled
from cadenza.events import EncodedPiece
from cadenza.models import LanguageModel
from cadenza.schema import NOT_APPLICABLE, ContextField, Field, Schema

KEYS = 88
END, REST = KEYS, KEYS + 1  # values of the key field: the piece ends; time passes
LONGEST_GAP = 16
TRANSPOSITION = 6
ECHOES = (2, 4, 8, 16)  # frames back
GAP, KEY = 0, 1
DROPOUT = {"JSB_Chorales": 0.4, "Nottingham": 0.2}


def schema() -> Schema:
    """Events (gap, key) and what follows from those before."""
    return Schema(
        (Field("gap", LONGEST_GAP + 1), Field("key", KEYS + 2)),
        (
            ContextField("frame_16", 16, GAP),
            ContextField("frame_12", 12, GAP),
            ContextField("nth", 8, GAP),  # note of its frame, from the highest down
            ContextField("shift", 2 * TRANSPOSITION + 1, GAP),
            ContextField("same_before", KEYS, GAP),  # the nth key of the frame before
            ContextField("next_before", KEYS, GAP),  # and the one below it
            *(ContextField(f"same_{n}_before", KEYS, GAP) for n in ECHOES),
            # What followed when the last events were last heard, if its gap is this one's; and, below, what
            # followed when those up to this one were, and how many of them.
            ContextField("same_at_match", KEYS + 2, GAP),
            ContextField("below_above", 48, KEY),  # distance from the note above in the same frame
            ContextField("moved", 25, KEY),  # distance from the nth key of the frame before
            ContextField("match", len(MATCH_LENGTHS) + 1, KEY),
            ContextField("gap_at_match", LONGEST_GAP + 1, KEY),
            ContextField("key_at_match", KEYS + 2, KEY),
        ),
    )


def encode(roll: NDArray[Any], shift: int) -> EncodedPiece:
    """Events and context of a piano roll (frames, 88), transposed by so many semitones."""
    frames = [np.flatnonzero(row)[::-1] + shift for row in roll]
    events: list[tuple[int, int]] = []
    rows: list[list[int]] = []

    def add(gap: int, key: int, t: int, nth: int) -> None:
        def at(back: int, n: int) -> int:
            chord = frames[t - back] if t >= back else ()
            return int(chord[n]) if n < len(chord) else NOT_APPLICABLE

        before, is_note = at(1, nth), key < KEYS
        above = int(frames[t][nth - 1]) if is_note and nth else None
        rows.append(
            [
                t % 16,
                t % 12,
                min(nth, 7),
                shift + TRANSPOSITION,
                before,
                at(1, nth + 1),
                *(at(n, nth) for n in ECHOES),
                NOT_APPLICABLE,  # filled in below
                min(above - key, 47) if above is not None else NOT_APPLICABLE,
                min(24, max(0, key - before + 12)) if is_note and before >= 0 else NOT_APPLICABLE,
                0,
                NOT_APPLICABLE,
                NOT_APPLICABLE,
            ]
        )
        events.append((gap, key))

    last = 0
    for t in [*(t for t, chord in enumerate(frames) if len(chord)), len(frames)]:
        while t - last > LONGEST_GAP:
            last += LONGEST_GAP
            add(LONGEST_GAP, REST, last, 0)
        for nth, key in enumerate(frames[t] if t < len(frames) else [END]):
            add(t - last, int(key), t, nth)
            last = t
    at_match = 6 + len(ECHOES)
    for n, (place, level) in enumerate(last_match(events)):
        if place < 0:
            continue
        rows[n][-3:] = [level, *events[place]]
        if n + 1 < len(events) and events[place][GAP] == events[n + 1][GAP]:
            rows[n + 1][at_match] = events[place][KEY]
    return EncodedPiece(np.array(events, np.int16), np.array(rows, np.int16))


def shifts(roll: NDArray[Any]) -> list[int]:
    """By how many semitones a roll can be moved."""
    keys = np.flatnonzero(roll.any(axis=0))
    return list(range(max(-TRANSPOSITION, -int(keys[0])), min(TRANSPOSITION, KEYS - 1 - int(keys[-1])) + 1))


@dataclass(frozen=True)
class Rolls:
    """A PieceSource of transposed piano rolls, as far as the range of keys allows."""

    rolls: list[NDArray[Any]]
    seed: int
    known: dict[tuple[int, int], EncodedPiece] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rolls)

    def draw(self, number: int) -> EncodedPiece:
        """See PieceSource."""
        index, rng = shuffled(number, len(self.rolls), self.seed)
        shift = int(rng.choice(shifts(self.rolls[index])))
        if (index, shift) not in self.known:
            self.known[index, shift] = encode(self.rolls[index], shift)
        return self.known[index, shift]


def load(path: Path) -> dict[str, list[NDArray[Any]]]:
    """Rolls (frames, 88) of the official splits."""
    from scipy.io import loadmat

    data = loadmat(path)
    return {
        part: [np.asarray(roll) for roll in data[f"{part}data"][0]] for part in ("train", "valid", "test")
    }


def nats_per_frame(model: LanguageModel, rolls: list[NDArray[Any]], *, averaged: bool = False) -> float:
    """Mean -log p of a frame after the first; averaged: over what is predicted for all transpositions."""
    if averaged:
        variants = [[encode(roll, shift) for shift in shifts(roll)] for roll in rolls]
        pieces, found = [piece_variants[0] for piece_variants in variants], averaged_nats(model, variants)
    else:
        pieces = [encode(roll, 0) for roll in rolls]
        found = piece_nats(model, pieces)
    total = 0.0
    for piece, nats in zip(pieces, found, strict=True):
        first_frame = np.cumsum(piece.events[:, GAP]) == 0
        total += float(nats[~first_frame].sum())
    return total / sum(len(roll) - 1 for roll in rolls)


PUBLISHED = {
    "JSB_Chorales": (8.10, 6.27, 5.56),
    "Nottingham": (3.07, 2.39, 2.31),
    "MuseData": (None, 6.01, 5.60),
    "Piano_midi": (None, 7.09, 7.05),
}
SOURCES = (
    ("TCN", "Bai et al. 2018"),
    ("RNN-RBM", "Boulanger-Lewandowski et al. 2012"),
    ("RNN-NADE", "Boulanger-Lewandowski et al. 2012"),
)


def main() -> None:
    """See the file's head."""
    arguments = parser(__doc__ or "", "--mat").parse_args()
    splits, name = load(arguments.mat), arguments.mat.stem
    trained = fit_as_told(
        arguments,
        schema(),
        Rolls(splits["train"], arguments.seed),
        lambda model: nats_per_frame(model, splits["valid"]),
        head_width=160,
        dropout=DROPOUT.get(name, 0.3),
        window=128,
    )
    plain, averaged = (nats_per_frame(trained.model, splits["test"], averaged=a) for a in (False, True))
    published = [
        Published(model, value, source)
        for (model, source), value in zip(SOURCES, PUBLISHED.get(name, ()), strict=False)
        if value is not None
    ]
    report(arguments, trained, plain, averaged, published, "nats per frame", set=name)


if __name__ == "__main__":
    main()
