"""The worker processes of a server: started with it, started anew when one dies, ended with it."""

from __future__ import annotations

import subprocess
import sys
import threading

from cadenza.web.store import COMPOSE, TRAIN, Store

LOOK_SECONDS = 0.5
PATIENCE = 20.0  # for workers to write their checkpoint when the server ends


class Workforce:
    """One process that composes and, where torch is there, one that trains."""

    def __init__(self, store: Store, can_train: bool) -> None:
        self.store = store
        self.kinds = (COMPOSE, TRAIN) if can_train else (COMPOSE,)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ending = threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Start the processes."""
        for kind in self.kinds:
            self._start(kind)
        self.watcher.start()

    def _start(self, kind: str) -> None:
        # A new session: Ctrl-C reaches the server alone, which then ends its workers in order.
        self.processes[kind] = subprocess.Popen(  # noqa: S603 - it is this program
            [sys.executable, "-m", "cadenza.web.worker", str(self.store.root), kind],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _watch(self) -> None:
        while not self.ending.wait(LOOK_SECONDS):
            for kind, process in list(self.processes.items()):
                if process.poll() is not None and not self.ending.is_set():
                    self._start(kind)

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
