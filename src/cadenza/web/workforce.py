"""The worker processes of a server: started with it, started anew when one dies, ended with it."""

from __future__ import annotations

import subprocess
import sys
import threading

from cadenza.web.store import COMPOSE, TRAIN, Store
from cadenza.workers import cores

Job = tuple[str, int]  # a kind of job, and the number of a process that does it

LOOK_SECONDS = 0.5
MAX_COMPOSING = 4
PATIENCE = 20.0  # for workers to write their checkpoint when the server ends


class Workforce:
    """Processes that compose, one for each core up to four, and, where torch is there, one that trains."""

    def __init__(self, store: Store, can_train: bool) -> None:
        self.store = store
        self.jobs = [(COMPOSE, number) for number in range(min(MAX_COMPOSING, cores()))]
        self.jobs += [(TRAIN, 0)] if can_train else []
        self.processes: dict[Job, subprocess.Popen[bytes]] = {}
        self.ending = threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Start the processes."""
        for job in self.jobs:
            self._start(job)
        self.watcher.start()

    def _start(self, job: Job) -> None:
        # A new session: Ctrl-C reaches the server alone, which then ends its workers in order.
        self.processes[job] = subprocess.Popen(  # noqa: S603 - it is this program
            [sys.executable, "-m", "cadenza.web.worker", str(self.store.root), job[0], str(job[1])],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _watch(self) -> None:
        while not self.ending.wait(LOOK_SECONDS):
            for job, process in list(self.processes.items()):
                if process.poll() is not None and not self.ending.is_set():
                    self._start(job)

    def stop(self) -> None:
        """End all processes; what they work on is put back for the next server."""
        self.ending.set()
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
