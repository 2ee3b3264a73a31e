"""The studio under load: how soon music begins, how long composing takes, and what memory it holds.

    python -m benchmarks.studio [--people 1 4 16] [--each 8] [--bars 16] [--pieces 1000]

Starts `cadenza serve` on a folder of its own. So many people ask at the same time for four pieces, each again as soon as
theirs are ready. Prints, by number of people, the median and the 99th percentile of the time to the first notes and to
the last piece, and pieces a second; then the resident size of all processes after so many pieces. One JSON line last.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np

from benchmarks.tutorial import exit_code, require

CANDIDATES = 4


@dataclass(frozen=True)
class Studio:
    """A server that runs."""

    address: str
    pid: int

    def ask(self, path: str, body: Any = None) -> Any:
        """JSON of an answer; with a body, posted."""
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self.address + path, data, {"content-type": "application/json"})) as answer:
            return json.load(answer)

    def compose(self, bars: int) -> tuple[float, float]:
        """Seconds until the first notes, and until all pieces are there."""
        start = time.perf_counter()
        job = self.ask("api/compose", {"options": {"bars": bars, "num": CANDIDATES}})["id"]
        first = 0.0
        with urlopen(f"{self.address}api/jobs/{job}/notices") as stream:
            for line in stream:
                if line.startswith((b"event: draft", b"event: piece")) and not first:
                    first = time.perf_counter() - start
        return first, time.perf_counter() - start

    def megabytes(self) -> float:
        """Resident size of the server and its workers."""
        return sum(_megabytes(pid) for pid in (self.pid, *_children(self.pid)))


@contextmanager
def started() -> Iterator[Studio]:
    """A server on a folder of its own."""
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "cadenza", "serve", "--port", "0", "--data", data]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            try:
                yield Studio(process.stdout.readline().split()[-1], process.pid)
            finally:
                process.terminate()


def _children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()[1:]]
    return [int(child) for child, parent in rows if int(parent) == pid]


def _megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def load(studio: Studio, people: int, each: int, bars: int) -> dict[str, float]:
    """What so many people see."""
    start = time.perf_counter()
    with ThreadPoolExecutor(people) as pool:
        found = list(pool.map(lambda _: studio.compose(bars), range(people * each)))
    seconds = time.perf_counter() - start
    first, whole = (np.array(column) for column in zip(*found, strict=True))
    return {
        "people": people,
        "first_median": float(np.median(first)),
        "first_p99": float(np.quantile(first, 0.99)),
        "all_median": float(np.median(whole)),
        "all_p99": float(np.quantile(whole, 0.99)),
        "pieces_per_second": len(found) * CANDIDATES / seconds,
        "requests_per_second": len(found) / seconds,
    }


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure and print."""
    require("fastapi", "uvicorn")
    with started() as studio:
        studio.compose(arguments.bars)  # until the worker is there
        before = studio.megabytes()
        rows = [load(studio, people, arguments.each, arguments.bars) for people in arguments.people]
        for row in rows:
            print("  ".join(f"{name} {value:.3g}" for name, value in row.items()), flush=True)
        made = sum(people * arguments.each for people in arguments.people) * CANDIDATES
        while made < arguments.pieces:
            studio.compose(arguments.bars)
            made += CANDIDATES
        after = studio.megabytes()
        print(f"resident {before:.0f} MB at first, {after:.0f} MB after {made} pieces")
    return {
        "benchmark": "studio",
        "bars": arguments.bars,
        "rows": rows,
        "megabytes": [before, after],
        "pieces": made,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """See the file's head."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studio",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--people", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--each", type=int, default=8, help="requests of each of them")
    parser.add_argument("--bars", type=int, default=16)
    parser.add_argument("--pieces", type=int, default=1000, help="before memory is measured again")
    arguments = parser.parse_args(argv)
    return exit_code(lambda: print(json.dumps(run(arguments))))


if __name__ == "__main__":
    raise SystemExit(main())
