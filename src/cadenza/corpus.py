"""A folder of MIDI files as a corpus: a verdict for every file, and the pieces that can be learned from.

Nothing is dropped in silence: each file is either a piece or has a reason, in words for its owner.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cadenza.errors import InputError, MidiError
from cadenza.library import Entry, Library, Stamp, stamp_of
from cadenza.midi import MIDI_SUFFIXES, read_midi
from cadenza.score import DRUM_KIT, Score, estimate_key, instrument_name, pitch_name, seconds_at
from cadenza.timing import Timing, classify_timing, has_unknown_bars, lay_on_grid, leading_bars
from cadenza.workers import losses_told, process_pool, team

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

MIN_NOTES = 16
MAX_NOTES = 200_000
FILES_AT_ONCE = 512  # read, kept and judged together
MAX_WORKERS = 32  # processes that read; the disk is the limit soon, and on Windows 61 are
FILES_WORTH_A_PROCESS = 200
_FINGERPRINT_STEPS = 24  # per quarter: fine enough to tell two pieces apart


@dataclass(frozen=True)
class Piece:
    """A usable file: its score laid on its own grid (see `timing`) and the style, its sub-folder."""

    path: Path
    score: Score
    timing: Timing
    style: str
    fingerprint: str
    leading_bars: int  # of the file, before the score


@dataclass
class FileReport:
    """What became of one file: verdict "ok" or why not, the reason in a sentence, warnings, facts."""

    path: Path
    verdict: str
    reason: str = ""
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: path, verdict, reason, warnings and the facts side by side."""
        return {
            "path": str(self.path),
            "verdict": self.verdict,
            "reason": self.reason,
            "warnings": self.warnings,
            **self.facts,
        }


@dataclass(frozen=True)
class Corpus:
    """Every file below `root` with its report, and the pieces among them."""

    root: Path
    files: list[FileReport]
    pieces: list[Piece]

    @property
    def skipped(self) -> list[FileReport]:
        """Files that are not pieces."""
        return [report for report in self.files if report.verdict != "ok"]

    def totals(self) -> dict[str, Any]:
        """Sums and counts over the usable files."""
        facts = [report.facts for report in self.files if report.verdict == "ok"]
        pitches = [p for f in facts for p in f["pitch_range"]]
        return {
            "files": len(self.files),
            "pieces": len(facts),
            "skipped": dict(Counter(r.verdict for r in self.skipped)),
            "notes": sum(f["notes"] for f in facts),
            "hours": round(sum(f["seconds"] for f in facts) / 3600, 3),
            "instruments": _count(f["instruments"] for f in facts),
            "keys": _count([f["key"]] for f in facts),
            "metres": _count(f["metres"] for f in facts),
            "tempi": _tempo_summary([f["tempo"] for f in facts]),
            "pitch_range": [min(pitches), max(pitches)] if pitches else None,
            "timing": _count([f["timing"]] for f in facts),
            "styles": dict(Counter(piece.style for piece in self.pieces)),
        }

    def require_pieces(self, at_least: int = 1) -> None:
        """Raise InputError, naming every file and its reason, unless there are enough pieces."""
        if len(self.pieces) >= at_least:
            return
        found = f"{len(self.pieces)} usable piece{'s' if len(self.pieces) != 1 else ''}"
        lines = [
            f"  {r.path}: {r.verdict} ({r.reason})" if r.reason else f"  {r.path}: {r.verdict}"
            for r in self.skipped
        ]
        detail = "\n".join(["", *lines]) if lines else ""
        raise InputError(
            f"{self.root}: {found} of {len(self.files)} files, at least {at_least} needed; add MIDI files.{detail}"
        )


def scan(
    root: str | Path,
    *,
    allow_drums_only: bool = False,
    on_file: Callable[[int, int], None] | None = None,
    library: Library | None = None,
    workers: int = 1,
) -> Corpus:
    """Read every file below `root` (or `root` itself, if it is a file) and judge it.

    on_file: called with (files done, files in all). library: where what was read before is found again,
    and what is read now is kept. workers: processes that read side by side; 0 takes one for each core.
    Raises InputError if `root` does not exist.
    """
    root = Path(root)
    if not root.exists():
        raise InputError(f"{root}: no such file or folder; give a folder of MIDI files.")
    reports: list[FileReport] = []
    paths = [root] if not root.is_dir() else list(_files_below(root, reports))
    judge = _Judge(root if root.is_dir() else root.parent, allow_drums_only)
    known = None if library is None else _Known(library, root if root.is_dir() else root.parent)
    for done, (path, entry) in enumerate(_examined(paths, known, workers), 1):
        reports.append(judge(path, entry))
        if on_file is not None:
            on_file(done, len(paths))
    if known is not None and root.is_dir():
        known.keep_only(paths)
    return Corpus(root, reports, judge.pieces)


def _examined(paths: list[Path], known: _Known | None, workers: int) -> Iterator[tuple[Path, Entry]]:
    """What is known of each file: from the library, or else by reading it."""
    with losses_told(), _Readers(workers) as read:
        for start in range(0, len(paths), FILES_AT_ONCE):
            part = paths[start : start + FILES_AT_ONCE]
            if known is None:
                yield from zip(part, read(part), strict=True)
                continue
            stamps = {path: stamp for path in part if (stamp := stamp_of(path)) is not None}
            found = known.find(stamps)
            missing = [path for path in part if path not in found]
            fresh = dict(zip(missing, read(missing), strict=True))
            known.add(stamps, fresh)
            # Scores from the library are parts of a mapped file, which take no memory of their own.
            found |= known.find({path: stamps[path] for path in missing if path in stamps})
            yield from ((path, found.get(path) or fresh[path]) for path in part)


class _Known:
    """What a library knows of the files below a folder."""

    def __init__(self, library: Library, root: Path) -> None:
        self.library, self.root = library, root

    def _name(self, path: Path) -> bytes:
        return os.fsencode(path.relative_to(self.root))

    def find(self, stamps: dict[Path, Stamp]) -> dict[Path, Entry]:
        """Entries of those of the files that are known as they are now."""
        entries = {path: self.library.find(self._name(path), stamp) for path, stamp in stamps.items()}
        return {path: entry for path, entry in entries.items() if entry is not None}

    def add(self, stamps: dict[Path, Stamp], entries: dict[Path, Entry]) -> None:
        """Keep what was read, but for files that could not be: the next time they may be readable."""
        lasting = [path for path in stamps if path in entries and entries[path].facts.get("lasting", True)]
        self.library.add((self._name(path), stamps[path], entries[path]) for path in lasting)

    def keep_only(self, paths: list[Path]) -> None:
        """Forget all other files."""
        self.library.keep_only(map(self._name, paths))


class _Readers:
    """Calls `examine` on many files, in several processes where that is worth starting them."""

    def __init__(self, workers: int) -> None:
        self.workers = team(workers) if workers else min(MAX_WORKERS, team(0))
        self.pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Callable[[list[Path]], Iterable[Entry]]:
        return self._read

    def _read(self, paths: list[Path]) -> Iterable[Entry]:
        if self.pool is None and self.workers > 1 and len(paths) >= FILES_WORTH_A_PROCESS:
            self.pool = process_pool(self.workers)
        if self.pool is None:
            return map(examine, paths)
        try:
            return list(self.pool.map(examine, paths, chunksize=16))
        except BrokenExecutor:
            self._end()
            return self._one_by_one(paths)

    def _one_by_one(self, paths: list[Path]) -> Iterator[Entry]:
        """Read in one process, which a file may end: that is then what is said of the file."""
        for path in paths:
            if self.pool is None:
                self.pool = process_pool(1)
                self.pool.submit(os.getpid).result()  # raises BrokenExecutor if it cannot even start
            try:
                yield self.pool.submit(examine, path).result()
            except BrokenExecutor:
                self._end()
                yield _unusable("unreadable", "reading it crashed", lasting=False)
        self._end()  # the next files are read side by side again

    def _end(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)
        self.pool = None

    def __exit__(self, *details: object) -> None:
        self._end()


def _files_below(root: Path, unreadable: list[FileReport]) -> Iterator[Path]:
    """Files in a stable order; hidden ones and linked folders (which may form a loop) are left alone.

    Folders that cannot be opened are added to `unreadable`.
    """

    def report(error: OSError) -> None:
        unreadable.append(FileReport(Path(error.filename), "unreadable", error.strerror or "not accessible"))

    for folder, folders, names in os.walk(root, onerror=report):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder) / name


def examine(path: Path) -> Entry:
    """What is in one file: facts with its verdict, and its score laid on its own grid if it can be used.

    Depends on nothing but the file.
    """
    if path.suffix.lower() not in MIDI_SUFFIXES:
        return _unusable("not MIDI", f"the name ends in {path.suffix or 'nothing'}, not in .mid")
    try:
        if not path.is_file():
            return _unusable("unreadable", "not a regular file")
        if path.stat().st_size == 0:
            return _unusable("empty", "0 bytes")
        score = read_midi(path)
    except MidiError as error:
        return _unusable("unreadable", str(error).removeprefix(f"{path}: "))
    except OSError as error:
        return _unusable("unreadable", error.strerror or "input/output error", lasting=False)
    return _examine_score(score) if len(score) else _unusable("no notes", "there is nothing to learn from")


def _unusable(verdict: str, reason: str, **more: Any) -> Entry:
    return Entry({"verdict": verdict, "reason": reason, **more}, None)


def _examine_score(score: Score) -> Entry:
    timing = classify_timing(score)
    known: dict[str, Any] = {"warnings": _warnings(score, timing), "facts": describe_file(score, timing)}
    if len(score) < MIN_NOTES:
        return _unusable("too short", f"{len(score)} notes, fewer than {MIN_NOTES}", **known)
    if len(score) > MAX_NOTES:
        return _unusable("too long", f"{len(score)} notes, more than {MAX_NOTES}; split it", **known)
    try:
        laid = lay_on_grid(score, timing)
    except InputError as error:
        return _unusable("too long", str(error), **known)
    known |= {
        "fingerprint": _fingerprint(laid),
        "leading_bars": leading_bars(score, laid),
        "only_drums": int(score.notes["instrument"].min()) >= DRUM_KIT,
    }
    return Entry({"verdict": "ok", "reason": "", **known}, laid)


class _Judge:
    """Judges files one after the other, remembering what it has seen to find duplicates."""

    def __init__(self, root: Path, allow_drums_only: bool) -> None:
        self.root = root
        self.allow_drums_only = allow_drums_only
        self.pieces: list[Piece] = []
        self.first_with: dict[str, Path] = {}

    def __call__(self, path: Path, entry: Entry) -> FileReport:
        known = entry.facts
        report = FileReport(
            path, known["verdict"], known["reason"], known.get("warnings", []), known.get("facts", {})
        )
        if entry.score is None:
            return report
        if known["only_drums"] and not self.allow_drums_only:
            report.verdict, report.reason = "only drums", "use --drums to learn from drum tracks alone"
            return report
        first = self.first_with.setdefault(known["fingerprint"], path)
        if first != path:
            report.verdict = f"duplicate of {first.relative_to(self.root)}"
            report.reason = "the same notes, perhaps under another name or instrument"
            return report
        parts = path.relative_to(self.root).parts
        style = parts[0] if len(parts) > 1 else ""
        timing = report.facts["timing"]
        self.pieces.append(
            Piece(path, entry.score, timing, style, known["fingerprint"], known["leading_bars"])
        )
        return report


def _fingerprint(score: Score) -> str:
    """Hash of when each key is struck, whatever the instrument, loudness, tempo or leading silence."""
    steps = np.round(score.notes["onset"] * (_FINGERPRINT_STEPS / score.ticks_per_quarter)).astype(np.int64)
    strokes = np.unique((steps - steps.min()) * 128 + score.notes["pitch"])
    return hashlib.sha256(strokes.tobytes()).hexdigest()


def describe_file(score: Score, timing: Timing) -> dict[str, Any]:
    """Facts about one file as it was read, for `inspect`."""
    notes = score.notes
    pitched = notes["pitch"][notes["instrument"] < DRUM_KIT]
    return {
        "notes": len(notes),
        "seconds": round(float(seconds_at(score, [score.end])[0]), 2),
        "instruments": [instrument_name(i) for i in score.instruments],
        "key": estimate_key(score),
        "metres": list(dict.fromkeys(f"{m['numerator']}/{m['denominator']}" for m in score.metres)),
        "tempo": round(float(score.tempi["qpm"][0]), 2) if len(score.tempi) else 120.0,
        "pitch_range": [int(pitched.min()), int(pitched.max())] if len(pitched) else [],
        "timing": timing,
    }


def _warnings(score: Score, timing: Timing) -> list[str]:
    found = []
    if timing == "beat":
        found.append("unquantised: played to a beat, not exactly on it")
    if timing == "free":
        found.append("unquantised: no beat found, kept as a free performance")
    if has_unknown_bars(score):
        found.append("metre of one beat: bars unknown, taken as 4/4")
    if not len(score.metres):
        found.append("no metre given: taken as 4/4")
    if _drums_off_channel(score):
        found.append("drums off channel 10: one instrument plays like a drum kit")
    return found


def _drums_off_channel(score: Score) -> bool:
    """Whether a pitched instrument plays only the three lowest kit keys and cymbals, as a drum kit does."""
    for instrument in score.instruments:
        keys = np.unique(score.notes["pitch"][score.notes["instrument"] == instrument])
        if (
            instrument < DRUM_KIT
            and len(keys) >= 3
            and np.isin(keys, _KIT_KEYS).all()
            and {36, 38} <= set(keys.tolist())
        ):
            return True
    return False


_KIT_KEYS = (35, 36, 37, 38, 39, 40, 42, 44, 46, 49, 51, 53, 55, 57, 59)  # kicks, snares, hats, cymbals


def _count(lists: Iterable[Sequence[str]]) -> dict[str, int]:
    return dict(Counter(item for items in lists for item in items).most_common())


def _tempo_summary(tempi: list[float]) -> dict[str, float] | None:
    if not tempi:
        return None
    low, median, high = np.percentile(tempi, [0, 50, 100])
    return {"min": round(float(low), 1), "median": round(float(median), 1), "max": round(float(high), 1)}


def pitch_range_names(low: int, high: int) -> str:
    """Such as "C2 to G5"."""
    return f"{pitch_name(low)} to {pitch_name(high)}"
