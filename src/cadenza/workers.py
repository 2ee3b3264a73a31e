"""Processes that work side by side on one machine, since Python computes on one core at a time."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cadenza.errors import CadenzaError, InputError

# What starts processes is imported where they start: it takes longer than reading a file or composing a few bars.
if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

LOOK_SECONDS = 0.1  # between looks at how far the processes are

Job = TypeVar("Job")
Result = TypeVar("Result")
Count = Callable[[int], None]  # told how much more has been done


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def team(workers: int) -> int:
    """How many processes are meant: 0 is one for each core. Raises InputError for fewer than none."""
    if workers < 0:
        raise InputError(f"workers must be 0 (one for each core) or more, not {workers}.")
    return workers or cores()


@contextmanager
def only_one(path: Path, *, wait: bool) -> Iterator[None]:
    """Within it no other process is; raises InputError, unless told to wait, if one is. The system lets go of the lock
    when a process dies, however it does."""
    with path.open("a+b") as file:
        try:
            _lock(file.fileno(), wait)
        except OSError as error:
            raise InputError(
                f"{path.parent}: another process uses this folder; end it, or name another."
            ) from error
        yield


def _lock(descriptor: int, wait: bool) -> None:
    if os.name == "nt":
        import msvcrt  # which tries for ten seconds before it gives up waiting

        msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        return
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


def process_pool(
    workers: int, initializer: Callable[..., None] | None = None, *arguments: Any
) -> ProcessPoolExecutor:
    """A pool of processes that call `initializer` first; a forked child would inherit locks of our threads."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    return ProcessPoolExecutor(workers, get_context("spawn"), initializer, arguments)


@contextmanager
def losses_told() -> Iterator[None]:
    """Raises CadenzaError in here if a process of a pool is killed or cannot start."""
    try:
        yield
    except RuntimeError as error:
        from concurrent.futures.process import BrokenProcessPool

        if not isinstance(error, BrokenProcessPool):
            raise
        raise CadenzaError(
            "a process that works for this one was killed or could not start; memory may be short, or a script "
            'lacks `if __name__ == "__main__":`.'
        ) from error


def in_processes(
    function: Callable[[Job, Count], Result], jobs: list[Job], workers: int, on_total: Count | None
) -> Generator[Result]:
    """Results of the function for all jobs, in their order, few of them ahead of who asks for them.

    on_total: told now and then the sum of what the function has told its `Count`. Raises CadenzaError if a
    process is killed or cannot start; once nobody asks for more results, the processes end at the next count.
    """
    from multiprocessing.sharedctypes import RawArray, RawValue

    done, stop = RawArray("q", len(jobs)), RawValue("b", 0)
    pool = process_pool(workers, _start, done, stop)
    ahead: deque[Future[Result]] = deque()
    try:
        with losses_told():
            for number, job in enumerate(jobs):
                with _deaf_to_ctrl_c():
                    ahead.append(pool.submit(_work, function, job, number))
                if len(ahead) > workers:
                    yield _awaited(ahead.popleft(), done, on_total)
            while ahead:
                yield _awaited(ahead.popleft(), done, on_total)
    finally:
        stop.value = 1
        pool.shutdown(cancel_futures=True)


def _awaited(result: Future[Result], done: Iterable[int], on_total: Count | None) -> Result:
    from concurrent.futures import wait

    while not result.done():
        wait([result], LOOK_SECONDS)
        if on_total is not None:
            on_total(sum(done))
    if on_total is not None:
        on_total(sum(done))
    return result.result()


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that start in here do not hear Ctrl-C, which reaches all: the first one tells the others."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# -- in the processes -----------------------------------------------------------------------------


class _StoppedError(Exception):
    """Nobody waits for the result any more."""


class _Shared:
    """What the first process sees, too."""

    done: Any  # by job
    stop: Any


def _start(done: Any, stop: Any) -> None:
    _Shared.done, _Shared.stop = done, stop
    end_with_parent()


def end_with_parent() -> None:
    """Let this process of a pool end when the one that started it does, however that ends."""
    from multiprocessing import parent_process

    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _work(function: Callable[[Job, Count], Result], job: Job, number: int) -> Result:
    def count(more: int) -> None:
        _Shared.done[number] += more
        if _Shared.stop.value:
            raise _StoppedError

    return function(job, count)
