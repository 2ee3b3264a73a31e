"""Nats per note slot of Bach's chorales on a grid of 16ths, against published models.

    python -m benchmarks.chorales16 --json Jsb16thSeparated.json --minutes 60

An event is a 16th: the keys of its four voices, predicted one after the other. Silence is a value of its
own; held and repeated notes are the same. The mean is over the four slots of every 16th of every piece.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

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

VOICES = "SATB"
SILENCE, LOWEST = 0, 30  # value 1 is the key LOWEST
VALUES = 60
TRANSPOSITION = 6
ECHOES = (3, 7, 15, 31)  # 16ths before the event; the next one comes 4, 8, 16 and 32 after those
LONGEST_HOLD = 32
Array = NDArray[np.int64]


def schema() -> Schema:
    """One event for each 16th, and what follows from those before."""
    last = len(VOICES) - 1
    context = [ContextField("next_position", 16, last)]
    for lag in ECHOES:
        context += [ContextField(f"{lag}_before_{v}", VALUES, last) for v in VOICES]
    context += [ContextField("match", len(MATCH_LENGTHS) + 1, last)]
    context += [ContextField(f"{v}_at_match", VALUES, last) for v in VOICES]
    context += [ContextField(f"held_{v}", LONGEST_HOLD, last) for v in VOICES]
    context += [ContextField(f"moved_{v}", 26, k) for k, v in enumerate(VOICES)]
    context += [ContextField(f"before_{v}", VALUES, k) for k, v in enumerate(VOICES[1:])]
    context += [ContextField(f"now_{v}_at_match", VALUES, k) for k, v in enumerate(VOICES[1:])]
    context += [
        ContextField(f"from_{VOICES[j]}_to_{VOICES[k]}", 61, k) for k in range(len(VOICES)) for j in range(k)
    ]
    return Schema(tuple(Field(v, VALUES) for v in VOICES), tuple(context))


def encode(piece: Array, shift: int) -> EncodedPiece:
    """Events and context of keys (16ths, 4), -1 being silence, transposed by so many semitones."""
    values = np.where(piece < 0, SILENCE, piece - LOWEST + 1 + shift)
    n = len(values)

    def back(lag: int) -> Array:
        none = np.full((lag, len(VOICES)), NOT_APPLICABLE)
        return np.concatenate([none, values[:-lag]])[:n]

    before = back(1)
    same = values == before
    held = np.zeros_like(values)
    for t in range(1, n):
        held[t] = np.where(same[t], np.minimum(held[t - 1] + 1, LONGEST_HOLD - 1), 0)
    both = (values > 0) & (before > 0)
    moved = np.where(both, np.clip(values - before, -12, 12) + 12, np.where(same, 12, 25))
    place, level = np.array(last_match([tuple(row) for row in values.tolist()])).T
    at_match = np.where(place[:, None] >= 0, values[np.minimum(place, n - 1)], NOT_APPLICABLE)
    now_at_match = np.concatenate([np.full((1, len(VOICES)), NOT_APPLICABLE), at_match[:-1]])
    columns = [(np.arange(1, n + 1) % 16)[:, None], *(back(lag) for lag in ECHOES)]
    columns += [level[:, None], at_match, held, moved, before[:, 1:], now_at_match[:, 1:]]
    for k in range(len(VOICES)):
        for j in range(k):
            distance = np.clip(values[:, j] - values[:, k], -30, 30) + 30
            sound = (values[:, j] > 0) & (values[:, k] > 0)
            columns.append(np.where(sound, distance, NOT_APPLICABLE)[:, None])
    return EncodedPiece(values.astype(np.int16), np.concatenate(columns, axis=1).astype(np.int16))


def shifts(piece: Array) -> list[int]:
    """By how many semitones a chorale can be moved."""
    low, high = LOWEST - int(piece[piece >= 0].min()), LOWEST + VALUES - 2 - int(piece.max())
    return list(range(max(-TRANSPOSITION, low), min(TRANSPOSITION, high) + 1))


@dataclass(frozen=True)
class Chorales:
    """A PieceSource of transposed chorales."""

    pieces: list[Array]
    seed: int
    known: dict[tuple[int, int], EncodedPiece] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pieces)

    def draw(self, number: int) -> EncodedPiece:
        """See PieceSource."""
        index, rng = shuffled(number, len(self.pieces), self.seed)
        piece = self.pieces[index]
        shift = int(rng.choice(shifts(piece)))
        if (index, shift) not in self.known:
            self.known[index, shift] = encode(piece, shift)
        return self.known[index, shift]


def load(path: Path) -> dict[str, list[Array]]:
    """Keys (16ths, 4) of the official splits."""
    data = json.loads(path.read_text())
    return {part: [np.array(piece) for piece in data[part]] for part in ("train", "valid", "test")}


def nats_per_slot(model: LanguageModel, pieces: list[Array], *, averaged: bool = False) -> float:
    """Mean -log p of a voice of a 16th; averaged: over what is predicted for all transpositions."""
    if averaged:
        nats = averaged_nats(model, [[encode(piece, n) for n in shifts(piece)] for piece in pieces])
    else:
        nats = piece_nats(model, [encode(piece, 0) for piece in pieces])
    return sum(float(n.sum()) for n in nats) / (len(VOICES) * sum(len(piece) for piece in pieces))


PUBLISHED = (
    Published("Transformer, RoPE", 0.5331, "independent replication, 5 seeds"),
    Published("Transformer, PoPE", 0.5009, "independent replication, 5 seeds"),
    Published("Transformer, PoPE, transposed by up to 3", 0.3936, "independent replication, 5 seeds"),
)


def main() -> None:
    """See the file's head."""
    arguments = parser(__doc__ or "", "--json").parse_args()
    splits = load(arguments.json)
    trained = fit_as_told(
        arguments,
        schema(),
        Chorales(splits["train"], arguments.seed),
        lambda model: nats_per_slot(model, splits["valid"]),
        head_width=128,
        dropout=0.2,
        window=64,
    )
    plain, averaged = (nats_per_slot(trained.model, splits["test"], averaged=a) for a in (False, True))
    report(arguments, trained, plain, averaged, PUBLISHED, "nats per note slot")


if __name__ == "__main__":
    main()
