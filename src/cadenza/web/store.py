"""What the studio keeps: rows in SQLite, and beside them the music and the models as files.

    studio.db                      sets, their files, models, jobs with what they tell, composed pieces
    sets/SET/STYLE/FILE.mid        music that somebody brought; STYLE is made of the name of its folder
    models/MODEL/                  model folders, as `cadenza train` writes them
    pieces/PIECE.mid               composed music
    libraries/SET/                 what was read of a set, which can be read again
    temporary/                     what is being read or sent

Every file is named by an id of 128 random bits, never by what a user called it. Each call opens a connection of its
own, so that threads and processes share nothing but the database (WAL); another database would replace this module.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import sqlite3
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cadenza.errors import InputError, StorageError
from cadenza.files import write_atomic

Row = dict[str, Any]

MAX_TRIES = 3  # of a job whose process is killed under it
WAIT_SECONDS = 10.0  # for another process's transaction
# Applied in order; the database's user_version tells how many have been.
MIGRATIONS = (
    """
    CREATE TABLE sets (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, totals TEXT NOT NULL DEFAULT '{}', created REAL NOT NULL);
    CREATE TABLE files (
        id TEXT PRIMARY KEY, set_id TEXT NOT NULL REFERENCES sets ON DELETE CASCADE, name TEXT NOT NULL,
        style TEXT NOT NULL, size INTEGER NOT NULL, report TEXT NOT NULL, created REAL NOT NULL);
    CREATE INDEX files_of_set ON files (set_id, created);
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, state TEXT NOT NULL, request TEXT NOT NULL,
        progress TEXT NOT NULL DEFAULT '{}', worker TEXT, reason TEXT NOT NULL DEFAULT '', stop INTEGER NOT NULL DEFAULT 0,
        tries INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL, started REAL, ended REAL);
    CREATE INDEX jobs_to_do ON jobs (kind, state, created);
    CREATE TABLE notices (
        job_id TEXT NOT NULL REFERENCES jobs ON DELETE CASCADE, number INTEGER NOT NULL, kind TEXT NOT NULL,
        data TEXT NOT NULL, PRIMARY KEY (job_id, number)) WITHOUT ROWID;
    CREATE TABLE models (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, job_id TEXT NOT NULL, set_id TEXT, created REAL NOT NULL);
    CREATE TABLE pieces (
        id TEXT PRIMARY KEY, job_id TEXT, model_id TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL,
        sample INTEGER NOT NULL, star INTEGER NOT NULL DEFAULT 0, request TEXT NOT NULL, sidecar TEXT NOT NULL,
        created REAL NOT NULL);
    CREATE INDEX pieces_by_age ON pieces (created);
    """,
    "CREATE INDEX pieces_of_job ON pieces (job_id, number);",
)
QUEUED, RUNNING, DONE, FAILED, STOPPED = "queued", "running", "done", "failed", "stopped"
ENDED = (DONE, FAILED, STOPPED)
COMPOSE, TRAIN = "compose", "train"
_JSON = ("report", "totals", "request", "progress", "data", "sidecar")
_FLAGS = ("stop", "star", "sample")


class NotFoundError(InputError):
    """Raised for an id that names nothing."""


@dataclass(frozen=True)
class Store:
    """The studio's data folder."""

    root: Path

    @classmethod
    def open(cls, root: Path) -> Store:
        """The data folder, made if there is none; raises InputError if a newer version wrote it."""
        store = cls(root)
        for name in ("sets", "models", "pieces", "temporary"):
            try:
                (root / name).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(
                    f"{root}: cannot be written ({error.strerror}); choose another --data."
                ) from error
        with store._transaction() as db:
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            if version > len(MIGRATIONS):
                raise InputError(f"{root}: was written by a newer version of cadenza; update it.")
            for number, script in enumerate(MIGRATIONS[version:], version + 1):
                for statement in filter(str.strip, script.split(";")):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {number}")
        return store

    @contextmanager
    def _connection(self, wait: float | None = None) -> Iterator[sqlite3.Connection]:
        try:
            patience = WAIT_SECONDS if wait is None else wait
            db = sqlite3.connect(self.root / "studio.db", timeout=patience, isolation_level=None)
            try:
                db.row_factory = sqlite3.Row
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")
                db.execute("PRAGMA foreign_keys = ON")
                yield db
            finally:
                db.close()
        except sqlite3.IntegrityError as error:
            raise NotFoundError("what this belongs to has been deleted in the meantime.") from error
        except sqlite3.OperationalError as error:
            raise StorageError(f"{self.root / 'studio.db'}: {error}; make room, or try again.") from error
        except sqlite3.DatabaseError as error:
            raise InputError(f"{self.root / 'studio.db'}: is no database of the studio ({error}).") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                if db.in_transaction:  # which a full disk may have ended
                    db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def _rows(self, query: str, *values: Any) -> list[Row]:
        with self._connection() as db:
            return [_row(row) for row in db.execute(query, values)]

    def _one(self, table: str, id_: str) -> Row:
        found = self._rows(f"SELECT * FROM {table} WHERE id = ?", id_)
        if not found:
            raise NotFoundError(f"there is no {_NAMES[table]} {id_!r}.")
        return found[0]

    def _insert(self, table: str, *, file: tuple[Path, bytes] | None = None, **values: Any) -> str:
        """Add a row, and with it the file that it is about: both or neither, unless the process is killed (see `sweep`)."""
        values = {"id": new_id(), "created": time.time(), **values}
        columns = {name: json.dumps(v) if name in _JSON else v for name, v in values.items()}
        marks = ", ".join("?" * len(columns))
        try:
            with self._transaction() as db:
                db.execute(
                    f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", list(columns.values())
                )
                if file is not None:
                    write_atomic(*file)
        except BaseException:
            if file is not None:
                file[0].unlink(missing_ok=True)
            raise
        return str(values["id"])

    def _update(self, table: str, id_: str, **values: Any) -> None:
        changes = ", ".join(f"{name} = ?" for name in values)
        columns = [json.dumps(v) if name in _JSON else v for name, v in values.items()]
        with self._transaction() as db:
            changed = db.execute(f"UPDATE {table} SET {changes} WHERE id = ?", [*columns, id_]).rowcount
        if not changed:
            raise NotFoundError(f"there is no {_NAMES[table]} {id_!r}.")

    def _delete(self, table: str, id_: str) -> None:
        self._one(table, id_)
        with self._transaction() as db:
            db.execute(f"DELETE FROM {table} WHERE id = ?", [id_])

    def sweep(self) -> None:
        """Remove files that no row tells of: those of a process that was killed before it could say so, or forget them."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(exist_ok=True)
        with self._transaction() as db:  # in which alone files come to be
            sets = {str(row["id"]) for row in db.execute("SELECT id FROM sets")}
            files = {f"{row['id']}.mid" for row in db.execute("SELECT id FROM files")}
            pieces = {f"{row['id']}.mid" for row in db.execute("SELECT id FROM pieces")}
            models = {
                str(row["id"])
                for row in db.execute(
                    "SELECT id FROM models UNION SELECT id FROM jobs WHERE state IN ('queued', 'running')"
                )
            }
            for name, known in (("sets", sets), ("libraries", sets), ("models", models)):
                for folder in (self.root / name).glob("*"):
                    if folder.name not in known:
                        shutil.rmtree(folder, ignore_errors=True)
            for name, known in (("sets", files), ("pieces", pieces)):
                for path in (self.root / name).rglob("*"):
                    if path.name not in known and path.is_file():
                        path.unlink(missing_ok=True)

    @property
    def temporary(self) -> Path:
        """Where what is being read or sent lies."""
        return self.root / "temporary"

    # -- sets and their files ---------------------------------------------------------------------

    def add_set(self, name: str) -> Row:
        """A new, empty set of music."""
        return self.set(self._insert("sets", name=name))

    def set(self, id_: str) -> Row:
        """One set."""
        return self._one("sets", id_)

    def sets(self) -> list[Row]:
        """All sets, the newest first, with the number of their files."""
        return self._rows(
            "SELECT sets.*, count(files.id) AS files FROM sets LEFT JOIN files ON set_id = sets.id "
            "GROUP BY sets.id ORDER BY sets.created DESC"
        )

    def rename_set(self, id_: str, name: str) -> None:
        """Give a set another name."""
        self._update("sets", id_, name=name)

    def delete_set(self, id_: str) -> None:
        """Forget a set and its files; what was learned from it stays."""
        self._delete("sets", id_)
        for folder in (self.folder_of_set(id_), self.library_of_set(id_)):
            shutil.rmtree(folder, ignore_errors=True)

    def library_of_set(self, id_: str) -> Path:
        """Where what was read of a set is kept (see `library`)."""
        return self.root / "libraries" / id_

    def folder_of_set(self, id_: str) -> Path:
        """Where the files of a set lie."""
        return self.root / "sets" / id_

    def add_file(self, set_id: str, name: str, style: str, content: bytes, report: Row) -> str:
        """Keep a file of a set, unless it is empty, with what is known of it; style is the name of its folder, or empty."""
        self.set(set_id)
        id_ = new_id()
        row = {"id": id_, "set_id": set_id, "name": name, "style": slug(style), "size": len(content)}
        file = (self.path_of_file(row), content) if content else None
        return self._insert("files", file=file, **row, report=report)

    def file(self, id_: str) -> Row:
        """One file."""
        return self._one("files", id_)

    def files(self, set_id: str) -> list[Row]:
        """Files of a set in the order in which they came."""
        self.set(set_id)
        return self._rows("SELECT * FROM files WHERE set_id = ? ORDER BY created, id", set_id)

    def path_of_file(self, row: Row) -> Path:
        """Where a file's content lies."""
        return self.folder_of_set(row["set_id"]) / row["style"] / f"{row['id']}.mid"

    def set_reports(self, set_id: str, reports: dict[str, Row], totals: Row) -> None:
        """Replace what is known of a set's files."""
        with self._transaction() as db:
            db.execute("UPDATE sets SET totals = ? WHERE id = ?", (json.dumps(totals), set_id))
            db.executemany(
                "UPDATE files SET report = ? WHERE id = ?",
                [(json.dumps(r), id_) for id_, r in reports.items()],
            )

    def delete_file(self, id_: str) -> None:
        """Forget a file."""
        row = self.file(id_)
        self._delete("files", id_)
        self.path_of_file(row).unlink(missing_ok=True)

    # -- jobs -------------------------------------------------------------------------------------

    def add_job(self, kind: str, request: Row) -> Row:
        """Put a job at the end of its queue."""
        return self.job(self._insert("jobs", kind=kind, state=QUEUED, request=request))

    def job(self, id_: str) -> Row:
        """One job, with how many of its kind are before it in the queue, and how many seconds these will take; None if
        that cannot be told."""
        row = self._one("jobs", id_)
        if row["state"] != QUEUED:
            return {**row, "before": 0, "wait": 0.0}
        before = self._rows(
            "SELECT * FROM jobs WHERE kind = ? AND (state = 'running' OR (state = 'queued' AND rowid < "
            "(SELECT rowid FROM jobs WHERE id = ?)))",
            row["kind"],
            id_,
        )
        wait = sum(map(_seconds_of_training, before)) if row["kind"] == TRAIN else self._seconds_of(before)
        return {**row, "before": len(before), "wait": wait}

    def _seconds_of(self, jobs: Sequence[Row]) -> float | None:
        """How long these take to compose, by how long the last ones took, as many at once as run now."""
        taken = self._rows(
            "SELECT max(0, ended - started) AS seconds FROM jobs WHERE kind = ? AND state = 'done' ORDER BY ended DESC LIMIT 20",
            COMPOSE,
        )
        at_once = max(1, sum(job["state"] == RUNNING for job in jobs))
        mean = sum(row["seconds"] for row in taken) / len(taken) if taken else None
        return None if mean is None else mean * len(jobs) / at_once

    def jobs(self, *states: str) -> list[Row]:
        """Jobs in these states, the oldest first."""
        marks = ", ".join("?" * len(states))
        return self._rows(f"SELECT * FROM jobs WHERE state IN ({marks}) ORDER BY rowid", *states)

    def ended_since(self, kind: str, time_: float) -> list[Row]:
        """Jobs of a kind that have ended after a time, the oldest first."""
        return self._rows("SELECT * FROM jobs WHERE kind = ? AND ended > ? ORDER BY rowid", kind, time_)

    def waiting(self, kind: str) -> int:
        """How many jobs of a kind have not ended."""
        found = self._rows(
            "SELECT count(*) AS n FROM jobs WHERE kind = ? AND state IN ('queued', 'running')", kind
        )
        return int(found[0]["n"])

    def claim(self, kind: str, worker: str) -> Row | None:
        """The oldest job of a kind that waits, now running with a worker; None if none does."""
        with self._transaction() as db:
            found = db.execute(
                "UPDATE jobs SET state = 'running', worker = ?, started = ifnull(started, ?), tries = tries + 1 WHERE id = "
                "(SELECT id FROM jobs WHERE kind = ? AND state = 'queued' ORDER BY rowid LIMIT 1) RETURNING *",
                (worker, time.time(), kind),
            ).fetchone()
        return _row(found) if found else None

    @contextmanager
    def watch(self) -> Iterator[Callable[[], bool]]:
        """Asks, for next to nothing, whether anybody else has written since it was last asked; at first, yes. While the
        database is locked, nobody has; it never waits."""
        with self._connection(wait=0.0) as db:
            seen: int | None = None

            def has_changed() -> bool:
                nonlocal seen
                try:
                    before, seen = seen, int(db.execute("PRAGMA data_version").fetchone()[0])
                except sqlite3.OperationalError:
                    return False
                return seen != before

            yield has_changed

    def put_back(self, id_: str) -> None:
        """Let a job that was interrupted in good order wait again, which is no try."""
        with self._transaction() as db:
            db.execute("UPDATE jobs SET state = 'queued', tries = max(0, tries - 1) WHERE id = ?", (id_,))

    def recover_all_but(self, workers: Sequence[str]) -> None:
        """Let the jobs of workers that there are no longer wait again."""
        marks = ", ".join("?" * len(workers))
        with self._transaction() as db:
            db.execute(
                f"UPDATE jobs SET state = 'queued' WHERE state = 'running' AND worker NOT IN ({marks})",
                workers,
            )

    def recover(self, worker: str) -> list[Row]:
        """Let a job whose worker was killed wait again, unless it has cost several already; returns one that has."""
        with self._transaction() as db:
            failed = db.execute(
                "UPDATE jobs SET state = 'failed', ended = ?, reason = ? WHERE worker = ? AND state = 'running' "
                "AND tries >= ? RETURNING *",
                (
                    time.time(),
                    f"its process was killed {MAX_TRIES} times; memory may be short.",
                    worker,
                    MAX_TRIES,
                ),
            ).fetchall()
            db.execute("UPDATE jobs SET state = 'queued' WHERE worker = ? AND state = 'running'", (worker,))
        return [_row(job) for job in failed]

    def end(self, id_: str, state: str, reason: str = "") -> None:
        """Say how a job ended; its drafts are of no use any more."""
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET state = ?, reason = ?, ended = ? WHERE id = ?",
                (state, reason, time.time(), id_),
            )
            db.execute("DELETE FROM notices WHERE job_id = ? AND kind = 'draft'", (id_,))

    def ask_to_stop(self, id_: str) -> Row:
        """Ask a job to stop; one that waits ends at once."""
        with self._transaction() as db:
            db.execute("UPDATE jobs SET stop = 1 WHERE id = ?", (id_,))
            db.execute(
                "UPDATE jobs SET state = 'stopped', ended = ? WHERE id = ? AND state = 'queued'",
                (time.time(), id_),
            )
        return self.job(id_)

    def is_asked_to_stop(self, id_: str) -> bool:
        """Whether somebody asked."""
        return bool(self._one("jobs", id_)["stop"])

    def tell(self, job_id: str, kind: str, data: Row, *, once: bool = False) -> None:
        """Add a notice for all who watch a job, now or later; once: unless an earlier try of the job has told it."""
        with self._transaction() as db:
            if once:
                told = "SELECT 1 FROM notices WHERE job_id = ? AND kind = ? AND data = ?"
                if db.execute(told, (job_id, kind, json.dumps(data))).fetchone():
                    return
            db.execute(
                "INSERT INTO notices SELECT ?, ifnull(max(number), 0) + 1, ?, ? FROM notices WHERE job_id = ?",
                (job_id, kind, json.dumps(data), job_id),
            )

    def set_progress(self, job_id: str, progress: Row) -> None:
        """Say how far a job is, instead of what was said before."""
        self._update("jobs", job_id, progress=progress)

    def notices(self, job_id: str, after: int = 0) -> list[Row]:
        """What a job has told since notice number `after`."""
        return self._rows(
            "SELECT number, kind, data FROM notices WHERE job_id = ? AND number > ? ORDER BY number",
            job_id,
            after,
        )

    # -- models and pieces ------------------------------------------------------------------------

    def add_model(self, id_: str, name: str, job_id: str, set_id: str) -> None:
        """Make known the model that a job has written."""
        if not self._rows("SELECT id FROM models WHERE id = ?", id_):
            self._insert("models", id=id_, name=name, job_id=job_id, set_id=set_id)

    def model(self, id_: str) -> Row:
        """One model."""
        return self._one("models", id_)

    def models(self) -> list[Row]:
        """All that were trained here, the newest first."""
        return self._rows("SELECT * FROM models ORDER BY created DESC")

    def folder_of_model(self, id_: str) -> Path:
        """Where a model lies."""
        return self.root / "models" / id_

    def rename_model(self, id_: str, name: str) -> None:
        """Give a model another name."""
        self._update("models", id_, name=name)

    def delete_model(self, id_: str) -> None:
        """Forget a model; what it composed stays."""
        self._delete("models", id_)
        shutil.rmtree(self.folder_of_model(id_), ignore_errors=True)

    def add_piece(self, midi: bytes, **values: Any) -> Row:
        """Keep a composed piece; values are the columns of its row."""
        id_ = new_id()
        return self.piece(self._insert("pieces", file=(self.path_of_piece(id_), midi), id=id_, **values))

    def piece(self, id_: str) -> Row:
        """One piece."""
        return self._one("pieces", id_)

    def pieces(self, limit: int, before: float | None = None, job_id: str | None = None) -> list[Row]:
        """Composed pieces, the newest first: those before a time, those of a job."""
        return self._rows(
            "SELECT * FROM pieces WHERE created < ? AND (? IS NULL OR job_id = ?) ORDER BY created DESC LIMIT ?",
            before if before is not None else float("inf"),
            job_id,
            job_id,
            limit,
        )

    def piece_of(self, job_id: str, number: int) -> Row | None:
        """The piece of this number that an earlier try of a job has kept."""
        found = self._rows("SELECT * FROM pieces WHERE job_id = ? AND number = ?", job_id, number)
        return found[0] if found else None

    def path_of_piece(self, id_: str) -> Path:
        """Where a piece's MIDI file lies."""
        return self.root / "pieces" / f"{id_}.mid"

    def change_piece(self, id_: str, **values: Any) -> Row:
        """Rename or star a piece."""
        self._update("pieces", id_, **values)
        return self.piece(id_)

    def delete_piece(self, id_: str) -> None:
        """Forget a piece."""
        self._delete("pieces", id_)
        self.path_of_piece(id_).unlink(missing_ok=True)


_NAMES = {"sets": "set", "files": "file", "jobs": "job", "models": "model", "pieces": "piece"}


def _seconds_of_training(job: Row) -> float:
    left = job["progress"].get("seconds_left")
    return float(60 * job["request"].get("minutes", 0) if left is None else left)


def new_id() -> str:
    """128 random bits that can be a file's name."""
    return secrets.token_hex(16)


def slug(name: str) -> str:
    """A folder's name as one that is safe on every system: lower-case letters, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-")


def _row(row: sqlite3.Row) -> Row:
    found = dict(row)
    for name in found.keys() & set(_JSON):
        found[name] = json.loads(found[name])
    for name in found.keys() & set(_FLAGS):
        found[name] = bool(found[name])
    return found


def only(row: Row, names: Sequence[str]) -> Row:
    """Some of a row's columns."""
    return {name: row[name] for name in names}
