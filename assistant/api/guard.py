"""The gate around the app: who may ask, how much, and what browsers may do with the answer."""

import logging
import uuid
from collections.abc import Collection
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assistant.api.errors import problem, refused, unexpected

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
JSON_BYTES = 4_000_000  # history included; what a question may hold is checked where it is known
SLACK_BYTES = 100_000  # what multipart adds around the files


class Guard:
    """Names each request, checks where it comes from, and is the last to catch what breaks."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        """Let requests through that are addressed to one of `hosts`."""
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        begun = False

        async def guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, guarded)
            return
        try:
            await self.app(scope, receive, guarded)
        except Exception:  # the edge: whatever broke is logged, and the caller gets no trace of it
            log.exception("request %s: %s %s", request_id, scope["method"], scope["path"])
            if not begun:
                await refused(scope["path"], 500, unexpected(request_id))(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        path: str = scope["path"]
        host = headers.get("host", "")
        # A foreign page can make its own name resolve to this machine (DNS rebinding); then the
        # browser believes it to be the same origin, but the Host header still says that name.
        if _name(host) not in self.hosts:
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

    def __init__(self, app: ASGIApp, upload_bytes: int) -> None:
        """Allow `upload_bytes` in an upload and a fixed number elsewhere."""
        self.app = app
        self.upload_bytes = upload_bytes

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
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if max(seen, size) > limit + slack:
                why = f"The request is larger than {limit / 1_000_000:g} MB."
                raise HTTPException(413, why)
            return message

        await self.app(scope, limited, send)


def _name(host: str) -> str:
    """Return a Host header without its port: `[::1]:8000` -> `::1`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
