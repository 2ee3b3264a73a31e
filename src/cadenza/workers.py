"""Processes that work side by side, since Python computes on one core at a time; here for composing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.sharedctypes import RawArray, RawValue
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cadenza.errors import CadenzaError

if TYPE_CHECKING:
    from cadenza.composer import Composer, Composition, Order

LOOK_SECONDS = 0.1  # between looks at how far the processes are


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def started(workers: int, *start: Any) -> ProcessPoolExecutor:
    """So many processes. start: a function that each of them calls first, and its arguments."""
    function, *arguments = start or (None,)
    # A forked child would inherit locks of this process's threads.
    return ProcessPoolExecutor(workers, get_context("spawn"), function, tuple(arguments))


def compose_in_processes(
    model: Path,
    precision: str,
    orders: Sequence[Order],
    workers: int,
    on_events: Callable[[int], None] | None,
) -> Iterator[Composition]:
    """The pieces of all orders, in their order; see `Composer.compose_many`.

    Raises CadenzaError if a process is killed. Once nobody asks for more pieces, the processes end at once.
    """
    drawn, stop = RawArray("q", len(orders)), RawValue("b", 0)
    pool = started(workers, _open, model, precision, drawn, stop)
    try:
        for result in [pool.submit(_fill, number, order) for number, order in enumerate(orders)]:
            _look_on(result, drawn, on_events)
            yield from result.result()
    except BrokenProcessPool as error:
        raise CadenzaError(
            "a process that composed was ended from outside, perhaps for want of memory; compose fewer pieces at once."
        ) from error
    finally:
        stop.value = 1
        pool.shutdown(cancel_futures=True)


def _look_on(result: Future[Any], drawn: Any, on_events: Callable[[int], None] | None) -> None:
    while not result.done():
        wait([result], LOOK_SECONDS)
        if on_events is not None:
            on_events(sum(drawn))


# -- in the processes -----------------------------------------------------------------------------


class _StoppedError(Exception):
    """Nobody waits for the pieces any more."""


class _Worker:
    """What a process knows from its start on."""

    composer: Composer
    drawn: Any
    stop: Any


def _open(model: Path, precision: str, drawn: Any, stop: Any) -> None:
    from cadenza.composer import Composer

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process tells the others
    _Worker.composer = Composer.from_pretrained(model, precision)
    _Worker.drawn, _Worker.stop = drawn, stop


def _fill(number: int, order: Order) -> list[Composition]:
    def count(events: int) -> None:
        _Worker.drawn[number] += events
        if _Worker.stop.value:
            raise _StoppedError

    return _Worker.composer.fill(order, count)
