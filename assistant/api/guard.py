"""The gate around the app: who may ask, how much, and what browsers may do with the answer."""

import asyncio
import ipaddress
import logging
import re
import time
import uuid
from collections.abc import Collection
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assistant.api.errors import problem, refused, unexpected
from assistant.api.observer import Observer
from assistant.logs import told

log = logging.getLogger(__name__)

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
LEFT = 499  # what proxies log for a client that left before it was answered
HEADER_BYTES = 16_000
JSON_BYTES = 1_000_000  # history included; what a question may hold is checked where it is known
JSON_VALUES = 30_000
"""Values that a body may hold, those inside others counted too: what reads them goes through all
of them, and nobody else is answered meanwhile."""
SEPARATORS = (b",", b"[", b"{")
"""Before each value of JSON, at most one of these begins it; a text may hold them as well."""
JSON_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
SLOWEST = 1_000
"""Bytes a second below which a body counts as held back, `silence_s` after its beginning."""
SLACK_BYTES = 100_000  # what multipart adds around the files


class Guard:
    """Names each request, checks where it comes from, and is the last to catch what breaks."""

    def __init__(
        self,
        app: ASGIApp,
        observer: Observer,
        hosts: Collection[str],
        addresses: bool = False,
        silence_s: float = 30,
    ) -> None:
        """Let requests through that are addressed to one of `hosts`.

        Args:
            app: what is behind the gate.
            observer: is told of every request.
            hosts: names, in small letters.
            addresses: whether any IP address will do as well: none can be rebound.
            silence_s: longest wait for a client to take what is sent to it.
        """
        self.app = app
        self.observer = observer
        self.hosts = frozenset(host.lower() for host in hosts)
        self.addresses = addresses
        self.silence_s = silence_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        self.observer.begin(request_id, Headers(scope=scope))
        status = 0

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            # A client that stops reading must not keep its place at the model for ever.
            async with asyncio.timeout(self.silence_s):
                await send(message)

        try:
            await (self._refusal(scope) or self.app)(scope, receive, guarded)
        except TimeoutError:
            log.warning("the client stopped reading", extra=told(request_id=request_id))
        except Exception:  # the edge: whatever broke is logged, and the caller gets no trace of it
            log.exception("a request broke", extra=told(request_id=request_id))
            if not status:
                await refused(scope["path"], 500, unexpected(request_id))(scope, receive, guarded)
        finally:
            self.observer.end(request_id, scope, status or LEFT)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        path: str = scope["path"]
        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADER_BYTES:
            return refused(path, 431, problem("too_large", "The headers are over 16 kB."))
        if "\0" in path or b"%00" in scope["query_string"]:
            return refused(path, 400, problem("bad_request", "There is a NUL in the address."))
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        # A foreign page can make its own name resolve to this machine (DNS rebinding); then the
        # browser believes it to be the same origin, but the Host header still says that name.
        if _name(host) not in self.hosts and not (self.addresses and _is_address(_name(host))):
            message = f"This service does not answer to the name {host!r}."
            return refused(path, 421, problem("wrong_host", message, "Use http://localhost."))
        # A foreign page can post a form here without asking first. It cannot hide its origin.
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            message = f"A page from {origin} may not use this service."
            return refused(path, 403, problem("foreign_origin", message))
        return None


class BodyLimit:
    """Stops reading a request where it grows too large, whatever length it claimed."""

    def __init__(self, app: ASGIApp, upload_bytes: int, silence_s: float = 30) -> None:
        """Allow `upload_bytes` in an upload, a fixed number elsewhere, `silence_s` between them."""
        self.app = app
        self.upload_bytes = upload_bytes
        self.silence_s = silence_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        upload = headers.get("content-type", "").startswith("multipart/")
        limit = self.upload_bytes if upload else JSON_BYTES
        slack = SLACK_BYTES if upload else 0
        claimed = headers.get("content-length", "")
        size = int(claimed) if claimed.isdecimal() and len(claimed) < 20 else 0
        seen = separators = 0
        pieces: list[bytes] = []
        whole = False
        begun = time.monotonic()

        async def limited() -> Message:
            nonlocal seen, separators, whole
            if whole:  # what comes now is the client's leaving, whenever that is
                return await receive()
            late = time.monotonic() - begun - seen / SLOWEST
            try:
                async with asyncio.timeout(min(self.silence_s, 2 * self.silence_s - late)):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "The request's body is not coming.") from None
            body = message.get("body", b"")
            seen += len(body)
            whole = not message.get("more_body", False)
            if max(seen, size) > limit + slack:
                why = f"The request is larger than {limit / 1_000_000:g} MB."
                raise HTTPException(413, why)
            if not upload:
                pieces.append(body)
                separators += _separators(body)
            if whole and separators > JSON_VALUES and _overfull(b"".join(pieces)):
                why = f"The request holds more than {JSON_VALUES:,} values."
                raise HTTPException(413, why)
            return message

        await self.app(scope, limited, send)


def _overfull(body: bytes) -> bool:
    """Return whether a body holds more than `JSON_VALUES`."""
    texts = (body.count(b'"') - body.count(b'\\"')) // 2  # each is a value, or the name of one
    if texts > 2 * JSON_VALUES:
        return True
    return _separators(JSON_TEXT.sub(b"", body)) > JSON_VALUES


def _separators(body: bytes) -> int:
    return sum(body.count(separator) for separator in SEPARATORS)


def _name(host: str) -> str:
    """Return a Host header without its port: `[::1]:8000` -> `::1`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
