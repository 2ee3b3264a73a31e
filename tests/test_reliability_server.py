"""Nothing gets in and nothing is lost: a running studio under hostile requests, and with its parts failing.

After every abuse the server answers, has held less than 64 MB more at any moment, and has met no fault of its own.
What is refused and told without a running server is in `test_web`.
"""

from __future__ import annotations

import ast
import errno
import io
import json
import os
import select
import signal
import socket
import sqlite3
import struct
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import fields
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

import cadenza
from cadenza.errors import StorageError
from cadenza.model_folder import CONFIG
from cadenza.options import ComposeOptions
from cadenza.web import guard, serving
from cadenza.web import store as stores
from cadenza.web.guard import LOOPBACK, Guard
from cadenza.web.server import create_app
from cadenza.web.store import COMPOSE, QUEUED, RUNNING, TRAIN, NotFoundError, Store, new_id
from cadenza.web.uploads import MAX_SET_BYTES
from cadenza.web.worker import Worker
from studio import Studio, children, is_alive, midi_of, new_set, send, zipped

resource = pytest.importorskip("resource", reason="limits of processes are set by it")

MOST_MEMORY = 64 * 2**20
PATIENCE = 30.0  # before a test gives up, which is no measure of speed
BOUNDARY = "xxxx"
FORM = f"multipart/form-data; boundary={BOUNDARY}"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    studio = Studio(tmp_path_factory.mktemp("running") / "data")
    try:
        # So that everything that stays in memory is there.
        studio.client.get("/api/models")
        send(studio.client, new_set(studio.client), ("a.zip", zipped({"a.mid": midi_of(1)})))
        yield studio
    finally:
        studio.stop()


@pytest.fixture
def server(running: Studio) -> Iterator[Studio]:
    """The running server, which an abuse must leave as it was."""
    status = Path(f"/proc/{running.process.pid}/status")
    before, told = _held(status, "VmRSS"), len(running.log.read_text())
    try:
        Path(f"/proc/{running.process.pid}/clear_refs").write_text("5")  # VmHWM is the most since now
        what = "VmHWM"
    except OSError:  # in some containers
        what = "VmRSS"
    yield running
    assert running.client.get("/health").json() == {"status": "ok"}
    assert _held(status, what) - before < MOST_MEMORY
    assert "Traceback" not in running.log.read_text()[told:]


def _held(status: Path, what: str) -> int:
    return int(status.read_text().split(f"{what}:")[1].split()[0]) * 1024


def _connect(studio: Studio) -> socket.socket:
    address = urlsplit(str(studio.client.base_url))
    return socket.create_connection((str(address.hostname), int(address.port or 80)), timeout=PATIENCE)


def _host(studio: Studio) -> str:
    return urlsplit(str(studio.client.base_url)).netloc


def _head(studio: Studio, first: str, *lines: str) -> bytes:
    """A request's first line and headers, the Host among them."""
    return "\r\n".join((f"{first} HTTP/1.1", f"Host: {_host(studio)}", *lines, "", "")).encode("latin-1")


def _ask(studio: Studio, request: bytes) -> tuple[int, HTTPResponse, bytes]:
    """The answer to what is sent as it is: its status, its headers and its body."""
    with _connect(studio) as line:
        _push(line, iter([request]))
        return _answer(line)


def _status(studio: Studio, request: bytes) -> int | None:
    """The status of the answer; None if the line was cut before."""
    try:
        return _ask(studio, request)[0]
    except ConnectionError:
        return None


def _push(line: socket.socket, parts: Iterator[bytes]) -> int:
    """Send until all is sent or something is answered; returns how much was sent."""
    sent = 0
    line.setblocking(False)
    left = memoryview(b"")
    while True:
        if not left:
            part = next(parts, None)
            if part is None:
                break
            left = memoryview(part)
        readable, writable, _ = select.select([line], [line], [], PATIENCE)
        if readable or not writable:
            break
        try:
            count = line.send(left)
        except (BrokenPipeError, ConnectionResetError):
            break
        left, sent = left[count:], sent + count
    line.settimeout(PATIENCE)
    return sent


def _answer(line: socket.socket) -> tuple[int, HTTPResponse, bytes]:
    with closing(HTTPResponse(line)) as answer:
        answer.begin()
        return answer.status, answer, answer.read()


def _part(name: str, content: bytes = b"x", *, file: str | None = None, more: str = "") -> bytes:
    filename = "" if file is None else f'; filename="{file}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n{more}\r\n'
    return head.encode() + content + b"\r\n"


def _post_form(studio: Studio, path: str, *parts: bytes, kind: str = FORM) -> tuple[int, HTTPResponse, bytes]:
    body = b"".join(parts) + (f"--{BOUNDARY}--\r\n".encode() if kind.startswith("multipart") else b"")
    return _ask(
        studio, _head(studio, f"POST {path}", f"Content-Type: {kind}", f"Content-Length: {len(body)}") + body
    )


def _chunked(parts: Iterator[bytes]) -> Iterator[bytes]:
    for part in parts:
        yield f"{len(part):x}\r\n".encode() + part + b"\r\n"


def _endless(part: bytes) -> Iterator[bytes]:
    while True:
        yield part


# -- requests that are none, or too long ----------------------------------------------------------

JSON = "Content-Type: application/json"
SHAPES: dict[str, tuple[str, list[str], bytes, set[int | None]]] = {
    "longer than is taken": ("POST /api/sets", [JSON, f"Content-Length: {2**20 + 1}"], b"", {413}),
    "a form longer than is taken": (
        "POST /api/sets",
        [f"Content-Type: {FORM}", f"Content-Length: {MAX_SET_BYTES + 1}"],
        b"",
        {413},
    ),
    "of a length that no machine has": ("POST /api/sets", [JSON, f"Content-Length: {10**18}"], b"", {413}),
    "of a length of 1,000 digits": ("POST /api/sets", [JSON, "Content-Length: " + "9" * 1000], b"", {400}),
    "of negative length": ("POST /api/sets", [JSON, "Content-Length: -1"], b"", {400}),
    "of positive length, with a sign": ("POST /api/sets", [JSON, "Content-Length: +5"], b"{}", {400}),
    "of a length in hexadecimal": ("POST /api/sets", [JSON, "Content-Length: 0x10"], b"", {400}),
    "of no length": ("POST /api/sets", [JSON, "Content-Length: "], b"", {400}),
    "of two lengths": ("POST /api/sets", [JSON, "Content-Length: 2", "Content-Length: 9"], b"{}", {400}),
    "of two lengths in one": ("POST /api/sets", [JSON, "Content-Length: 2, 9"], b"{}", {400}),
    "chunked and of a length": (
        "POST /api/sets",
        [JSON, "Content-Length: 2", "Transfer-Encoding: chunked"],
        b"0\r\n\r\n",
        {400},
    ),
    "of an unknown coding": ("POST /api/sets", [JSON, "Transfer-Encoding: xchunked"], b"0\r\n\r\n", {400}),
    "of a coding before chunks": (
        "POST /api/sets",
        [JSON, "Transfer-Encoding: gzip, chunked"],
        b"0\r\n\r\n",
        {400},
    ),
    "of a coding after chunks": (
        "POST /api/sets",
        [JSON, "Transfer-Encoding: chunked, identity"],
        b"0\r\n\r\n",
        {400},
    ),
    "chunked twice": (
        "POST /api/sets",
        [JSON, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        b"0\r\n\r\n",
        {400},
    ),
    "chunked behind a tab": (
        "POST /api/sets",
        [JSON, "Transfer-Encoding:\x0bchunked"],
        b"0\r\n\r\n",
        {400},
    ),
    "with a space before a colon": (
        "POST /api/sets",
        [JSON, "Transfer-Encoding : chunked"],
        b"0\r\n\r\n",
        {400},
    ),
    "with a chunk of no size": ("POST /api/sets", [JSON, "Transfer-Encoding: chunked"], b"zz\r\n", {400}),
    "with a chunk of negative size": (
        "POST /api/sets",
        [JSON, "Transfer-Encoding: chunked"],
        b"-1\r\n",
        {400},
    ),
    "with a chunk of absurd size": (
        "POST /api/sets",
        [JSON, "Transfer-Encoding: chunked"],
        b"f" * 40 + b"\r\n",
        {400},
    ),
    "with a chunk longer than its size": (
        "POST /api/sets",
        [JSON, "Transfer-Encoding: chunked"],
        b"1\r\n{}\r\n0\r\n\r\n",
        {400},
    ),
    "for two hosts": ("GET /api/info", ["Host: evil.example"], b"", {400}),
    "with NUL in its path": ("GET /a\0b", [], b"", {400}),
    "with NUL in a header": ("GET /health", ["X: a\0b"], b"", {400}),
    "with a line of 2 MB": ("GET /" + "a" * 2**21, [], b"", {400, None}),
    "with a header of 2 MB": ("GET /health", ["X: " + "a" * 2**21], b"", {400, None}),
    "with 100,000 headers": ("GET /health", [f"X{n}: a" for n in range(100_000)], b"", {400, None}),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_request_is_refused_that_is(server: Studio, shape: str) -> None:
    first, lines, body, statuses = SHAPES[shape]
    assert _status(server, _head(server, first, *lines) + body) in statuses


def test_chunks_of_an_earlier_version_are_refused(server: Studio) -> None:
    request = _head(server, "POST /api/sets", JSON, "Transfer-Encoding: chunked") + b"0\r\n\r\n"
    assert _ask(server, request.replace(b"HTTP/1.1", b"HTTP/1.0"))[0] == 400


def test_only_one_request_is_read_out_of_two_that_are_hidden_in_one(server: Studio) -> None:
    """Lengths that disagree let proxies take the second for somebody else's."""
    hidden = _head(server, "GET /api/info")
    lines = (JSON, f"Content-Length: {len(hidden) + 5}", "Transfer-Encoding: chunked")
    with _connect(server) as line:
        line.sendall(_head(server, "POST /api/sets", *lines) + b"0\r\n\r\n" + hidden)
        assert _answer(line)[0] == 400
        assert b"HTTP/1.1 200" not in _rest(line)


def _rest(line: socket.socket) -> bytes:
    """All that comes until the line is closed."""
    found = b""
    while True:
        try:
            part = line.recv(2**16)
        except ConnectionResetError:
            return found
        if not part:
            return found
        found += part


@pytest.mark.parametrize(
    ("kind", "start", "part"),
    [
        ("application/json", b'{"name": "', b"a" * 2**16),
        ("application/json", b"", b"[" * 2**16),
        ("application/x-www-form-urlencoded", b"a=", b"a" * 2**16),
        (FORM, _part("text")[:-3], b"a" * 2**16),
        (FORM, b"", _part("text", b"") * 500),
        (FORM, f"--{BOUNDARY}\r\nX: ".encode(), b"a" * 2**16),
        (FORM, b"", b"a" * 2**16),
        (FORM, _part("file", file="a.mid")[:-3], b"a" * 2**20),
    ],
)
def test_what_never_ends_is_refused_once_it_is_too_much(
    server: Studio, kind: str, start: bytes, part: bytes
) -> None:
    path = f"/api/sets/{new_set(server.client)}/files" if kind != "application/json" else "/api/sets"
    with _connect(server) as line:
        line.sendall(_head(server, f"POST {path}", f"Content-Type: {kind}", "Transfer-Encoding: chunked"))
        sent = _push(line, _chunked(iter([start or b"x", *([part] * (2**30 // len(part)))])))
        assert _answer(line)[0] in (400, 413, 422)
    assert sent < MAX_SET_BYTES + 2**24


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "x" * 10_000,
        FORM + ";" * 50_000,
        FORM + '; a="' + '\\"' * 25_000,
        'application/x-www-form-urlencoded; !="' + '\\"' * 25_000,
        FORM + "; charset=\xff\xfe",
        FORM + "; charset=utf-7",
        FORM + "; charset=zlib",
        "multipart/form-data; boundary=\xff",
        "text/plain",
    ],
)
def test_odd_kinds_of_content_are_refused(server: Studio, kind: str) -> None:
    path = f"/api/sets/{new_set(server.client)}/files"
    status, _, _ = _post_form(server, path, _part("file", file="x.mid", content=midi_of(1)), kind=kind)
    assert status in (200, 400, 422)


@pytest.mark.parametrize(
    "parts",
    [
        [_part("text")] * 10_000,
        [_part("file", file="a.txt")] * 10_000,
        [_part("file", file="a.txt", more="X: a\r\n" * 10_000)],
        [_part("file", file="a.txt", more="X: " + "a" * 100_000 + "\r\n")],
        [_part("x" * 100_000)],
        [b"--xxxx\r\n\r\nno name\r\n"],
        [b"--xxxx\r\nContent-Disposition: form-data\r\n\r\nno name\r\n"],
        [_part("file")],
    ],
)
def test_forms_of_too_many_or_odd_parts_are_refused(server: Studio, parts: list[bytes]) -> None:
    status, _, _ = _post_form(server, f"/api/sets/{new_set(server.client)}/files", *parts)
    assert status in (400, 413, 422)


def test_ten_thousand_urlencoded_fields_are_refused(server: Studio) -> None:
    path = f"/api/sets/{new_set(server.client)}/files"
    body = b"&".join(b"file=a" for _ in range(10_000))
    assert _post_form(server, path, body, kind="application/x-www-form-urlencoded")[0] == 422


def test_many_files_at_once_are_not_held_in_memory(server: Studio) -> None:
    path = f"/api/sets/{new_set(server.client)}/files"
    parts = (_part("file", bytes(1000 * 1000), file=f"{n}.txt") for n in range(150))
    assert _post_form(server, path, *parts)[0] == 200


def test_slow_lines_do_not_keep_others_out(server: Studio) -> None:
    with ExitStack() as lines:
        for _ in range(300):
            line = lines.enter_context(_connect(server))
            line.sendall(b"GET / HTTP/1.1\r\nHost:")
            if _ % 50 == 0:
                assert _ask(server, _head(server, "GET /health"))[0] == 200
        assert _ask(server, _head(server, "GET /health"))[0] == 200
    with ExitStack() as lines:
        for _ in range(100):
            line = lines.enter_context(_connect(server))
            line.sendall(_head(server, "POST /api/sets", JSON, "Content-Length: 1000") + b'{"name": ')
        assert _ask(server, _head(server, "GET /health"))[0] == 200


def test_many_can_watch_a_job_at_once(server: Studio) -> None:
    job = server.client.post("/api/compose", json={"options": {"bars": 256, "num": 8}}).json()["id"]
    with ExitStack() as lines:
        watching = [lines.enter_context(_connect(server)) for _ in range(150)]
        for line in watching:
            line.sendall(_head(server, f"GET /api/jobs/{job}/notices"))
        for line in watching:
            assert line.recv(12) == b"HTTP/1.1 200"
        assert _ask(server, _head(server, "GET /health"))[0] == 200
    server.client.post(f"/api/jobs/{job}/stop")
    assert server.ended(job)["state"] == "stopped"


def test_who_leaves_while_sending_or_reading_is_no_fault(server: Studio) -> None:
    path = f"/api/sets/{new_set(server.client)}/files"
    for request in (
        _head(server, f"POST {path}", f"Content-Type: {FORM}", "Content-Length: 100000") + _part("file"),
        _head(server, "POST /api/sets", JSON, "Content-Length: 1000") + b"{",
        _head(server, "GET /api/soundfont?instruments=0,1,2,3,4,5,6,7"),
        _head(server, "GET /api/info") * 50,
    ):
        with _connect(server) as line:
            line.sendall(request)
            time.sleep(0.05)  # so that it is under way


# -- paths and names ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2f..%2f..%2fetc/passwd",
        "/..%5c..%5cserver.py",
        "/..\\..\\server.py",
        "//etc/passwd",
        "/%2fetc%2fpasswd",
        "/C:%5cWindows%5cwin.ini",
        "/assets/../../server.py",
        "/assets/%2e%2e/%2e%2e/server.py",
        "/%00",
        "/index.html%00.png",
        "/a%0d%0aX-Evil:%201",
        "/%ff%fe",
        "/" + "a" * 5_000,
        "/" + "a/" * 2_000,
        "/CON",
        "/api/files/%2e%2e%2f%2e%2e%2fstudio.db",
        "/api/files/..%2f..%2fstudio.db.mid",
        "/api/files/%00.mid",
        "/api/files/%0d%0aX-Evil:1.mid",
        "/api/pieces/../../studio.db",
        "/api/pieces/%2e%2e%2fstudio.mid",
        "/api/models/..%2f..%2f..%2fetc/card",
        "/api/models/%2e%2e/card",
        "/api/sets/%00",
        "/api/sets/' OR 1=1 --",
        "/api/jobs/%F0%9F%98%80/notices",
        "/api/pieces.zip?id=../studio.db",
    ],
)
def test_no_path_leads_out_of_the_studio(server: Studio, path: str) -> None:
    status, headers, body = _ask(server, _head(server, f"GET {path.replace(' ', '%20')}"))
    assert status in (400, 404)
    assert headers.getheader("X-Evil") is None
    assert b"SQLite" not in body and b"root:" not in body and b"import" not in body


NAMES = [
    "../../../evil.mid",
    "/etc/evil.mid",
    "C:\\Windows\\evil.mid",
    "CON.mid",
    "NUL.mid",
    "aux",
    "a\0b.mid",
    "x" * 4096 + ".mid",
    "a\u202edim.mid",
    'a\\"; filename=b.html; x=\\".mid',
    "a%0d%0aX-Evil: 1.mid",
    "a\rX-Evil: 1.mid",
    "<script>alert(1)</script>.mid",
    "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16") + ".mid",
    "..",
    ".mid",
    " ",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_never_a_path_and_told_as_a_name(server: Studio, name: str) -> None:
    id_ = new_set(server.client)
    status, _, body = _post_form(server, f"/api/sets/{id_}/files", _part("file", midi_of(1), file=name))
    if status == 400:  # the form cannot be read
        return
    assert status == 200
    (file,) = json.loads(body)["files"]
    assert len(bytes.fromhex(file["id"])) == 16
    assert file["name"].isprintable() and "/" not in file["name"] and "\\" not in file["name"]
    data = Path(server.log).with_suffix("")
    for path in (data / "sets" / id_).rglob("*"):
        assert path.is_dir() or path.name == f"{file['id']}.mid"
    for suffix in ("mid", "musicxml"):
        status, answer, _ = _ask(server, _head(server, f"GET /api/files/{file['id']}.{suffix}"))
        assert status in (200, 404)
        assert answer.getheader("X-Evil") is None
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        if status == 200:
            told = answer.getheader("Content-Disposition", "")
            assert told.startswith("attachment; filename") and told.isprintable() and told.isascii()


@pytest.mark.parametrize(
    "content",
    [
        b"\x7fELF" + bytes(200) + midi_of(1),
        b"<html><script>alert(1)</script>" + midi_of(1),
        zipped({"a.html": b"<script>"}) + midi_of(1),
        b"%PDF-1.7\n" + midi_of(1),
        b"#!/bin/sh\nrm -rf /\n",
        midi_of(1) + b"<html><script>alert(1)</script>",
    ],
)
def test_what_calls_itself_midi_is_kept_or_handed_out_as_nothing_else(server: Studio, content: bytes) -> None:
    told = send(server.client, new_set(server.client), ("a.mid", content)).json()
    answer = server.client.get(f"/api/files/{told['files'][0]['id']}.mid")
    assert answer.headers["x-content-type-options"] == "nosniff"
    if told["files"][0]["verdict"] in ("unreadable", "not MIDI"):
        assert answer.status_code == 404
    else:
        assert answer.headers["content-type"] == "audio/midi"
        assert answer.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize(
    "ranges",
    [
        "bytes=" + ",".join(f"{n}-{n}" for n in range(10_000)),
        "bytes=" + ",".join(["0-"] * 10_000),
        "bytes=" + "0-0," * 10_000,
        "bytes=9-1",
        f"bytes={10**30}-",
        f"bytes=-{10**30}",
        "bytes=" + "-" * 30_000,
        "lines=1-2",
    ],
)
def test_odd_ranges_cost_nothing(server: Studio, ranges: str) -> None:
    file = send(server.client, new_set(server.client), ("a.mid", midi_of(1))).json()["files"][0]["id"]
    for path in (f"/api/files/{file}.mid", "/index.html"):
        status, _, body = _ask(server, _head(server, f"GET {path}", f"Range: {ranges}"))
        assert status in (200, 206, 400, 416)
        assert len(body) < 2**20


# -- zips -----------------------------------------------------------------------------------------


def _packed(name: str, content: bytes, change: Callable[[zipfile.ZipInfo], None] = lambda _: None) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
        change(archive.infolist()[0])
    return packed.getvalue()


def _directory_of(entries: int, claimed: int, claimed_bytes: int | None = None) -> bytes:
    """A zip that is nothing but its list of entries, as many as there are, and as it claims."""
    entry = b"PK\1\2" + struct.pack("<4B4HL2L5H2L", 20, 0, 20, 0, 0, 0, 0, 33, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0)
    listed = (entry + b"a.mid") * entries
    size = len(listed) if claimed_bytes is None else claimed_bytes
    return listed + b"PK\5\6" + struct.pack("<4H2LH", 0, 0, claimed & 0xFFFF, claimed & 0xFFFF, size, 0, 0)


def _encrypted() -> bytes:
    content = bytearray(_packed("a.mid", midi_of(1)))
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    return bytes(content)


def _of_a_huge_dictionary() -> bytes:
    """An entry packed by LZMA that asks for 4 GB to be unpacked."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.mid", midi_of(1))
    content = bytearray(packed.getvalue())
    start = content.index(b"a.mid") + 5
    content[start + 5 : start + 9] = b"\xff" * 4  # after two bytes of version, two of size, one of properties
    return bytes(content)


def _lying() -> bytes:
    content = bytearray(_packed("a.mid", bytes(50 * 2**20)))
    at = content.index(b"PK\1\2") + 24
    content[at : at + 4] = struct.pack("<L", 100)
    return bytes(content)


ZIPS: dict[str, Callable[[], bytes]] = {
    "a bomb": lambda: _packed("a.mid", bytes(200 * 2**20)),
    "a bomb of many files": lambda: zipped_deflated({f"{n}.mid": bytes(9 * 2**20) for n in range(20)}),
    "a million entries": lambda: _directory_of(1_000_000, 0xFFFF),
    "a million entries in what is told to be short": lambda: _directory_of(1_000_000, 1, 51),
    "65,535 entries that are not there": lambda: _directory_of(1, 0xFFFF),
    "a list longer than the file": lambda: _directory_of(1, 1, 2**31),
    "another zip": lambda: zipped({"b.zip": zipped({"a.mid": midi_of(1)})}),
    "another zip with a tune's name": lambda: zipped({"b.mid": zipped({"a.mid": midi_of(1)})}),
    "a password": _encrypted,
    "another size than it says": _lying,
    "a dictionary of 4 GB": _of_a_huge_dictionary,
    "its first half alone": lambda: zipped({"a.mid": midi_of(1)})[:-40],
    "nothing": lambda: zipped({}),
}


def zipped_deflated(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


@pytest.mark.parametrize("kind", ZIPS)
def test_nothing_comes_out_of_a_zip_that_holds(server: Studio, kind: str) -> None:
    answer = send(server.client, new_set(server.client), ("a.zip", ZIPS[kind]()))
    assert answer.status_code in (200, 413)
    if answer.status_code == 200:
        told = answer.json()
        assert len(told["files"]) <= 20
        usable = [file["name"] for file in told["files"] if file["verdict"] == "ok"]
        assert usable in ([], ["a.mid"])
        assert not usable or kind == "a dictionary of 4 GB"


def test_a_path_in_a_zip_leads_nowhere(server: Studio, tmp_path: Path) -> None:
    target = tmp_path / "was-here.mid"
    name = "../" * 30 + str(target.relative_to(target.anchor))
    answer = send(server.client, new_set(server.client), ("a.zip", zipped({name: midi_of(1)})))
    assert [(file["name"], file["verdict"]) for file in answer.json()["files"]] == [(target.name, "ok")]
    assert not target.exists()


# -- what is asked for ----------------------------------------------------------------------------

ODD = [
    "1e9",
    "-1",
    "0",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e308",
    "1" + "0" * 400,
    "1" + "0" * 5_000,
    '"1"',
    '"\\ud800"',
    '"\\u0000"',
    '"' + "9" * 100_000 + '"',
    '"' + "1," * 50_000 + '"',
    "true",
    "[]",
    "{}",
    "[" + "1," * 50_000 + "1]",
]


@pytest.mark.parametrize("option", [field.name for field in fields(ComposeOptions)])
def test_no_value_of_an_option_is_a_fault(server: Studio, option: str) -> None:
    for value in ODD:
        status, answer = _composed(server, f'{{"options": {{"bars": 1, "num": 1, "{option}": {value}}}}}')
        assert status in (202, 400, 422), (option, value[:40], answer)
        if status == 202:
            server.client.post(f"/api/jobs/{answer['id']}/stop")


def _composed(server: Studio, body: str) -> tuple[int, Any]:
    content = body.encode()
    head = _head(server, "POST /api/compose", JSON, f"Content-Length: {len(content)}")
    status, _, answer = _ask(server, head + content)
    return status, json.loads(answer)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("bars", "1000000000"),
        ("num", "1000000"),
        ("temperature", "Infinity"),
        ("top_p", "0"),
        ("top_p", "NaN"),
        ("seconds", "1e9"),
        ("seconds", "Infinity"),
        ("tempo", "NaN"),
        ("polyphony", "-1"),
        ("seed", "1" + "0" * 400),
    ],
)
def test_what_is_too_much_or_no_number_is_not_understood(server: Studio, option: str, value: str) -> None:
    status, answer = _composed(server, f'{{"options": {{"{option}": {value}}}}}')
    assert status == 422 and isinstance(answer["detail"], str)


@pytest.mark.parametrize(
    "body",
    [
        "[" * 100_000,
        '{"options":' * 50_000,
        '{"options": {' + ",".join(f'"{n}": 1' for n in range(50_000)) + "}}",
        '{"model": "../../etc"}',
        '{"model": "\\u0000"}',
        '{"name": "\\ud800"}',
        '{"name": "' + "x" * 100_000 + '"}',
        '{"music": {"use": "vary", "piece": "../x", "file": "../x"}}',
        '{"music": {"use": "vary", "piece": "../x"}}',
        "null",
        "",
        "NaN",
    ],
)
def test_odd_requests_to_compose_are_refused(server: Studio, body: str) -> None:
    status, answer = _composed(server, body)
    assert status in (400, 404, 422) and isinstance(answer["detail"], str)
    assert len(answer["detail"]) < 10_000


# -- other pages and other machines ---------------------------------------------------------------


def test_the_studio_is_there_for_this_machine_alone_and_fetches_nothing(server: Studio) -> None:
    assert urlsplit(server.address).hostname == "127.0.0.1"
    clients = {"urllib.request", "http.client", "ftplib", "smtplib", "requests", "httpx", "httpx2", "aiohttp"}
    for path in Path(cadenza.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not clients & set(names), path


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "TRACE", "CONNECT"])
@pytest.mark.parametrize("path", ["/", "/health", "/api/info", "/api/sets"])
def test_no_answer_lets_other_pages_in(server: Studio, method: str, path: str) -> None:
    lines = ("Origin: http://evil.example", "Access-Control-Request-Method: DELETE", "Content-Length: 0")
    with _connect(server) as line:
        line.sendall(_head(server, f"{method} {path}", *lines, "Connection: close"))
        answer = _rest(line).partition(b"\r\n\r\n")[0].lower()
    assert b"access-control-" not in answer
    assert b"x-content-type-options: nosniff" in answer
    if method not in ("GET", "HEAD"):
        assert int(answer.split()[1]) in (403, 405)


@pytest.mark.parametrize("origin", ["null", "http://localhost:1", "https://127.0.0.1", "file://", "http://"])
def test_requests_from_elsewhere_on_this_machine_are_refused(server: Studio, origin: str) -> None:
    answer = server.client.post("/api/sets", json={"name": "x"}, headers={"origin": origin})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/%61pi/info",
        "/api%2finfo",
        "//api/info",
        "/./api/info",
        "/x/../api/info",
        "/API/info",
        "/openapi.json/",
    ],
)
def test_no_spelling_of_a_path_goes_without_the_token(tmp_path: Path, path: str) -> None:
    with TestClient(create_app(tmp_path, token="secret", works=False), base_url="http://localhost") as client:
        answer = client.get(path)
    assert answer.status_code in (401, 404) and "version" not in answer.text


def test_an_upgrade_is_no_way_in(server: Studio) -> None:
    lines = (
        "Connection: Upgrade",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version: 13",
    )
    for what in ("websocket", "h2c"):
        status, _, _ = _ask(server, _head(server, "GET /health", *lines, f"Upgrade: {what}"))
        assert status in (200, 400)


# -- who is slow ----------------------------------------------------------------------------------


def test_the_end_of_an_answer_is_not_held_back() -> None:
    """asyncio asks for that (TCP_NODELAY) where a socket tells its protocol."""
    with serving._listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


class _Served:
    """An application behind the server's own lines and guard, in this process."""

    def __init__(self, app: Any) -> None:
        self.server = uvicorn.Server(serving.settings(Guard(app, LOOPBACK, 2**20)))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.server.run, args=([self.listener],))
        self.thread.start()

    def connect(self) -> socket.socket:
        return socket.create_connection(self.listener.getsockname(), timeout=PATIENCE)

    def end(self) -> None:
        self.server.should_exit = True
        self.thread.join(PATIENCE)
        self.listener.close()


async def _reads_all(scope: Any, receive: Any, send: Any) -> None:
    """Answers once it has read all; at once for /early."""
    if scope["type"] != "http":
        return
    try:
        while scope["path"] != "/early" and (await receive()).get("more_body"):
            pass
        status = 200
    except HTTPException as error:
        status = error.status_code
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def _tells_much(scope: Any, receive: Any, send: Any) -> None:
    """Tells more than anybody reads."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(1000):
        await send({"type": "http.response.body", "body": bytes(2**20), "more_body": True})


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], _Served]]:
    monkeypatch.setattr(serving, "ASK_SECONDS", 0.3)
    monkeypatch.setattr(serving, "READ_SECONDS", 0.3)
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.3)
    with ExitStack() as stack:

        def serve(app: Any) -> _Served:
            served = _Served(app)
            stack.callback(served.end)
            return served

        yield serve


HALF = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_who_does_not_ask_in_time_is_given_up(impatient: Callable[[Any], _Served], start: bytes) -> None:
    with impatient(_reads_all).connect() as line:
        line.sendall(start)
        assert _rest(line) == b""


def test_who_does_not_send_in_time_what_was_announced_is_told(impatient: Callable[[Any], _Served]) -> None:
    with impatient(_reads_all).connect() as line:
        line.sendall(HALF)
        assert _answer(line)[0] == 408


def test_who_goes_on_sending_after_the_answer_is_given_up(impatient: Callable[[Any], _Served]) -> None:
    with impatient(_reads_all).connect() as line:
        line.sendall(b"POST /early HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert _answer(line)[0] == 200
        deadline = time.monotonic() + PATIENCE
        while _is_taken(line, b"1\r\na\r\n"):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _is_taken(line: socket.socket, part: bytes) -> bool:
    try:
        line.sendall(part)
    except ConnectionError:
        return False
    return True


def test_who_does_not_read_is_given_up(impatient: Callable[[Any], _Served]) -> None:
    served = impatient(_tells_much)
    with served.connect() as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        _until(lambda: bool(served.server.server_state.connections))
        _until(lambda: not served.server.server_state.connections)


def _until(holds: Callable[[], bool], patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# -- what fails -----------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "data")


@pytest.fixture
def client(store: Store) -> Iterator[TestClient]:
    """A server without workers, over a store of its own."""
    app = create_app(store.root, works=False)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as found:
        yield found


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    found = Studio(tmp_path / "data")
    try:
        yield found
        assert "Traceback" not in found.log.read_text()
    finally:
        found.stop()


LONG = {"options": {"bars": 256, "num": 8}}
SHORT = {"options": {"bars": 2, "num": 2}}


def _kill_composers(studio: Studio) -> None:
    for process in children(studio.process.pid, "compose"):
        os.kill(process, signal.SIGKILL)


def test_a_job_that_kills_its_workers_ends_with_a_reason_and_the_next_one_works(studio: Studio) -> None:
    job = studio.client.post("/api/compose", json=LONG).json()["id"]
    for tries in range(1, stores.MAX_TRIES + 1):
        studio.until(job, lambda row, n=tries: row["state"] == RUNNING and row["tries"] == n)  # type: ignore[misc]
        _kill_composers(studio)
    ended = studio.ended(job)
    assert ended["state"] == "failed" and "killed" in ended["reason"]
    following = studio.client.post("/api/compose", json=SHORT).json()["id"]
    assert studio.ended(following)["state"] == "done"


def _kept(data: Path) -> list[str]:
    """Files of sets and pieces, and all that is temporary."""
    folders = ("sets", "pieces", "temporary")
    return sorted(path.name for name in folders for path in (data / name).rglob("*") if path.is_file())


def test_what_waits_goes_on_after_the_servers_death_and_nothing_else_is_left(tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = Studio(data)
    jobs = [first.client.post("/api/compose", json=SHORT).json()["id"] for _ in range(4)]
    workers = children(first.process.pid, "compose")
    first.stop(signal.SIGKILL)
    left = [
        data / "pieces" / f"{new_id()}.mid",
        data / "pieces" / f".{new_id()}.mid.aaaa.tmp",
        data / "sets" / new_id() / "bach" / f"{new_id()}.mid",
        data / "models" / new_id() / "config.json",
        data / "libraries" / new_id() / "index",
        data / "temporary" / "tmp1" / "upload.mid",
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"MThd")
    second = Studio(data)
    try:
        assert [second.ended(job)["state"] for job in jobs] == ["done"] * 4
        pieces = second.client.get("/api/pieces").json()
        assert len(pieces) == 8
        assert _kept(data) == sorted(f"{piece['id']}.mid" for piece in pieces)
        assert not any(path.exists() for path in left)
        _until(lambda: not any(is_alive(worker) for worker in workers))
    finally:
        second.stop()


def test_sweeping_takes_nothing_that_is_known(store: Store) -> None:
    id_ = store.add_set("mine")["id"]
    store.add_file(id_, "a.mid", "bach", midi_of(1), {"verdict": "ok"})
    store.add_piece(midi_of(2), model_id="x", name="x", number=1, sample=False, request={}, sidecar={})
    training, ended = (store.add_job(TRAIN, {"set": id_})["id"] for _ in range(2))
    store.end(ended, "failed")
    for job in (training, ended):
        store.folder_of_model(job).mkdir()
    before = _kept(store.root)
    store.sweep()
    assert _kept(store.root) == before and len(before) == 2
    assert store.folder_of_model(training).exists() and not store.folder_of_model(ended).exists()


def test_a_training_whose_process_was_killed_too_often_leaves_its_model(store: Store) -> None:
    id_ = store.add_job(TRAIN, {"set": store.add_set("mine")["id"], "name": "Mine"})["id"]
    store.folder_of_model(id_).mkdir()
    (store.folder_of_model(id_) / CONFIG).write_text("{}")
    for _ in range(stores.MAX_TRIES):
        store.claim(TRAIN, "train-0")
        failed = store.recover("train-0")
    Worker(store, os.getppid())._announce_model(failed[0])
    assert [model["id"] for model in store.models()] == [id_]


def test_a_full_disk_is_told_and_nothing_is_half_written(studio: Studio) -> None:
    studio.ended(studio.client.post("/api/compose", json=SHORT).json()["id"])  # so that its workers are there
    id_ = new_set(studio.client)
    before = _kept(studio.log.with_suffix(""))
    limits = resource.prlimit(studio.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(studio.process.pid, resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        for answer in (
            send(studio.client, id_, ("a.mid", midi_of(1))),
            send(studio.client, id_, ("a.zip", zipped({"a.mid": bytes(2**20)}))),
            studio.client.post("/api/sets", json={"name": "x"}),
            studio.client.post("/api/compose", json=SHORT),
        ):
            assert answer.status_code == 503 and answer.headers["retry-after"]
            assert "make room" in answer.json()["detail"]
        assert studio.client.get("/api/sets").status_code == 200
        assert _kept(studio.log.with_suffix("")) == before
    finally:
        resource.prlimit(studio.process.pid, resource.RLIMIT_FSIZE, limits)
    told = send(studio.client, id_, ("a.mid", midi_of(1))).json()
    assert [file["verdict"] for file in told["files"]] == ["ok"]
    job = studio.client.post("/api/compose", json=SHORT).json()["id"]
    assert studio.ended(job)["state"] == "done"


def test_a_disk_that_fills_while_a_piece_is_kept_leaves_neither_row_nor_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    values = {"model_id": "x", "name": "x", "number": 1, "sample": False, "request": {}, "sidecar": {}}
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="make room"):
            store.add_piece(midi_of(1), **values)
    assert store.pieces(10) == [] and _kept(store.root) == []
    kept = store.add_piece(midi_of(1), **values)
    assert _kept(store.root) == [f"{kept['id']}.mid"]


def test_a_piece_whose_row_cannot_be_kept_leaves_no_file(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.add_piece(midi_of(1), model_id=None, name="x", number=1, sample=False, request={}, sidecar={})
    assert _kept(store.root) == []


def test_a_database_that_is_locked_for_a_while_is_waited_for(studio: Studio) -> None:
    job = studio.client.post("/api/compose", json=LONG).json()["id"]
    studio.until(job, lambda row: row["state"] == RUNNING)
    with closing(sqlite3.connect(studio.log.with_suffix("") / "studio.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        answers: list[int] = []
        asking = threading.Thread(
            target=lambda: answers.append(studio.client.post("/api/sets", json={"name": "x"}).status_code)
        )
        asking.start()
        assert _ask(studio, _head(studio, "GET /"))[0] == 200  # the page needs no database
        time.sleep(1.5)
        assert not answers
        other.execute("COMMIT")
        asking.join(PATIENCE)
    assert answers == [201]
    studio.client.post(f"/api/jobs/{job}/stop")
    assert studio.ended(job)["state"] == "stopped"


@pytest.mark.parametrize("mode", ["NORMAL", "EXCLUSIVE"])
def test_a_database_that_stays_locked_is_told(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Locked against writing; or against all, as programs that repair databases do it."""
    job = client.post("/api/compose", json=SHORT).json()["id"]
    monkeypatch.setattr(stores, "WAIT_SECONDS", 0.1)
    with closing(sqlite3.connect(store.root / "studio.db", isolation_level=None)) as other:
        other.execute(f"PRAGMA locking_mode = {mode}")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("UPDATE jobs SET tries = 0")
        answer = client.post("/api/sets", json={"name": "x"})
        assert answer.status_code == 503 and answer.headers["retry-after"]
        assert "locked" in answer.json()["detail"] and "try again" in answer.json()["detail"]
        assert client.get("/api/sets").status_code == (503 if mode == "EXCLUSIVE" else 200)
        if mode == "EXCLUSIVE":
            assert client.get(f"/api/jobs/{job}/notices").status_code == 503
            with pytest.raises(StorageError), store.watch():
                pass
    client.post(f"/api/jobs/{job}/stop")
    assert client.post("/api/sets", json={"name": "x"}).status_code == 201


def test_notices_end_when_the_store_can_be_read_no_more(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever watches asks again where they broke."""
    job = client.post("/api/compose", json=SHORT).json()["id"]

    def broken(*_: object) -> None:
        raise StorageError("the disk is gone; try again.")

    monkeypatch.setattr(Store, "notices", broken)
    answer = client.get(f"/api/jobs/{job}/notices")
    assert answer.status_code == 200 and answer.text == ""


def test_jobs_keep_their_order_whatever_the_clock_says(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = (0.0, -5.0, 5.0, -20_000.0, 0.0)
    start = time.time()
    ids = []
    for hour in hours:
        monkeypatch.setattr(time, "time", lambda hour=hour: start + 3600 * hour)
        ids.append(store.add_job(COMPOSE, {})["id"])
    jobs = [store.job(id_) for id_ in ids]
    assert [job["before"] for job in jobs] == list(range(len(ids)))
    assert [job["id"] for job in store.jobs(QUEUED)] == ids
    taken = []
    for hour in reversed(hours):  # and while they are worked on
        monkeypatch.setattr(time, "time", lambda hour=hour: start + 3600 * hour)
        job = store.claim(COMPOSE, "compose-0")
        assert job is not None
        taken.append(job["id"])
        monkeypatch.setattr(time, "time", lambda hour=hour: start + 3600 * (hour - 1))
        store.end(job["id"], "done")
        waits = [store.job(id_)["wait"] for id_ in ids]
        assert all(wait >= 0 for wait in waits)
    assert taken == ids and not store.jobs(QUEUED, RUNNING)


def test_training_goes_on_whatever_the_clock_says(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = new_set(client)
    send(client, id_, ("a.mid", midi_of(1)))
    start = time.time()
    jobs = []
    for hour in (0, -5, 5):
        monkeypatch.setattr(time, "time", lambda hour=hour: start + 3600 * hour)
        jobs.append(client.post("/api/train", json={"set": id_, "minutes": 1}).json())
    assert [job["before"] for job in jobs] == [0, 1, 2] and [job["wait"] for job in jobs] == [0, 60, 120]
    assert [job["id"] for job in client.get("/api/jobs").json()] == [job["id"] for job in jobs]
