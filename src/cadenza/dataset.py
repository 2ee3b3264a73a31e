"""Pieces as training batches: an endless, seeded stream of windows over augmented pieces.

Each row of a batch (a lane) reads whole pieces one after the other, so that the network's state can be
carried from window to window. Every piece follows from its number alone, which makes the stream
resumable at any window, and its lanes divisible among processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cadenza.events import DrawGap, EncodedPiece
from cadenza.gaps import random_gap
from cadenza.schema import NOT_APPLICABLE, Schema
from cadenza.score import DRUM_KIT, TEMPO, IntArray, Score, transpose
from cadenza.vocabulary import EventArray


class Representation(Protocol):
    """What turns scores into events and back (see `events` and `tokens`)."""

    @property
    def schema(self) -> Schema:
        """Shape of an event."""

    def encode(self, score: Score) -> EventArray:
        """Events (N, fields) of a score."""

    def encode_piece(
        self,
        score: Score,
        *,
        bars_to_come: int | None = None,
        matches: bool = True,
        gap: DrawGap | None = None,
        style: str | None = None,
    ) -> EncodedPiece:
        """Events of a score and their context, which may tell how many bars are left, what matches, what surrounds
        a gap and the style."""

    def decode(self, events: NDArray[Any]) -> Score:
        """Score of events (N, fields)."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""


@dataclass(frozen=True)
class Augmentation:
    """How a piece may be changed before it is learned from."""

    semitones: int = 6  # transposed by up to this many, up or down
    stretch: float = 0.05  # of tempo; free performances are stretched in time
    bars_left_share: float = 0.5  # of pieces that tell the network how many bars are left
    matches_share: float = 0.5  # of pieces that tell what followed when the same was heard before
    gap_share: float = 0.1  # of pieces in which a gap is filled
    style_share: float = 0.5  # of pieces that tell their style


@dataclass(frozen=True)
class Batch:
    """events (B, T + 1, fields) and context (B, T + 1, context fields): inputs [:, :-1], targets [:, 1:].

    sure (B, T + 1) tells which events teach nothing, starts (B,) which
    rows begin a piece; rows that are too short end in not-applicable events.
    """

    events: NDArray[np.int64]
    context: NDArray[np.int64]
    sure: NDArray[np.bool_]
    starts: NDArray[np.bool_]


def with_start(piece: EncodedPiece) -> EncodedPiece:
    """The piece with an empty event in front, from which its first event is predicted."""
    return replace(
        piece,
        events=np.insert(piece.events, 0, NOT_APPLICABLE, axis=0),
        context=np.insert(piece.context, 0, NOT_APPLICABLE, axis=0),
        sure=None if piece.sure is None else np.insert(piece.sure, 0, False),
    )


def augment(score: Score, augmentation: Augmentation, rng: np.random.Generator) -> Score:
    """A transposed and stretched variation, as far as the range of keys allows."""
    pitched = score.notes["pitch"][score.notes["instrument"] < DRUM_KIT]
    low = max(-augmentation.semitones, -int(pitched.min(initial=127)))
    high = min(augmentation.semitones, 127 - int(pitched.max(initial=0)))
    semitones = int(rng.integers(low, high, endpoint=True))
    factor = float(np.exp(rng.uniform(-1, 1) * augmentation.stretch))
    return _stretched(transpose(score, semitones), factor)


def _stretched(score: Score, factor: float) -> Score:
    if score.is_free:
        notes = score.notes.copy()
        notes["onset"] = np.round(notes["onset"] * factor)
        notes["duration"] = np.maximum(1, np.round(notes["duration"] * factor))
        return replace(score, notes=notes)
    tempi = score.tempi.copy() if len(score.tempi) else np.array([(0, 120.0)], dtype=TEMPO)
    tempi["qpm"] *= factor
    return replace(score, tempi=tempi)


class PieceSource(Protocol):
    """An endless, numbered supply of pieces: each number always gives the same one."""

    def __len__(self) -> int:
        """How many pieces make an epoch."""

    def draw(self, number: int) -> EncodedPiece:
        """Piece `number`, 0 or more."""


COUNTED_EVENTS = 50_000
BALANCE = 0.7  # the power of its number of pieces by which a style is drawn: 1 as they are, 0 all alike


def value_counts(source: PieceSource, schema: Schema) -> list[NDArray[np.int64]]:
    """How often each value (size,) of every field occurs in the first pieces of a source."""
    counts = [np.zeros(field.size, np.int64) for field in schema.fields]
    number = counted = 0
    while number < len(source) and counted < COUNTED_EVENTS:
        events = source.draw(number).events
        number, counted = number + 1, counted + len(events)
        for found, column in zip(counts, events.T, strict=True):
            found += np.bincount(column[column != NOT_APPLICABLE], minlength=len(found))
    return counts


@dataclass(frozen=True)
class Deck:
    """Pieces by style, and how often each style is drawn in an epoch: less unevenly than its pieces are many."""

    pieces: list[IntArray]
    draws: IntArray  # (styles,), the sum of which is the number of pieces

    @classmethod
    def of(cls, styles: Sequence[str]) -> Deck:
        """Of the styles of all pieces, at least one."""
        _, of_piece, count = np.unique(styles, return_inverse=True, return_counts=True)
        share = len(styles) * count**BALANCE / (count**BALANCE).sum()
        draws = np.maximum(1, np.floor(share)).astype(np.int64)
        draws[count.argmax()] += len(styles) - draws.sum()
        return cls([np.flatnonzero(of_piece == style) for style in range(len(count))], draws)

    def __len__(self) -> int:
        return int(self.draws.sum())

    def draw(self, number: int, seed: int) -> tuple[int, np.random.Generator]:
        """Which piece draw `number` gives, and random numbers for its variation; of one style, each once an epoch."""
        epoch, index = divmod(number, len(self))
        rng = np.random.default_rng([seed, 0, epoch])
        hands = [np.resize(rng.permutation(own), n) for own, n in zip(self.pieces, self.draws, strict=True)]
        return int(rng.permutation(np.concatenate(hands))[index]), np.random.default_rng([seed, 1, number])


def shuffled(number: int, n_pieces: int, seed: int) -> tuple[int, np.random.Generator]:
    """As `Deck.draw`, of pieces of one style."""
    return Deck([np.arange(n_pieces)], np.array([n_pieces])).draw(number, seed)


@dataclass(frozen=True)
class AugmentedScores:
    """A PieceSource of scores, in a new order every epoch, each time varied anew."""

    scores: Sequence[Score]
    representation: Representation
    augmentation: Augmentation | None
    seed: int
    styles: Sequence[str] | None = None  # of each score

    def __len__(self) -> int:
        return len(self.scores)

    @cached_property
    def _deck(self) -> Deck:
        return Deck.of(self.styles or [""] * len(self.scores))

    def draw(self, number: int) -> EncodedPiece:
        """See PieceSource."""
        index, rng = self._deck.draw(number, self.seed)
        score = self.scores[index]
        if self.augmentation is None:
            return self.representation.encode_piece(score)
        bars_left, matches, gap, told = rng.random(4) < (
            self.augmentation.bars_left_share,
            self.augmentation.matches_share,
            self.augmentation.gap_share,
            self.augmentation.style_share,
        )
        changed = augment(score, self.augmentation, rng)
        return self.representation.encode_piece(
            changed,
            bars_to_come=0 if bars_left or gap else None,
            matches=bool(matches),
            gap=partial(random_gap, rng) if gap else None,
            style=self.styles[index] if told and self.styles is not None else None,
        )


class WindowStream:
    """Batches of windows of `length` events of some lanes of `lanes`, which share a source's pieces.

    Lane l reads the draws l, l + lanes, l + 2 lanes ..., so that every lane is independent of the others.
    """

    def __init__(
        self, source: PieceSource, *, lanes: int, length: int, only: Sequence[int] | None = None
    ) -> None:
        self.source, self.lanes, self.length = source, lanes, length
        self.only = list(range(lanes) if only is None else only)  # the lanes that this stream reads
        self.position = {lane: (lane, 0) for lane in self.only}  # which draw each reads, and from where on
        self.buffers: dict[int, EncodedPiece] = {}

    @property
    def epochs(self) -> float:
        """How often the source has been drawn."""
        rounds = [draw // self.lanes for draw, _ in self.position.values()]
        return self.lanes * sum(rounds) / len(rounds) / len(self.source)

    def next_batch(self) -> Batch:
        """The next window of every lane; consecutive windows overlap by the one event predicted last."""
        windows = [self._window(lane) for lane in self.only]
        batch = padded([window for window, _ in windows], self.length + 1)
        return replace(batch, starts=np.array([starts for _, starts in windows]))

    def _window(self, lane: int) -> tuple[EncodedPiece, bool]:
        """The next part of the lane's piece, and whether it begins one.

        The window in which a piece ends is not filled up with the next one: every piece begins with a
        window, and so with a fresh state, as it does when one is composed.
        """
        draw, start = self.position[lane]
        piece = self._piece(lane)
        while start + 1 >= len(piece):
            draw, start = draw + self.lanes, 0
            self.position[lane] = (draw, start)
            del self.buffers[lane]
            piece = self._piece(lane)
        part = slice(start, start + self.length + 1)
        self.position[lane] = (draw, start + self.length)
        sure = None if piece.sure is None else piece.sure[part]
        window = EncodedPiece(piece.events[part], piece.context[part], sure)
        return window, start == 0

    def _piece(self, lane: int) -> EncodedPiece:
        if lane not in self.buffers:
            self.buffers[lane] = with_start(self.source.draw(self.position[lane][0]))
        return self.buffers[lane]

    def state(self) -> list[tuple[int, int, int]]:
        """Of each lane its number, draw and place: enough for `restore` to go on with the very next batch."""
        return [(lane, *position) for lane, position in self.position.items()]

    def restore(self, state: Sequence[Sequence[int]]) -> None:
        """Go on where `state` was taken, by this stream or by others that read its lanes."""
        places = {lane: (draw, start) for lane, draw, start in state}
        self.position = {lane: places[lane] for lane in self.only}
        self.buffers = {}


def padded_batches(pieces: Sequence[EncodedPiece], most_events: int = 60_000) -> list[Batch]:
    """Whole pieces, the similarly long ones together, filled up with not-applicable events.

    most_events: how many a batch may hold, for its memory; a longer piece is a batch of its own.
    """
    groups: list[list[EncodedPiece]] = [[]]
    for piece in sorted((with_start(piece) for piece in pieces), key=len):
        if groups[-1] and (len(groups[-1]) + 1) * len(piece) > most_events:
            groups.append([])
        groups[-1].append(piece)
    return [padded(group, len(group[-1])) for group in groups if group]


def padded(group: Sequence[EncodedPiece], length: int) -> Batch:
    """A batch of pieces, all from their start, filled up to `length` with not-applicable events."""
    shape = (len(group), length)
    events = np.full((*shape, group[0].events.shape[1]), NOT_APPLICABLE, dtype=np.int64)
    context = np.full((*shape, group[0].context.shape[1]), NOT_APPLICABLE, dtype=np.int64)
    sure = np.zeros(shape, bool)
    for row, piece in enumerate(group):
        events[row, : len(piece)] = piece.events
        context[row, : len(piece)] = piece.context
        if piece.sure is not None:
            sure[row, : len(piece)] = piece.sure
    return Batch(events, context, sure, np.ones(len(group), bool))
