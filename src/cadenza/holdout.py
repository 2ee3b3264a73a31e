"""Which pieces are learned from, and which are held out to judge what was learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cadenza.corpus import Corpus, Piece
from cadenza.likeness import first_bars
from cadenza.originality import Baseline, Index, Originality

# Notes in a row that two pieces share. Different pieces of the free corpora share at most 54, settings of one tune 144.
SAME_TUNE = 64
BASELINE_BARS = 32  # of every piece
FEW_PIECES = 20  # held out: too few for a baseline


@dataclass(frozen=True)
class Split:
    """Pieces to learn from, pieces held out, and the index of the former."""

    learned: list[Piece]
    held_out: list[Piece]
    index: Index

    def baseline(self, before: Index | None = None) -> Baseline:
        """What the held-out pieces share with those learned from; where they are few, also what each of the latter
        shares with the others. What is a tune of theirs does not count, unless nothing else is held out.

        before: the index of what a model that is gone on from learned from, with which composed pieces will be compared
        as well.
        """
        index = self.index if before is None else before.joined(self.index)
        first = 0 if before is None else len(before.pieces)
        held_out = [_judged(index, piece) for piece in self.held_out]
        found = held_out if before is None else _without_tunes(held_out)
        if len(held_out) < FEW_PIECES:
            others = [_judged(index, piece, first + number) for number, piece in enumerate(self.learned)]
            found = found + _without_tunes(others)
        return Baseline.of(found or held_out)


def _judged(index: Index, piece: Piece, other_than: int | None = None) -> Originality:
    return index.judge(first_bars(piece.score, BASELINE_BARS), other_than=other_than)


def _without_tunes(found: Sequence[Originality]) -> list[Originality]:
    return [each for each in found if each.notes < SAME_TUNE]


def split(corpus: Corpus) -> Split:
    """Hold some pieces of a corpus out: the same of the same set, whatever order or seed.

    A tenth is held out, at most 60; of small sets a fifth, at least one. What shares a tune with a piece that is
    learned from is learned from, too, unless all of them do.
    """
    ordered = sorted(corpus.pieces, key=lambda piece: piece.fingerprint)
    share = 0.2 if len(ordered) < 30 else 0.1
    number = min(60, max(1, round(share * len(ordered))))
    learned, held_out = ordered[number:], ordered[:number]
    index = _index(learned, corpus.root)
    known = [piece for piece in held_out if index.judge(piece.score).notes >= SAME_TUNE]
    if not known or len(known) == len(held_out):
        return Split(learned, held_out, index)
    names = {piece.fingerprint for piece in known}
    others = [piece for piece in held_out if piece.fingerprint not in names]
    return Split(learned + known, others, index.joined(_index(known, corpus.root)))


def _index(pieces: Sequence[Piece], root: Path) -> Index:
    return Index.of(
        [piece.score for piece in pieces],
        [piece.path.relative_to(root).as_posix() for piece in pieces],
        [piece.leading_bars for piece in pieces],
    )
