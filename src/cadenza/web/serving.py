"""Runs the studio's server on one data folder, so that who is slow keeps nobody else out."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from platformdirs import user_data_dir
from uvicorn.protocols.http.h11_impl import H11Protocol

from cadenza.errors import InputError
from cadenza.web.guard import LOOPBACK
from cadenza.web.server import create_app
from cadenza.workers import only_one

GRACE_SECONDS = 3  # for streams that are open when the server ends
ASK_SECONDS = 10.0  # for a request's headers, and for what nobody wants any more of its body
READ_SECONDS = 60.0  # in which some of an answer has to be read
MAX_LINES = 256  # connections at once
MAX_OPEN_FILES = 8192  # a line that watches a job holds four


def default_data() -> Path:
    """The studio's folder among the user's data: $CADENZA_DATA, or where the system keeps such."""
    if given := os.environ.get("CADENZA_DATA"):
        return Path(given)
    return Path(user_data_dir("cadenza", appauthor=False))


def run(data: Path, host: str, port: int, token: str | None) -> None:
    """Serve until Ctrl-C or SIGTERM, which exits; raises InputError if the port or the folder is in use."""
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{data}: is no folder that can be written to ({error.strerror}); choose another --data."
        ) from error
    listener = _listen(host, port)
    with only_one(data / "server.lock", wait=False), listener:
        app = create_app(data, hosts=_names(host), token=token)
        port = listener.getsockname()[1]
        secret = f"#token={token}" if token else ""
        print(f"Cadenza studio: http://{_shown(host)}:{port}/{secret}", flush=True)
        print(f"It keeps its data in {data}. Ctrl-C ends it.", file=sys.stderr)
        _allow_files()
        signal.signal(signal.SIGTERM, _exit)  # which the server, once it has ended, is told again
        uvicorn.Server(settings(app)).run([listener])


def settings(app: Any) -> uvicorn.Config:
    """How an application is served: by one parser and no other, whatever else is installed."""
    return uvicorn.Config(
        app,
        http=Line,
        ws="none",
        log_level="warning",
        timeout_graceful_shutdown=GRACE_SECONDS,
        limit_concurrency=MAX_LINES + 1,
        server_header=False,
    )


class Line(H11Protocol):
    """A connection, which is given up when it asks for nothing, or reads no further, for too long.

    One too many takes the place of the one that has asked for nothing for longest.
    """

    quiet_since: float
    ending: asyncio.TimerHandle
    stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new one, for which there is room unless all others are being answered."""
        super().connection_made(transport)
        self.quiet_since = self.loop.time()
        self.ending = self.loop.call_later(ASK_SECONDS, self._look)
        if len(self.connections) > MAX_LINES:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Its end."""
        self.ending.cancel()
        self.resume_writing()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """An answer is out; the next request may come."""
        self.quiet_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The other side does not read."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self.stalled is not None:
            self.stalled.cancel()

    def _expect_reading(self) -> None:
        self.stalled = self.loop.call_later(READ_SECONDS, self._check, self.transport.get_write_buffer_size())

    def _check(self, before: int) -> None:
        if self.transport.get_write_buffer_size() < before:
            self._expect_reading()
        else:
            self.transport.abort()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _look(self) -> None:
        left = self.quiet_since + ASK_SECONDS - self.loop.time()
        if self.is_quiet and left <= 0:
            self.transport.close()
            self.ending = self.loop.call_later(READ_SECONDS, self.transport.abort)
        else:
            self.ending = self.loop.call_later(left if left > 0 else ASK_SECONDS, self._look)

    def _make_room(self) -> None:
        lines = (line for line in self.connections if isinstance(line, Line))
        quiet = [line for line in lines if line is not self and line.is_quiet]
        if quiet:
            longest = min(quiet, key=lambda line: line.quiet_since)
            self.connections.discard(longest)  # which the transport does later
            longest.transport.abort()


def _allow_files() -> None:
    """Raise the limit of open files, as far as that can be done."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _exit(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named by its protocol, without which asyncio would let the system hold back the end of an answer for 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # who asks before the server is up waits
    except (OSError, OverflowError) as error:
        listener.close()
        raise InputError(f"{host}:{port}: cannot be listened on ({error}); choose another --port.") from error
    return listener


def _is_everywhere(host: str) -> bool:
    """Whether it stands for all addresses of the machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _names(host: str) -> tuple[str, ...]:
    """By which names the server answers, beside its addresses."""
    name = socket.gethostname()
    own = (name, f"{name}.local", socket.getfqdn()) if _is_everywhere(host) else (host,)
    return (*LOOPBACK, *(each.lower() for each in own))


def _shown(host: str) -> str:
    """The host as others can call it."""
    host = _outward_address(host) if _is_everywhere(host) else host
    return f"[{host}]" if ":" in host else host


def _outward_address(host: str) -> str:
    """This machine's address in its network, or its name if it is in none."""
    version = ipaddress.ip_address(host).version
    family, elsewhere = (socket.AF_INET, "192.0.2.1") if version == 4 else (socket.AF_INET6, "2001:db8::1")
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing, but chooses the way (RFC 5737 and 3849: nobody's addresses).
            probe.connect((elsewhere, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
