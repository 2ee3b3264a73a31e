"""A studio that runs, as `cadenza serve` starts it, and what is sent to one."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx

from cadenza.midi import midi_bytes
from cadenza.web.store import QUEUED, RUNNING
from music import tune


def midi_of(seed: int) -> bytes:
    return midi_bytes(tune(seed))


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def send(client: Any, set_id: str, *files: tuple[str, bytes]) -> Any:
    return client.post(f"/api/sets/{set_id}/files", files=[("file", file) for file in files])


def new_set(client: Any, name: str = "mine") -> str:
    return str(client.post("/api/sets", json={"name": name}).json()["id"])


class Studio:
    """A server with its workers, as `cadenza serve` starts it."""

    def __init__(self, data: Path, *arguments: str) -> None:
        # As a script starts it in the background, deaf to Ctrl-C.
        command = ["bash", "-c", 'trap "" INT; exec "$@"', "bash", sys.executable, "-m", "cadenza", "serve"]
        command += ["--port", "0", "--data", str(data), *arguments]
        self.log = data.with_suffix(".log")
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split()[-1]
        self.client = httpx.Client(base_url=self.address.partition("#")[0], timeout=30)

    def ended(self, job: str, patience: float = 60) -> dict[str, Any]:
        return self.until(job, lambda row: row["state"] not in (QUEUED, RUNNING), patience)

    def until(
        self, job: str, wanted: Callable[[dict[str, Any]], bool], patience: float = 60
    ) -> dict[str, Any]:
        start = time.monotonic()
        while time.monotonic() - start < patience:
            row: dict[str, Any] = self.client.get(f"/api/jobs/{job}").json()
            if wanted(row):
                return row
            time.sleep(0.05)
        raise AssertionError(f"after {patience} seconds the job is {row}")

    def notices(self, job: str) -> list[tuple[str, dict[str, Any]]]:
        found, kind = [], ""
        with self.client.stream("GET", f"/api/jobs/{job}/notices") as stream:
            for line in stream.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    found.append((kind, json.loads(line.removeprefix("data: "))))
        return found

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.client.close()
        with self.process:
            self.process.send_signal(how)


def children(pid: int, kind: str) -> list[int]:
    listed = subprocess.run(
        ["ps", "-wweo", "pid,ppid,args"], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    return [int(row[0]) for row in rows if int(row[1]) == pid and kind in row[2].split()]


def is_alive(pid: int) -> bool:
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return bool(listed.stdout.strip()) and not listed.stdout.startswith("Z")
