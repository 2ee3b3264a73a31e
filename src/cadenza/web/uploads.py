"""Music that strangers bring: files and zips within limits, each read in a process of its own and judged.

A native parser that crashes, hangs or takes too much memory ends its process, not the server, and becomes the verdict
of the file that did it.
"""

from __future__ import annotations

import lzma
import os
import threading
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, Any

from cadenza.corpus import Corpus, examine, scan
from cadenza.errors import InputError
from cadenza.library import Library
from cadenza.midi import MIDI_SUFFIXES
from cadenza.web.store import Row, Store
from cadenza.workers import end_with_parent, process_pool

MAX_FILE_BYTES = 8 * 2**20
MAX_SET_BYTES = 256 * 2**20
MAX_SET_FILES = 5_000
MAX_ZIP_ENTRIES = 20_000
MAX_ZIP_LIST_BYTES = 4 * 2**20  # of a zip's list of entries, which is read before they can be counted
READ_SECONDS = 20.0  # for one file
READ_BYTES = 2 * 2**30  # of address space for the process that reads
FAULTS_OF_ZIPS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    RuntimeError,  # a password is asked for, or the method is unknown
    EOFError,
    OSError,
    ValueError,
    MemoryError,  # a dictionary of gigabytes is asked for
)


class TooLargeError(InputError):
    """Raised for more than is taken."""


@dataclass(frozen=True)
class Upload:
    """A file as it was brought: its name, the folder in which it lay, and its content, None if that is too large."""

    name: str
    folder: str
    content: bytes | None


def unpacked(name: str, file: IO[bytes]) -> Iterator[Upload]:
    """The file itself, or what is in a zip; raises InputError for a zip that is damaged, encrypted or has too much in it.

    Sizes are counted while it is unpacked, whatever it says of itself; nothing is written.
    """
    if _is_midi(name) or not zipfile.is_zipfile(file):
        file.seek(0)
        yield _upload(name, _limited(file))
        return
    name = printable(name)
    try:
        with _listed(name, file) as archive:
            entries = [entry for entry in archive.infolist() if _is_wanted(entry)]
            if len(archive.infolist()) > MAX_ZIP_ENTRIES or len(entries) > MAX_SET_FILES:
                raise _too_many(name)
            for entry in entries:
                with archive.open(entry) as packed:
                    content = _limited(packed)
                yield _upload(entry.filename, content)
    except FAULTS_OF_ZIPS as error:
        raise InputError(
            f"{name}: cannot be unpacked ({str(error) or 'too large'}); pack it again without a password."
        ) from error


def _listed(name: str, file: IO[bytes]) -> zipfile.ZipFile:
    """A zip whose list of entries has been read, unless that is too long, whatever the zip says of its number."""
    reading = _Frugal(file, MAX_ZIP_LIST_BYTES)
    try:
        archive = zipfile.ZipFile(reading)
    except _TooMuchError as error:
        raise _too_many(name) from error
    reading.most = None
    return archive


def _too_many(name: str) -> TooLargeError:
    return TooLargeError(f"{name}: has too many files; at most {MAX_SET_FILES:,} are taken.")


class _TooMuchError(Exception):
    """More is read than may be."""


class _Frugal:
    """A file of which at most so many bytes may be read; None stands for all."""

    def __init__(self, file: IO[bytes], most: int | None) -> None:
        self.file, self.most = file, most

    def read(self, size: int = -1) -> bytes:
        if self.most is None:
            return self.file.read(size)
        content = self.file.read(min(size, self.most + 1) if size >= 0 else self.most + 1)
        self.most -= len(content)
        if self.most < 0:
            raise _TooMuchError
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def _parts(path: str) -> tuple[str, ...]:
    """Of a path as any system writes it."""
    return PurePosixPath(path.replace("\\", "/")).parts


def _is_midi(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in MIDI_SUFFIXES


def _is_wanted(entry: zipfile.ZipInfo) -> bool:
    """MIDI files; links (Unix mode 0o120000), what has no name, and what systems hide in zips are left alone."""
    if not entry.filename:  # which `is_dir` cannot take
        return False
    is_link = (entry.external_attr >> 16) & 0o170000 == 0o120000
    parts = _parts(entry.filename)
    hidden = any(part.startswith((".", "__MACOSX")) and part not in (".", "..") for part in parts)
    return not entry.is_dir() and not is_link and not hidden and _is_midi(entry.filename)


def _limited(file: IO[bytes]) -> bytes | None:
    """What is in a file, None if that is more than is taken of one."""
    content = file.read(MAX_FILE_BYTES + 1)
    return content if len(content) <= MAX_FILE_BYTES else None


def _upload(name: str, content: bytes | None) -> Upload:
    """The last part of a path is the name, the one before it the folder."""
    parts = _parts(name)
    folders, last = parts[:-1], PurePosixPath(parts[-1] if parts else "music.mid")
    folder = next((part for part in reversed(folders) if part not in ("/", "..", ".")), "")
    return Upload(printable(last.stem) + printable(last.suffix), printable(folder), content)


def printable(text: str, most: int = 120) -> str:
    """Text that can be shown on one line: what cannot be printed is a question mark."""
    return "".join(c if c.isprintable() else "?" for c in text)[:most].strip()


_filling = threading.Lock()


class Reader:
    """Reads files in another process, with limits on its memory and time; it is started anew when it dies."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._lock = threading.Lock()  # one file at a time: whoever crashes the process is known
        self._closed = False

    def report(self, path: Path) -> Row:
        """Verdict, reason, warnings and facts of one file."""
        facts = self._call(_report, path)
        if facts is None:
            return _refused("the reader crashed or took too long on it")
        return facts

    def judge(self, folder: Path, library: Path) -> tuple[dict[str, Row], Row]:
        """Reports of all files of a set by the stem of their names, as `inspect` gives them, and its totals; library:
        where it is kept what was found before."""
        found = self._call(_judge, folder, library, patience=READ_SECONDS * 10)
        if found is None:
            raise InputError("the set takes too long to read; take some files out.")
        return found

    def _call(self, function: Any, *arguments: Any, patience: float = READ_SECONDS) -> Any:
        """What the function returns; None if its process died or took too long."""
        with self._lock:
            try:
                future = self._submitted(function, *arguments)
                return future.result(timeout=patience)
            except (BrokenProcessPool, CancelledError, TimeoutError, MemoryError):
                self._kill()
                return None

    def _submitted(self, function: Any, *arguments: Any) -> Future[Any]:
        """The call, begun; a process that died while it had nothing to do is replaced."""
        if self._closed:
            raise InputError("the studio is ending; start it again.")
        if self._pool is not None:
            try:
                self._pool.submit(os.getpid).result(timeout=READ_SECONDS)
            except (BrokenProcessPool, TimeoutError):
                self._kill()
        self._pool = self._pool or process_pool(1, _limit)
        return self._pool.submit(function, *arguments)

    def _kill(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            for process in list((pool._processes or {}).values()):
                process.kill()
            pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """End the process, whatever it reads; whoever waits for that hears that it crashed."""
        self._closed = True
        self._kill()


def add_uploads(store: Store, reader: Reader, set_id: str, uploads: Iterator[Upload]) -> list[str]:
    """Keep what was brought and judge the whole set anew; returns the ids of the new files.

    Files that could not be read keep their verdict, without their content. What is too much for the set is told by
    TooLargeError, once the files before it are judged.
    """
    with _filling:  # so that the limits hold for those who bring files at once
        kept = store.files(set_id)
        count, size = len(kept), sum(row["size"] for row in kept)
        found: list[str] = []
        problem: InputError | None = None
        try:
            for upload in uploads:
                # What is too large has been read as far as is taken, which many of them must not be.
                count += 1
                size += MAX_FILE_BYTES if upload.content is None else len(upload.content)
                if count > MAX_SET_FILES or size > MAX_SET_BYTES:
                    raise TooLargeError(
                        f"a set holds at most {MAX_SET_FILES:,} files and {MAX_SET_BYTES // 2**20} MB; "
                        f"{len(found)} of the new files were added."
                    )
                found.append(_add(store, reader, set_id, upload))
        except InputError as error:
            problem = error
        judge(store, reader, set_id)
    if problem is not None:
        raise problem
    return found


def _add(store: Store, reader: Reader, set_id: str, upload: Upload) -> str:
    report = _examined(store, reader, upload)
    content = b"" if report["verdict"] in ("unreadable", "not MIDI") else upload.content or b""
    return store.add_file(set_id, upload.name, upload.folder, content, report)


def _examined(store: Store, reader: Reader, upload: Upload) -> Row:
    if upload.content is None:
        return _refused(f"larger than {MAX_FILE_BYTES // 2**20} MB")
    if not _is_midi(upload.name):
        return {**_refused("the name does not end in .mid"), "verdict": "not MIDI"}
    with TemporaryDirectory(dir=store.temporary) as folder:
        path = Path(folder) / "upload.mid"
        path.write_bytes(upload.content)
        return reader.report(path)


def judge(store: Store, reader: Reader, set_id: str) -> None:
    """Bring the verdicts of a set, duplicates among them, and its totals up to date."""
    reports, totals = reader.judge(store.folder_of_set(set_id), store.library_of_set(set_id))
    names = {row["id"]: row["name"] for row in store.files(set_id)}
    named = {id_: _named(report, names) for id_, report in reports.items() if id_ in names}
    store.set_reports(set_id, named, totals)


def _named(report: Row, names: dict[str, str]) -> Row:
    """A verdict that names another file by its id, with that file's own name."""
    words = [names.get(Path(word).stem, word) for word in report["verdict"].split(" ")]
    return {**report, "verdict": " ".join(words)}


def _refused(reason: str) -> Row:
    return {"verdict": "unreadable", "reason": reason, "warnings": [], "facts": {}}


# -- in the other process -------------------------------------------------------------------------


def _limit() -> None:
    end_with_parent()
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (READ_BYTES, READ_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _report(path: Path) -> Row:
    known = examine(path).facts
    return {
        "verdict": known["verdict"],
        "reason": known["reason"],
        "warnings": known.get("warnings", []),
        "facts": known.get("facts", {}),
    }


def _judge(folder: Path, library: Path) -> tuple[dict[str, Row], Row]:
    folder.mkdir(exist_ok=True)
    with Library(library) as known:
        corpus: Corpus = scan(folder, allow_drums_only=True, library=known)
    reports = {
        report.path.stem: {
            "verdict": report.verdict,
            "reason": report.reason,
            "warnings": report.warnings,
            "facts": report.facts,
        }
        for report in corpus.files
    }
    return reports, corpus.totals()
