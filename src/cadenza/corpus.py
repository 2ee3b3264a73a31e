"""A folder of MIDI files as a corpus: a verdict for every file, and the pieces that can be learned from.

Nothing is dropped in silence: each file is either a piece or has a reason, in words for its owner.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cadenza.errors import InputError, MidiError
from cadenza.midi import MIDI_SUFFIXES, read_midi
from cadenza.score import DRUM_KIT, Score, estimate_key, instrument_name, pitch_name, seconds_at
from cadenza.timing import Timing, classify_timing, has_unknown_bars, lay_on_grid

MIN_NOTES = 16
MAX_NOTES = 200_000
_FINGERPRINT_STEPS = 24  # per quarter: fine enough to tell two pieces apart


@dataclass(frozen=True)
class Piece:
    """A usable file: its score laid on its own grid (see `timing`) and the style, its sub-folder."""

    path: Path
    score: Score
    timing: Timing
    style: str
    fingerprint: str


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
) -> Corpus:
    """Read every file below `root` (or `root` itself, if it is a file) and judge it.

    on_file: called with (files done, files in all). Raises InputError if `root` does not exist.
    """
    root = Path(root)
    if not root.exists():
        raise InputError(f"{root}: no such file or folder; give a folder of MIDI files.")
    reports: list[FileReport] = []
    paths = [root] if not root.is_dir() else list(_files_below(root, reports))
    judge = _Judge(root if root.is_dir() else root.parent, allow_drums_only)
    for done, path in enumerate(paths, 1):
        reports.append(judge(path))
        if on_file is not None:
            on_file(done, len(paths))
    return Corpus(root, reports, judge.pieces)


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


class _Judge:
    """Judges files one after the other, remembering what it has seen to find duplicates."""

    def __init__(self, root: Path, allow_drums_only: bool) -> None:
        self.root = root
        self.allow_drums_only = allow_drums_only
        self.pieces: list[Piece] = []
        self.first_with: dict[str, Path] = {}

    def __call__(self, path: Path) -> FileReport:
        if path.suffix.lower() not in MIDI_SUFFIXES:
            return FileReport(path, "not MIDI", f"the name ends in {path.suffix or 'nothing'}, not in .mid")
        try:
            if not path.is_file():
                return FileReport(path, "unreadable", "not a regular file")
            if path.stat().st_size == 0:
                return FileReport(path, "empty", "0 bytes")
            score = read_midi(path)
        except MidiError as error:
            return FileReport(path, "unreadable", str(error).removeprefix(f"{path}: "))
        except OSError as error:
            return FileReport(path, "unreadable", error.strerror or "input/output error")
        return self._judge_score(path, score)

    def _judge_score(self, path: Path, score: Score) -> FileReport:
        if not len(score):
            return FileReport(path, "no notes", "there is nothing to learn from")
        timing = classify_timing(score)
        facts = describe_file(score, timing)
        report = FileReport(path, "ok", warnings=_warnings(score, timing), facts=facts)
        if not self.allow_drums_only and score.notes["instrument"].min() >= DRUM_KIT:
            report.verdict, report.reason = "only drums", "use --drums to learn from drum tracks alone"
        elif len(score) < MIN_NOTES:
            report.verdict, report.reason = "too short", f"{len(score)} notes, fewer than {MIN_NOTES}"
        elif len(score) > MAX_NOTES:
            report.verdict, report.reason = "too long", f"{len(score)} notes, more than {MAX_NOTES}; split it"
        else:
            try:
                laid = lay_on_grid(score, timing)
            except InputError as error:
                report.verdict, report.reason = "too long", str(error)
            else:
                self._accept_unless_duplicate(report, laid, timing)
        return report

    def _accept_unless_duplicate(self, report: FileReport, score: Score, timing: Timing) -> None:
        fingerprint = _fingerprint(score)
        first = self.first_with.setdefault(fingerprint, report.path)
        if first != report.path:
            report.verdict = f"duplicate of {first.relative_to(self.root)}"
            report.reason = "the same notes, perhaps under another name or instrument"
            return
        parent = report.path.relative_to(self.root).parts
        style = parent[0] if len(parent) > 1 else ""
        self.pieces.append(Piece(report.path, score, timing, style, fingerprint))


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


def split(pieces: Sequence[Piece]) -> tuple[list[Piece], list[Piece]]:
    """Pieces to learn from and pieces held out: the same for the same set, whatever order or seed.

    A tenth is held out, at most 60; of small sets a fifth, at least one.
    """
    ordered = sorted(pieces, key=lambda piece: piece.fingerprint)
    share = 0.2 if len(ordered) < 30 else 0.1
    held_out = min(60, max(1, round(share * len(ordered))))
    return ordered[held_out:], ordered[:held_out]
