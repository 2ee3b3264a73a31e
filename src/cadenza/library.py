"""Scores of many files in one memory-mapped file, so that a folder is read once, and then only what changed.

    index.sqlite   of each file: when it changed last, what was found out about it, where its score lies
    scores.bin     the arrays of all scores, one after the other

A row is committed after the bytes that it points to, so a run may be stopped at any moment; what it left
behind the last row is written over. All of this can be thrown away: it is made again from the files.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cadenza.errors import InputError
from cadenza.score import METRE, NOTE, TEMPO, Score
from cadenza.version import __version__

FORMAT = f"2 {__version__}"  # what was found out by another version is found out anew
WASTE_ALLOWED = 2**26  # bytes of scores that no row points to, before all is made anew
_LOCK_SECONDS = 60.0
_PARTS = (NOTE, TEMPO, METRE)

Stamp = tuple[int, int]  # size and time of the last change, in nanoseconds


@dataclass(frozen=True)
class Entry:
    """What is known of a file: facts for JSON, and its score unless it has none."""

    facts: dict[str, Any]
    score: Score | None


def stamp_of(path: Path) -> Stamp:
    """What changes when a file does; raises OSError."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def default_library(root: Path) -> Path:
    """Where the library of a folder is kept: with the user's other caches, or below $CADENZA_CACHE."""
    from platformdirs import user_cache_path

    base = os.environ.get("CADENZA_CACHE")
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return (Path(base) if base else user_cache_path("cadenza", appauthor=False)) / name


class Library:
    """The library in `folder`, made if there is none; for one process at a time, since it may be made anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._open()
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> InputError:
        return InputError(
            f"{self.folder}: the cache of files read cannot be used ({error}); make room, delete it, "
            "or leave --cache out."
        )

    def _open(self) -> None:
        try:
            self._connect()
            waste = self._end() - self._live()
            whole = (self.folder / "scores.bin").stat().st_size >= self._end()
            usable = whole and self._format() == FORMAT and waste <= max(WASTE_ALLOWED, self._live())
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            usable = False
        if not usable:
            self.database.close()
            for name in ("index.sqlite", "index.sqlite-wal", "index.sqlite-shm", "scores.bin"):
                (self.folder / name).unlink(missing_ok=True)
            self._connect()
        self._map()

    def _connect(self) -> None:
        path = self.folder / "index.sqlite"
        self.database = sqlite3.connect(path, timeout=_LOCK_SECONDS, isolation_level=None)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA synchronous = NORMAL")
        self.database.execute("CREATE TABLE IF NOT EXISTS about (format TEXT)")
        self.database.execute(
            "CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, size INTEGER, changed INTEGER,"
            " facts TEXT, ticks INTEGER, start INTEGER, notes INTEGER, tempi INTEGER, metres INTEGER,"
            " bytes INTEGER) WITHOUT ROWID"
        )
        if self._format() is None:
            self.database.execute("INSERT INTO about VALUES (?)", (FORMAT,))
        (self.folder / "scores.bin").touch()

    def _format(self) -> str | None:
        row = self.database.execute("SELECT format FROM about").fetchone()
        return row[0] if row else None

    def _end(self) -> int:
        """Where the last score ends."""
        return int(self.database.execute("SELECT coalesce(max(start + bytes), 0) FROM files").fetchone()[0])

    def _live(self) -> int:
        return int(self.database.execute("SELECT coalesce(sum(bytes), 0) FROM files").fetchone()[0])

    def _map(self) -> None:
        with (self.folder / "scores.bin").open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            self.mapped: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if length else b""

    def find(self, path: Path, stamp: Stamp) -> Entry | None:
        """What is known of the file as it is now; None if it has not been read since it changed."""
        row = self.database.execute(
            "SELECT facts, ticks, start, notes, tempi, metres, bytes FROM files"
            " WHERE path = ? AND size = ? AND changed = ?",
            (os.fsencode(path), *stamp),
        ).fetchone()
        if row is None:
            return None
        facts, ticks, start, *counts, n_bytes = row
        if ticks is None:
            return Entry(json.loads(facts), None)
        if start + n_bytes > len(self.mapped):
            self._map()
        return Entry(json.loads(facts), self._score(ticks, start, counts))

    def _score(self, ticks: int, start: int, counts: list[int]) -> Score:
        arrays = []
        for dtype, count in zip(_PARTS, counts, strict=True):
            arrays.append(np.frombuffer(self.mapped, dtype, count, start) if count else np.empty(0, dtype))
            start += count * dtype.itemsize
        return Score(ticks, *arrays)

    def add(self, entries: Iterable[tuple[Path, Stamp, Entry]]) -> None:
        """Keep what was found out about these files, all or nothing; raises InputError if it cannot."""
        entries = list(entries)  # which may take time, and others wait for the lock
        try:
            self.database.execute("BEGIN IMMEDIATE")
            try:
                self._write(entries)
            except BaseException:
                self.database.execute("ROLLBACK")
                raise
            self.database.execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error

    def _write(self, entries: list[tuple[Path, Stamp, Entry]]) -> None:
        rows: list[tuple[Any, ...]] = []
        with (self.folder / "scores.bin").open("r+b") as file:
            start = file.seek(self._end())
            for path, stamp, entry in entries:
                row, data = _row(entry.score, start)
                file.write(data)
                start += len(data)
                rows.append((os.fsencode(path), *stamp, json.dumps(entry.facts), *row))
            file.flush()
            os.fsync(file.fileno())
        self.database.executemany("REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def close(self) -> None:
        """Let go of the index; scores that were given out stay readable."""
        self.database.close()


def _row(score: Score | None, start: int) -> tuple[tuple[int | None, ...], bytes]:
    """Columns ticks, start, notes, tempi, metres, bytes, and the bytes."""
    if score is None:
        return (None, start, 0, 0, 0, 0), b""
    arrays = [
        np.ascontiguousarray(a, t)
        for a, t in zip((score.notes, score.tempi, score.metres), _PARTS, strict=True)
    ]
    data = b"".join(array.tobytes() for array in arrays)
    return (score.ticks_per_quarter, start, *map(len, arrays), len(data)), data
