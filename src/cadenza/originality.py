"""Originality: which passages of a piece also stand in others.

A piece is looked at as lines: of every pitched instrument its highest and its lowest notes. A passage is a row of notes
of a line, told by the intervals and the proportions of time from note to note, so that it counts transposed, faster
or slower, and with another voice beside it.

Of a piece that others are compared with, hashes of rows of six notes are kept: of two files all rows, of a corpus every
sixth, in 16 bits. One such row is like another by accident; two that follow each other in both pieces hardly are.
Drums have no lines, and a free performance, whose times hardly come twice, shares passages with its own copies alone.

Source of the method: fingerprints of k-grams, as Schleimer, Wilkerson and Aiken, "Winnowing", SIGMOD 2003, use them to
find copied documents; here the kept ones lie at fixed distances, and all rows of the piece in question are looked up.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from cadenza.errors import ModelError
from cadenza.events import NoteEvents
from cadenza.files import write_atomic
from cadenza.score import DRUM_KIT, IntArray, NoteArray, Score, bar_lines, nearest_steps
from cadenza.source import Source

HashArray = NDArray[np.unsignedinteger[Any]]

ROW = 6  # notes that are hashed together
BITS = 16  # of a kept hash
STEPS_PER_QUARTER = 12
LEAST = 2 * ROW  # notes of a passage; shorter ones all music shares
MOST_BARS, MOST_SPAN = np.iinfo(np.uint16).max, np.iinfo(np.uint8).max  # that are told apart
COMMON = 16  # rows that occur so much more often than chance has it are no sign of a copy
_ARRAYS = ("hashes", "bars", "spans", "lengths", "piece_of")
_MULTIPLIERS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))


@dataclass(frozen=True)
class Line:
    """The highest or the lowest notes of an instrument: ticks, steps, keys and bars (N,), the latter counted from 1."""

    tick: IntArray
    step: IntArray
    pitch: IntArray
    bar: IntArray

    def since(self, tick: int) -> Line:
        """Its notes from a tick on."""
        first = int(np.searchsorted(self.tick, tick))
        return Line(self.tick[first:], self.step[first:], self.pitch[first:], self.bar[first:])

    def rows(self, bits: int) -> HashArray:
        """A hash for each row of notes (N - ROW + 1,), the same for transposed and faster or slower ones."""
        if len(self.step) < ROW:
            return np.zeros(0, _kind(bits))
        times, intervals = (
            np.lib.stride_tricks.sliding_window_view(np.diff(values), ROW - 1)
            for values in (self.step, self.pitch)
        )
        proportions = times // np.gcd.reduce(times, axis=1)[:, None]
        found = np.zeros(len(times), np.uint64)
        for values in (*intervals.T, *proportions.T):
            found = _mixed(found + values.astype(np.uint64))
        return (found & np.uint64(2**bits - 1)).astype(_kind(bits))


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scrambled: every bit depends on all (the finaliser of SplitMix64, with other constants)."""
    for multiplier, shift in zip(_MULTIPLIERS, (31, 29), strict=True):
        values = (values ^ (values >> np.uint64(shift))) * multiplier
    mixed: NDArray[np.uint64] = values ^ (values >> np.uint64(32))
    return mixed


def lines_of(score: Score) -> list[Line]:
    """All lines of a score whose notes lie on the grid; an instrument that plays one note at a time has one."""
    found, notes = [], score.notes
    bars = bar_lines(score, score.end)
    for instrument in np.unique(notes["instrument"]):
        if instrument >= DRUM_KIT:
            continue
        own = notes[notes["instrument"] == instrument]
        high, low = _outer(own, score.ticks_per_quarter, 1), _outer(own, score.ticks_per_quarter, -1)
        for part in [high] if np.array_equal(high, low) else [high, low]:
            step = nearest_steps(part["onset"], score.ticks_per_quarter, STEPS_PER_QUARTER)
            bar = np.searchsorted(bars, part["onset"], side="right")
            found.append(
                Line(
                    part["onset"].astype(np.int64), step, part["pitch"].astype(np.int64), bar.astype(np.int64)
                )
            )
    return found


def _outer(notes: NoteArray, ticks_per_quarter: int, sign: int) -> NoteArray:
    """Those notes of an instrument above (sign 1) or below (-1) which none sounds when they begin, in order."""
    start, end = (
        nearest_steps(ticks, ticks_per_quarter, STEPS_PER_QUARTER)
        for ticks in (notes["onset"], notes["onset"] + notes["duration"])
    )
    end = np.maximum(start + 1, end)
    outermost = np.zeros(int(end.max()), np.int16)
    for n in np.argsort(sign * notes["pitch"].astype(np.int64), kind="stable").tolist():
        outermost[start[n] : end[n]] = notes["pitch"][n]
    own = np.flatnonzero(outermost[start] == notes["pitch"])
    own = own[np.argsort(start[own], kind="stable")]
    once = np.diff(start[own], prepend=-1) > 0  # the same key may be struck twice at once
    outer: NoteArray = notes[own[once]]
    return outer


@dataclass(frozen=True)
class Passage:
    """A passage that two pieces share, with its bars in both, counted from 1."""

    notes: int  # at least; where it begins and ends is known to the stride of the index
    bars: tuple[int, int]
    piece: str
    bars_there: tuple[int, int]


@dataclass(frozen=True)
class Originality:
    """What a piece shares with others: its longest passage, and the share of the notes of its lines in such passages."""

    longest: Passage | None
    share: float

    @property
    def notes(self) -> int:
        """Of the longest passage; 0 if it has none."""
        return self.longest.notes if self.longest else 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"longest": asdict(self.longest) if self.longest else None, "share": round(self.share, 4)}


@dataclass(frozen=True)
class Baseline:
    """What pieces by people share with what was learned from: median and 95th percentile."""

    pieces: int
    notes: tuple[float, float]  # of the longest passage in the first 32 bars
    share: tuple[float, float]

    @classmethod
    def of(cls, found: Sequence[Originality]) -> Baseline:
        """Of what some pieces share, at least one."""
        notes, share = (
            tuple(np.quantile([getattr(each, name) for each in found], (0.5, 0.95)).tolist())
            for name in ("notes", "share")
        )
        return cls(len(found), notes, share)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Baseline:
        """Inverse of `asdict`; raises KeyError, TypeError or ValueError if it is damaged."""
        (a, b), (c, d) = data["notes"], data["share"]
        found = cls(int(data["pieces"]), (float(a), float(b)), (float(c), float(d)))
        if not np.isfinite([*found.notes, *found.share]).all():
            raise ValueError("no numbers")
        return found

    def is_exceeded_by(self, found: Originality) -> bool:
        """Whether a piece may be memorised: what 95 in 100 pieces by people share is shorter."""
        return found.notes > max(self.notes[1], LEAST)


@dataclass(frozen=True)
class Index:
    """Rows of pieces, line after line, of which those `stride` notes apart are kept, with `bits` of their hashes."""

    pieces: tuple[str, ...]  # their names
    hashes: HashArray  # (R,) of the kept rows
    bars: NDArray[np.uint16]  # (R,) in which they begin, counted from 1
    spans: NDArray[np.uint8]  # (R,) how many bars later they end
    lengths: NDArray[np.uint32]  # (L,) how many kept rows each line has
    piece_of: NDArray[np.uint32]  # (L,) number of the piece of each line
    stride: int = ROW
    bits: int = BITS

    @classmethod
    def of(
        cls,
        scores: Sequence[Score],
        pieces: Sequence[str],
        leading_bars: Sequence[int] | None = None,
        stride: int = ROW,
        bits: int = BITS,
    ) -> Index:
        """Of scores whose notes lie on the grid, with a name for each.

        leading_bars: how many bars come before each score in its file.
        """
        parts = [np.zeros((3, 0), np.int64)]
        hashes: list[HashArray] = [np.zeros(0, _kind(bits))]
        piece_of: list[int] = []
        for number, score in enumerate(scores):
            before = leading_bars[number] if leading_bars else 0
            for line in lines_of(score):
                rows = line.rows(bits)[::stride]
                last = line.bar[ROW - 1 :: stride]
                first = line.bar[::stride][: len(last)]
                hashes.append(rows)
                parts.append(np.stack([first + before, last - first, np.full(len(rows), len(piece_of))]))
                piece_of.append(number)
        bars, spans, line_of = np.concatenate(parts, axis=1)
        return cls(
            tuple(pieces),
            np.concatenate(hashes),
            np.minimum(bars, MOST_BARS).astype(np.uint16),
            np.minimum(spans, MOST_SPAN).astype(np.uint8),
            np.bincount(line_of, minlength=len(piece_of)).astype(np.uint32),
            np.array(piece_of, np.uint32),
            stride,
            bits,
        )

    def within(self, name: str) -> Index:
        """The same, with a name before those of its pieces."""
        return replace(self, pieces=tuple(f"{name}: {piece}" for piece in self.pieces))

    def joined(self, other: Index) -> Index:
        """Both, which are of the same kind."""
        assert (self.stride, self.bits) == (other.stride, other.bits)
        moved = replace(other, piece_of=other.piece_of + np.uint32(len(self.pieces)))
        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(self, name), getattr(moved, name)]) for name in _ARRAYS
        }
        return replace(self, pieces=self.pieces + other.pieces, **arrays)

    # -- on disk ----------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""
        facts = {"pieces": self.pieces, "stride": self.stride, "bits": self.bits}
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        write_atomic(path, save(arrays, {"index": json.dumps(facts)}))  # one key: several have no fixed order

    @classmethod
    def load(cls, path: Path) -> Index:
        """Inverse of `save`; raises ModelError if the file is damaged."""
        try:
            with safe_open(path, framework="numpy") as file:
                if set(file.keys()) != set(_ARRAYS):
                    raise ValueError("other arrays")
                facts = json.loads(file.metadata()["index"])
                arrays = {name: file.get_tensor(name) for name in _ARRAYS}
            pieces = tuple(map(str, facts["pieces"]))
            found = cls(pieces, **arrays, stride=int(facts["stride"]), bits=int(facts["bits"]))
            found._check()
        except (
            OSError,
            SafetensorError,
            KeyError,
            TypeError,
            ValueError,
            RecursionError,
            OverflowError,
        ) as error:
            raise ModelError(f"{path}: damaged; restore the file or train again.") from error
        return found

    def _check(self) -> None:
        rows, lines = (len(self.hashes),), (len(self.piece_of),)
        kinds = (_kind(self.bits), np.uint16, np.uint8, np.uint32, np.uint32)
        for name, kind, shape in zip(_ARRAYS, kinds, (rows, rows, rows, lines, lines), strict=True):
            array = getattr(self, name)
            if array.shape != shape or array.dtype != kind:
                raise ValueError(f"{name} are of another kind")
        good = self.stride >= 1 and int(self.lengths.sum(dtype=np.int64)) == len(self.hashes)
        if not good or (self.piece_of >= len(self.pieces)).any():
            raise ValueError("parts disagree")

    # -- looking up -------------------------------------------------------------------------------

    @cached_property
    def _order(self) -> tuple[IntArray, HashArray]:
        order = np.argsort(self.hashes, kind="stable")
        return order, self.hashes[order]

    @cached_property
    def _line_of(self) -> IntArray:
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def judge(self, score: Score, start: int = 0, other_than: int | None = None) -> Originality:
        """What a score, whose notes lie on the grid, shares with these pieces in what begins at tick `start` or later.

        other_than: the number of a piece that does not count.
        """
        lines = [line for line in (line.since(start) for line in lines_of(score)) if len(line.tick)]
        longest: Passage | None = None
        shared = 0
        for line in lines:
            first, row, length = self._runs(line.rows(self.bits))
            if other_than is not None:
                others = self.piece_of[self._line_of[row]] != other_than
                first, row, length = first[others], row[others], length[others]
            notes = self._notes(length)
            keep = notes >= LEAST
            first, row, length, notes = first[keep], row[keep], length[keep], notes[keep]
            covered = np.zeros(len(line.step) + 1, np.int64)
            np.add.at(covered, first, 1)
            np.add.at(covered, first + notes, -1)
            shared += int((np.cumsum(covered) > 0).sum())
            if len(notes) and notes.max() > (longest.notes if longest else 0):
                best = int(notes.argmax())
                longest = self._passage(line, int(first[best]), int(row[best]), int(length[best]))
        return Originality(longest, shared / max(1, sum(len(line.step) for line in lines)))

    def _notes(self, length: IntArray | np.int64) -> IntArray:
        """How many notes so many rows in a run span."""
        return np.asarray((length - 1) * self.stride + ROW)

    def _runs(self, rows: HashArray) -> tuple[IntArray, IntArray, IntArray]:
        """Where kept rows follow each other as in a line (rows,): first of the rows asked for, of the kept, how many.

        Runs begin with a row that is not common, and are then followed both ways.
        """
        order, values = self._order
        left, right = np.searchsorted(values, rows, "left"), np.searchsorted(values, rows, "right")
        count = right - left
        count[count > COMMON + 4 * len(values) // 2**self.bits] = 0
        query = np.repeat(np.arange(len(rows)), count)
        offset = np.arange(len(query)) - np.repeat(np.cumsum(count) - count, count)
        kept = order[np.repeat(left, count) + offset]
        before, after = self._reach(rows, query, kept, -1), self._reach(rows, query, kept, 1)
        runs = np.stack([query - before * self.stride, kept - before, before + after + 1], axis=1)
        runs = np.unique(runs, axis=0)
        return runs[:, 0], runs[:, 1], runs[:, 2]

    def _reach(self, rows: HashArray, query: IntArray, kept: IntArray, step: int) -> IntArray:
        """How many more rows after (step 1) or before (-1) each pair are the same, too."""
        found = np.zeros(len(query), np.int64)
        alive = np.arange(len(query))
        while len(alive):
            distance = (found[alive] + 1) * step
            q, k = query[alive] + distance * self.stride, kept[alive] + distance
            inside = (q >= 0) & (q < len(rows)) & (k >= 0) & (k < len(self.hashes))
            alive, q, k = alive[inside], q[inside], k[inside]
            same = (rows[q] == self.hashes[k]) & (self._line_of[k] == self._line_of[kept[alive]])
            alive = alive[same]
            found[alive] += 1
        return found

    def _passage(self, line: Line, first: int, row: int, length: int) -> Passage:
        notes, last = int(self._notes(np.int64(length))), row + length - 1
        return Passage(
            notes,
            (int(line.bar[first]), int(line.bar[first + notes - 1])),
            self.pieces[int(self.piece_of[self._line_of[row]])],
            (int(self.bars[row]), int(self.bars[last]) + int(self.spans[last])),
        )


def compare(first: Score, second: Score, name: str) -> Originality:
    """What a piece shares with another of that name, with the bars of their files.

    Raises InputError for a piece without notes, or one that is too long.
    """
    one, other = (Source.of(score, NoteEvents()) for score in (first, second))
    found = Index.of([other.laid], [name], [other.leading_bars], stride=1, bits=64).judge(one.laid)
    if found.longest is None:
        return found
    low, high = found.longest.bars
    bars = (low + one.leading_bars, high + one.leading_bars)
    return replace(found, longest=replace(found.longest, bars=bars))


def _kind(bits: int) -> type[np.unsignedinteger[Any]]:
    return np.uint16 if bits <= 16 else np.uint64
