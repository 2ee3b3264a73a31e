"""The studio besieged: ten times more is asked of it than it can do, and it goes on answering.

    python -m benchmarks.siege [--minutes 10] [--times 10] [--bars 16]

Starts `cadenza serve` on a folder of its own, measures how many requests to compose it can do in a second, and asks for so many
times more, for so many minutes, without waiting for any of them. Prints how many were taken and how many refused (429), how soon
refusals and /health were answered, and what memory the server and its workers hold at the start and at the end. One JSON line
last. Answers are timed from when they were due, so that nobody who waits in line is left out.
"""

from __future__ import annotations

import argparse
import http.client
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.studio import CANDIDATES, Studio, started
from benchmarks.tutorial import exit_code, require

ASKING = 16  # threads that ask
MEASURED = 8  # requests by which it is measured how many can be done
HEALTH_SECONDS = 0.25  # between looks whether the server is well


def status_of(studio: Studio, method: str, path: str, body: Any = None) -> int:
    """The status of an answer, which is read to its end, on a connection of its own."""
    with closing(http.client.HTTPConnection(urlsplit(studio.address).netloc, timeout=60)) as line:
        line.request(method, path, body and json.dumps(body), {"content-type": "application/json"})
        with line.getresponse() as answer:
            answer.read()
            return answer.status


def capacity(studio: Studio, bars: int) -> float:
    """Requests that can be done in a second."""
    start = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: studio.compose(bars), range(MEASURED)))
    return MEASURED / (time.perf_counter() - start)


def siege(
    studio: Studio, rate: float, seconds: float, bars: int
) -> tuple[list[tuple[int, float]], list[float]]:
    """Status and seconds of every request to compose, at so many a second; and seconds of looks at /health."""
    request = {"options": {"bars": bars, "num": CANDIDATES}}
    start = time.perf_counter()

    def compose(number: int) -> tuple[int, float]:
        due = start + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        status = status_of(studio, "POST", "/api/compose", request)
        return status, time.perf_counter() - due

    def look(number: int) -> float:
        due = start + number * HEALTH_SECONDS
        time.sleep(max(0.0, due - time.perf_counter()))
        assert status_of(studio, "GET", "/health") == 200
        return time.perf_counter() - due

    with ThreadPoolExecutor(ASKING) as many, ThreadPoolExecutor(1) as one:
        health = one.map(look, range(int(seconds / HEALTH_SECONDS)))
        answers = list(many.map(compose, range(int(rate * seconds))))
        return answers, list(health)


def times(seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile, in milliseconds."""
    if not seconds:
        return {}
    return {"median_ms": 1000 * float(np.median(seconds)), "p99_ms": 1000 * float(np.quantile(seconds, 0.99))}


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure and print."""
    require("fastapi", "uvicorn")
    with started() as studio:
        studio.compose(arguments.bars)  # until the worker is there
        can = capacity(studio, arguments.bars)
        before = studio.megabytes()
        rate = arguments.times * can
        answers, health = siege(studio, rate, 60 * arguments.minutes, arguments.bars)
        after = studio.megabytes()
    statuses = [status for status, _ in answers]
    by_status = {status: statuses.count(status) for status in sorted(set(statuses))}
    rows = {
        "refused": times([seconds for status, seconds in answers if status == 429]),
        "taken": times([seconds for status, seconds in answers if status == 202]),
        "health": times(health),
    }
    print(f"can do {can:.2f} requests/s, asked for {rate:.1f}/s over {arguments.minutes:g} minutes")
    print("answers: " + ", ".join(f"{count} with {status}" for status, count in by_status.items()))
    for name, row in rows.items():
        print(f"{name:8}  " + "  ".join(f"{what} {value:.1f}" for what, value in row.items()))
    print(f"resident {before:.0f} MB at the start, {after:.0f} MB at the end")
    return {
        "benchmark": "siege",
        "minutes": arguments.minutes,
        "bars": arguments.bars,
        "can_per_second": can,
        "asked_per_second": rate,
        "answers": by_status,
        "share_refused": by_status.get(429, 0) / max(1, len(answers)),
        **rows,
        "megabytes": [before, after],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """See the file's head."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.siege",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--times", type=float, default=10.0, help="as many as can be done")
    parser.add_argument("--bars", type=int, default=16)
    arguments = parser.parse_args(argv)
    return exit_code(lambda: print(json.dumps(run(arguments))))


if __name__ == "__main__":
    raise SystemExit(main())
