"""Runs the studio's server on one data folder."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

import uvicorn
from platformdirs import user_data_dir

from cadenza.errors import InputError
from cadenza.web.guard import LOOPBACK
from cadenza.web.server import create_app
from cadenza.workers import only_one

GRACE_SECONDS = 3  # for streams that are open when the server ends


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
        config = uvicorn.Config(
            app,
            log_level="warning",
            timeout_graceful_shutdown=GRACE_SECONDS,
            limit_concurrency=256,
            server_header=False,
        )
        signal.signal(signal.SIGTERM, _exit)  # which the server, once it has ended, is told again
        uvicorn.Server(config).run([listener])


def _exit(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
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
