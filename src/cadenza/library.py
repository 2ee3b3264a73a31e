"""Scores of many files in one memory-mapped file, so that a folder is read once, and then only what changed.

    index.sqlite     of each file: when it changed last, what was found out about it, where its score lies
    scores-<n>.bin   the arrays of all scores, one after the other

A row is committed after the bytes that it points to, so a run may be stopped at any moment; what it left
behind those that were committed is written over. Committed bytes never are, whether a row points to them or
not. What is to be made anew gets a new scores file, named by its generation n, so that processes which still
read the old one are not disturbed. All of this can be thrown away: it is made again from the files.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cadenza.errors import InputError
from cadenza.score import METRE, NOTE, TEMPO, Score
from cadenza.version import __version__

FORMAT = f"6 {__version__}"  # what was found out by another version is found out anew
WASTE_ALLOWED = 2**26  # bytes of scores that no row points to, before all is made anew
_LOCK_SECONDS = 60.0
_PARTS = (NOTE, TEMPO, METRE)

Stamp = tuple[int, int]  # size and time of the last change, in nanoseconds


@dataclass(frozen=True)
class Entry:
    """What is known of a file: facts for JSON, and its score unless it has none."""

    facts: dict[str, Any]
    score: Score | None


def stamp_of(path: Path) -> Stamp | None:
    """What changes when a file does; None if it cannot be asked."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def default_library(root: Path) -> Path:
    """Where the library of a folder is kept: with the user's other caches, or below $CADENZA_CACHE."""
    from platformdirs import user_cache_path

    base = os.environ.get("CADENZA_CACHE")
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return (Path(base) if base else user_cache_path("cadenza", appauthor=False)) / name


class Library:
    """The library in `folder`, made if there is none; several processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.generation = -1  # of the scores file that is mapped
        self.mapped: Any = b""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / "index.sqlite"
            self.database = sqlite3.connect(path, timeout=_LOCK_SECONDS, isolation_level=None)
            with self._transaction():
                self._prepare()
            self._clear_away()
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the index; scores that were given out stay readable."""
        self.database.close()

    def _unusable(self, error: Exception) -> InputError:
        return InputError(
            f"{self.folder}: the cache of files read cannot be used ({error}); make room, delete it, "
            "or leave --cache out."
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Nobody else writes meanwhile, and all that is written is kept, or nothing."""
        self.database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.database.execute("ROLLBACK")
            raise
        self.database.execute("COMMIT")

    def _prepare(self) -> None:
        """Make the tables, and empty them if another version filled them or if most bytes are waste."""
        execute = self.database.execute
        execute("CREATE TABLE IF NOT EXISTS about (format TEXT, generation INTEGER)")
        row = execute("SELECT format, generation FROM about").fetchone()
        if row is not None and row[0] == FORMAT and not self._is_wasteful():
            return
        self._begin_anew(row[1] + 1 if row else 0)

    def _begin_anew(self, generation: int) -> None:
        """Forget all files; what is found out from now on belongs to this generation."""
        execute = self.database.execute
        execute("DELETE FROM about")
        execute("INSERT INTO about VALUES (?, ?)", (FORMAT, generation))
        execute("DROP TABLE IF EXISTS scores")
        execute("CREATE TABLE scores (written INTEGER)")  # bytes of this generation's file
        execute("INSERT INTO scores VALUES (0)")
        execute("DROP TABLE IF EXISTS files")
        execute(
            "CREATE TABLE files (path BLOB PRIMARY KEY, size INTEGER, changed INTEGER, facts TEXT,"
            " generation INTEGER, ticks INTEGER, start INTEGER, notes INTEGER, tempi INTEGER, metres INTEGER,"
            " bytes INTEGER) WITHOUT ROWID"
        )

    def _generation(self) -> int:
        return int(self.database.execute("SELECT generation FROM about").fetchone()[0])

    def _clear_away(self) -> None:
        """Delete the scores of earlier generations, which no committed row points to any more."""
        current = self._generation()
        for path in self.folder.glob("scores-*.bin"):
            number = path.stem.removeprefix("scores-")
            if number.isdecimal() and int(number) < current:
                with suppress(OSError):  # where an open file cannot be deleted, the next time does it
                    path.unlink()

    def _is_wasteful(self) -> bool:
        live = int(self.database.execute("SELECT coalesce(sum(bytes), 0) FROM files").fetchone()[0])
        return self._written() - live > max(WASTE_ALLOWED, live)

    def _written(self) -> int:
        """How many bytes of this generation's scores were committed."""
        return int(self.database.execute("SELECT written FROM scores").fetchone()[0])

    def _scores(self, generation: int) -> Path:
        return self.folder / f"scores-{generation}.bin"

    def _map(self, generation: int, end: int) -> bool:
        """Map so many bytes of a generation's scores at least; tells whether they are there."""
        if generation == self.generation and end <= len(self.mapped):
            return True
        try:
            with self._scores(generation).open("rb") as file:
                if os.fstat(file.fileno()).st_size < end:
                    return False
                self.mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if end else b""
        except FileNotFoundError:  # made anew by another process
            return False
        self.generation = generation
        return True

    def find(self, name: bytes, stamp: Stamp) -> Entry | None:
        """What is known of the file of that name as it is now; None if it was not read since it changed."""
        try:
            row = self.database.execute(
                "SELECT facts, generation, ticks, start, notes, tempi, metres, bytes FROM files"
                " WHERE path = ? AND size = ? AND changed = ?",
                (name, *stamp),
            ).fetchone()
            if row is None:
                return None
            facts, generation, ticks, start, *counts, n_bytes = row
            if ticks is None:
                return Entry(json.loads(facts), None)
            if not self._map(generation, start + n_bytes):
                return None
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error
        return Entry(json.loads(facts), self._score(ticks, start, counts))

    def _score(self, ticks: int, start: int, counts: list[int]) -> Score:
        arrays = []
        for dtype, count in zip(_PARTS, counts, strict=True):
            arrays.append(np.frombuffer(self.mapped, dtype, count, start) if count else np.empty(0, dtype))
            start += count * dtype.itemsize
        return Score(ticks, *arrays)

    def add(self, entries: Iterable[tuple[bytes, Stamp, Entry]]) -> None:
        """Keep what was found out about the files of these names; raises InputError if it cannot."""
        entries = list(entries)  # which may take time, and others wait for the lock
        try:
            with self._transaction():
                self._write(entries)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error

    def _write(self, entries: list[tuple[bytes, Stamp, Entry]]) -> None:
        rows: list[tuple[Any, ...]] = []
        generation = self._generation()
        path = self._scores(generation)
        if self._written() > (path.stat().st_size if path.exists() else 0):  # what rows point to is gone
            generation += 1
            self._begin_anew(generation)
            path = self._scores(generation)
        path.touch()
        with path.open("r+b") as file:
            start = file.seek(self._written())
            for name, stamp, entry in entries:
                row, data = _row(entry.score, start)
                file.write(data)
                start += len(data)
                rows.append((name, *stamp, json.dumps(entry.facts), generation, *row))
            file.flush()
            os.fsync(file.fileno())
        self.database.execute("UPDATE scores SET written = ?", (start,))
        self.database.executemany("REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def keep_only(self, names: Iterable[bytes]) -> None:
        """Forget the files of all other names."""
        kept = set(names)
        try:
            known = [name for (name,) in self.database.execute("SELECT path FROM files")]
            gone = [(name,) for name in known if name not in kept]
            if gone:
                with self._transaction():
                    self.database.executemany("DELETE FROM files WHERE path = ?", gone)
        except sqlite3.Error as error:
            raise self._unusable(error) from error


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
