"""Damages MIDI files at random and reads them: whatever comes, it is refused in a sentence or becomes a score.

    python tests/mutations.py [--cases 100000] [--seed 0]     # prints what went wrong, and the slowest and the largest

Every case follows from its number alone. Reading it may take at most two seconds of processor time, drawing it (one
in twenty) twenty, and both 256 MB beyond what the reader takes anyway.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import numpy as np

from cadenza.corpus import examine
from cadenza.errors import InputError
from cadenza.events import NoteEvents
from cadenza.midi import midi_bytes, parse_midi
from cadenza.model_folder import bundled_corpus
from cadenza.pianoroll import render_svg
from cadenza.sheet import musicxml

SECONDS, SECONDS_TO_DRAW, MEGABYTES = 2.0, 20.0, 256
MAX_BYTES = 40_000  # of a piece that is damaged
N_PIECES = 20
DRAWN = 20  # one in so many cases is drawn
STATUS = (0x80, 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0, 0xF0, 0xF1, 0xF7, 0xFE, 0xFF)
NUMBERS = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\1",
    b"MTrk",
    b"MThd",
)


class TooSlowError(Exception):
    """Raised when a case takes more time than it may."""


def pieces() -> list[bytes]:
    """The pieces that are damaged: of every bundled style the smallest and others."""
    paths = sorted(bundled_corpus().rglob("*.mid"), key=lambda path: (path.stat().st_size, path.name))
    small = [path for path in paths if path.stat().st_size <= MAX_BYTES]
    return [path.read_bytes() for path in small[:: max(1, len(small) // N_PIECES)][:N_PIECES]]


def mutated(number: int, seed: int, originals: Sequence[bytes]) -> bytes:
    """Case `number`: a piece in which one to eight things were changed."""
    rng = random.Random(f"{seed} {number}")
    data = bytearray(rng.choice(originals))
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        _change(data, rng)
    return bytes(data)


def _change(data: bytearray, rng: random.Random) -> None:
    # Half of all changes are near the start, where headers are.
    at = rng.randrange(max(1, min(len(data), rng.choice((64, len(data)))))) if data else 0
    length = rng.choice((1, 2, 4, 16, 256))
    match rng.randrange(9):
        case 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        case 1:
            data[at : at + 1] = bytes([rng.choice(STATUS) | rng.choice((0, 9, rng.randrange(16)))])
        case 2:
            del data[at : at + length]
        case 3:
            data[at:at] = rng.randbytes(length)
        case 4:
            data[at:at] = data[at : at + length] * rng.choice((1, 2, 50))
        case 5:
            del data[at:]
        case 6:
            number = rng.choice(NUMBERS)
            data[at : at + len(number)] = number
        case 7:
            other = rng.randrange(len(data) + 1)
            data[at : at + length] = data[other : other + length]
        case _:
            if at < len(data):
                data[at] ^= 1 << rng.randrange(8)


def read(path: Path, *, draw: bool) -> str:
    """The verdict on a file, having done with it what learning and hearing it do and, to draw it, seeing it."""
    entry = examine(path)
    if entry.score is None:
        return str(entry.facts["verdict"])
    NoteEvents().encode_piece(entry.score)
    again = parse_midi(midi_bytes(entry.score))
    if not np.array_equal(again.notes, entry.score.notes):
        raise AssertionError("what was written is read back otherwise")
    signal.setitimer(signal.ITIMER_PROF, SECONDS_TO_DRAW)
    for write in (render_svg, musicxml) if draw else ():
        try:
            write(entry.score)
        except InputError:
            return "ok, but too long to be drawn"
    return "ok"


def _too_slow(number: int, _: FrameType | None) -> None:
    raise TooSlowError


def run(numbers: Sequence[int], seed: int, folder: Path) -> list[tuple[int, str]]:
    """Read the cases of these numbers; returns those that went wrong, with what happened."""
    originals, path = pieces(), folder / "case.mid"
    path.write_bytes(originals[0])
    read(path, draw=True)  # imports what is needed
    signal.signal(signal.SIGPROF, _too_slow)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEGABYTES * 2**20,) * 2)
    wrong: list[tuple[int, str]] = []
    verdicts: Counter[str] = Counter()
    slowest = (0.0, -1)
    for number in numbers:
        path.write_bytes(mutated(number, seed, originals))
        start = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            verdicts[read(path, draw=number % DRAWN == 0)] += 1
        except Exception:  # whatever it is, it is what is looked for, and is told
            wrong.append((number, traceback.format_exc()))
        signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, (time.process_time() - start, number))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    told = ", ".join(f"{verdict} {count:,}" for verdict, count in verdicts.most_common())
    print(
        f"{len(numbers):,} cases, {len(wrong)} wrong: {told}; slowest {slowest[0]:.2f} s (case {slowest[1]}), {most} MB"
    )
    return wrong


def _address_space() -> int:
    """What this process has of it, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def main() -> int:
    """Exit with 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True, help="where a case may be written")
    arguments = parser.parse_args()
    numbers = range(arguments.first, arguments.first + arguments.cases)
    wrong = run(numbers, arguments.seed, arguments.folder)
    for number, what in wrong[:20]:
        print(f"case {number}:\n{what}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
