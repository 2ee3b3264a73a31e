"""Files that a Score can be written to: a table from suffix to writer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cadenza.errors import InputError
from cadenza.files import write_atomic
from cadenza.midi import write_midi
from cadenza.pianoroll import render_svg
from cadenza.score import Score


def _write_wav(score: Score, path: Path) -> None:
    from cadenza.audio import write_wav  # the soundfont is read by who wants sound alone

    write_wav(score, path)


def _write_musicxml(score: Score, path: Path) -> None:
    from cadenza.sheet import write_musicxml  # engraved by who wants sheet music alone

    write_musicxml(score, path)


def _write_svg(score: Score, path: Path) -> None:
    write_atomic(path, render_svg(score, title=path.stem))


WRITERS: dict[str, Callable[[Score, Path], None]] = {
    ".mid": write_midi,
    ".midi": write_midi,
    ".svg": _write_svg,
    ".wav": _write_wav,
    ".musicxml": _write_musicxml,
}


def write_score(score: Score, path: str | Path) -> None:
    """Write the score in the format that the suffix names; raises InputError for an unknown one."""
    path = Path(path)
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise InputError(
            f"{path}: cannot write {path.suffix or 'a file without suffix'}; use {', '.join(WRITERS)}."
        )
    writer(score, path)
