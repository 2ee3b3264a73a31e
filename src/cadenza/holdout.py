"""Which pieces are learned from, and which are held out to judge what was learned."""

from __future__ import annotations

from collections.abc import Sequence

from cadenza.corpus import Piece
from cadenza.originality import Index

# Notes in a row that two pieces share. Different pieces of the free corpora share at most 54, settings of one tune 144.
SAME_TUNE = 64


def split(pieces: Sequence[Piece]) -> tuple[list[Piece], list[Piece]]:
    """Pieces to learn from and pieces held out: the same for the same set, whatever order or seed.

    A tenth is held out, at most 60; of small sets a fifth, at least one. What shares a tune with a piece that is
    learned from is learned from, too, unless all of them do.
    """
    ordered = sorted(pieces, key=lambda piece: piece.fingerprint)
    share = 0.2 if len(ordered) < 30 else 0.1
    number = min(60, max(1, round(share * len(ordered))))
    learned, held_out = ordered[number:], ordered[:number]
    index = Index.of([piece.score for piece in learned], [piece.fingerprint for piece in learned])
    known = [index.judge(piece.score).notes >= SAME_TUNE for piece in held_out]
    if all(known):
        return learned, held_out
    learned += [piece for piece, is_known in zip(held_out, known, strict=True) if is_known]
    return learned, [piece for piece, is_known in zip(held_out, known, strict=True) if not is_known]
