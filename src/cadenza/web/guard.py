"""What stands before the server: who may ask, how much may be sent, and headers that hold browsers to it.

Sources: OWASP cheat sheets on CSRF, file upload and HTTP headers.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
MAX_JSON_BYTES = 2**20
BODY_SECONDS, BODY_RATE = 30.0, 2**14  # to wait for a body in all, and longer by its bytes at this rate
LOOPBACK = ("127.0.0.1", "localhost", "::1")
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # The synthesiser is WebAssembly and runs in a worklet; pictures and sounds are made in the page.
    "content-security-policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
}


@dataclass
class Guard:
    """ASGI middleware. hosts: names by which the server may be called, in lower case; token: a secret that all have to
    know, without which nobody from elsewhere may ask; max_bytes: of a form with files."""

    app: ASGIApp
    hosts: tuple[str, ...]
    max_bytes: int
    token: str | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is refused, pass on what is not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal:
            await _answer(send, *refusal)
            return
        try:
            await self._pass(scope, receive, send, self._most(headers))
        except ClientDisconnect:
            return  # nobody is there to be answered

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        if not self._is_known(_host(headers.get("host", ""))):
            return 421, "this server is not known by that name; call it as it told when it started."
        if scope["method"] not in SAFE_METHODS:
            site, origin = headers.get("sec-fetch-site", "same-origin"), headers.get("origin")
            if site not in ("same-origin", "none") or (origin and _netloc(origin) != headers.get("host")):
                return 403, "another page asked for this; open the studio's own."
        if self.token is not None and _is_secret(scope["path"]) and not self._knows_token(headers):
            return 401, "this studio asks for its token; open the address that it told when it started."
        if "transfer-encoding" in headers and ("content-length" in headers or scope["http_version"] == "1.0"):
            # What proxies take for the end of such a request may be another place than what we do (RFC 9112, 6.1).
            return 400, "the length of what was sent is told in two ways; send a length or chunks."
        length = headers.get("content-length", "0")
        if not (length.isdecimal() and length.isascii() and len(length) < 20):
            return 400, "the length of what was sent is no number."
        most = self._most(headers)
        return (413, _too_long(most)) if int(length) > most else None

    def _is_known(self, host: str) -> bool:
        """Other pages can lead a name of theirs here (DNS rebinding), but no address; those who know the token may call
        the server by any address that it has."""
        return host in self.hosts or (self.token is not None and _is_address(host))

    def _most(self, headers: dict[str, str]) -> int:
        is_form = headers.get("content-type", "").startswith("multipart/form-data")
        return self.max_bytes if is_form else min(MAX_JSON_BYTES, self.max_bytes)

    def _knows_token(self, headers: dict[str, str]) -> bool:
        given = headers.get("authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode("latin-1", "replace"), (self.token or "").encode())

    async def _pass(self, scope: Scope, receive: Receive, send: Send, most: int) -> None:
        size, waited = 0, 0.0
        is_read = False  # all that was sent, or as much as is wanted of it

        async def counted() -> Message:
            nonlocal size, waited, is_read
            if is_read:
                return await receive()
            start = time.monotonic()
            try:
                async with asyncio.timeout(BODY_SECONDS + size / BODY_RATE - waited):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(
                    408, "what was to be sent did not come in time; send it again."
                ) from error
            waited += time.monotonic() - start
            size += len(message.get("body", b""))
            if size > most:
                raise HTTPException(413, _too_long(most))
            is_read = not message.get("more_body", False)
            return message

        async def with_headers(message: Message) -> None:
            nonlocal is_read
            if message["type"] == "http.response.start":
                is_read = True
                message["headers"] = [*message["headers"], *_encoded(HEADERS)]
            await send(message)

        await self.app(scope, counted, with_headers)


def _is_secret(path: str) -> bool:
    """All but the page itself, which holds nothing, and whether the server is well."""
    return path.startswith("/api") or path == "/openapi.json"


def _too_long(most: int) -> str:
    return f"more was sent than is taken at once, {most / 2**20:g} MB; send it in parts."


def _host(header: str) -> str:
    """A Host header without its port, and an IPv6 address without its brackets; empty if it is none."""
    try:
        return (urlsplit(f"//{header}").hostname or "") if header.isprintable() else ""
    except ValueError:
        return ""


def _netloc(origin: str) -> str | None:
    """The host and port of an Origin header; None if it is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


async def _answer(send: Send, status: int, text: str) -> None:
    body = json.dumps({"detail": text}).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        # Else what is still being sent is read on and left, since a line that is cut may swallow the answer.
        **({"connection": "close"} if status == 400 else {}),
        **HEADERS,
    }
    await send({"type": "http.response.start", "status": status, "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": body})
