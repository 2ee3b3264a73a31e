"""How a process that trains uses the machine: what it keeps of its memory, and what it leaves to others."""

from __future__ import annotations

import ctypes
import os
import sys

# Parameters of the C library's mallopt, as in its manual and its header malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_KEPT = 1 << 30  # bytes

# Looks at whether another thread is ready, before a thread of GNU's OpenMP sleeps; else it looks for milliseconds.
_LOOKS = "1000"


def keep_freed() -> None:
    """From now on let this process keep up to 1 GiB of what it frees, where the C library is GNU's.

    Else every large tensor is taken from the system anew, which first writes zeros to it, page by page: 10 to 20 %
    of the time of a step on a CPU. Other C libraries go on as they do.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)


def share_cores() -> None:
    """Let threads that wait for each other soon leave their core to another process; PyTorch must not be loaded yet.

    Two trainings side by side, whose threads keep each other from the cores while they wait, were a hundred times
    slower than one. Alone, one is 5 % slower by it. Whoever has set how OpenMP waits is left alone.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _LOOKS)
