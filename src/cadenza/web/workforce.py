"""The worker processes of a server: started with it, started anew when one dies, ended with it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

from cadenza.web.store import COMPOSE, TRAIN, Store
from cadenza.workers import cores

Job = tuple[str, int]  # a kind of job, and the number of a process that does it

LOOK_SECONDS = 0.5
LONGEST_WAIT = 30.0  # before a process that dies again and again is started anew
MAX_COMPOSING = 4
PATIENCE = 20.0  # for workers to write their checkpoint when the server ends


class Workforce:
    """Processes that compose, one for each core up to four, and, where torch is there, one that trains."""

    def __init__(self, store: Store, can_train: bool) -> None:
        self.store = store
        self.jobs = [(COMPOSE, number) for number in range(min(MAX_COMPOSING, cores()))]
        self.jobs += [(TRAIN, 0)] if can_train else []
        self.processes: dict[Job, subprocess.Popen[bytes]] = {}
        self.started: dict[Job, float] = {}
        self.waits: dict[Job, float] = {}
        self.ending = threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Start the processes; jobs of those that an earlier server had and this one has not wait for these."""
        self.store.recover_all_but([f"{kind}-{number}" for kind, number in self.jobs])
        for job in self.jobs:
            self._start(job)
        self.watcher.start()

    def _start(self, job: Job) -> None:
        self.started[job] = time.monotonic()
        own = str(os.getpid())
        # A new session: Ctrl-C reaches the server alone, which then ends its workers in order.
        self.processes[job] = subprocess.Popen(  # noqa: S603 - it is this program
            [sys.executable, "-m", "cadenza.web.worker", str(self.store.root), job[0], str(job[1]), own],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _watch(self) -> None:
        while not self.ending.wait(LOOK_SECONDS):
            for job, process in list(self.processes.items()):
                if process.poll() is not None and self._is_due(job):
                    try:
                        self._start(job)
                    except OSError as error:  # memory is short, say: the next look may succeed
                        print(f"cadenza: no process can be started ({error}).", file=sys.stderr)

    def _is_due(self, job: Job) -> bool:
        """Whether to start a process anew that has died; one that dies soon waits twice as long each time."""
        lived = time.monotonic() - self.started[job]
        wait = self.waits.setdefault(job, LOOK_SECONDS)
        if self.ending.is_set() or lived < wait:
            return False
        self.waits[job] = LOOK_SECONDS if lived > 2 * LONGEST_WAIT else min(LONGEST_WAIT, 2 * wait)
        return True

    def stop(self) -> None:
        """End all processes; what they work on is put back for the next server."""
        self.ending.set()
        if self.watcher.is_alive():
            self.watcher.join()
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
