"""The door: who is asking, and whether that is not too much.

Nobody is asked for a key on this machine, unless the settings say so. A key that is shown is
looked at in any case: it binds whoever shows it.
"""

import asyncio
import hmac
import logging
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from assistant.access import OWNER, Access, Role
from assistant.api.errors import RETRY_AFTER_S, problem_of, refused
from assistant.api.quota import Counts, Quota, Streams
from assistant.config import SecuritySettings
from assistant.keys import Keys
from assistant.logs import told
from ingest.errors import GroundtuneError, RateError, UnauthorizedError

log = logging.getLogger(__name__)

OPEN = ("/healthz", "/readyz", "/openapi.json", "/docs", "/")
OPEN_BELOW = "/page/"
"""What needs no key: it says nothing about anybody's documents."""
PROXIED = ("forwarded", "x-forwarded-for", "x-real-ip")
OURS = "gt_"
"""How our keys begin."""
FAILURES_PER_MINUTE = 30
"""Wrong keys from one address; more are not even looked at."""


class Door:
    """Finds out what a caller may do, and counts what each key asks for."""

    def __init__(
        self,
        app: ASGIApp,
        settings: SecuritySettings,
        counts: Counts,
        *,
        key_needed: bool,
        own_key: str,
    ) -> None:
        """Let callers in.

        Args:
            app: what is behind the door.
            settings: the limits.
            counts: what is held against them.
            key_needed: whether somebody without a key stays outside.
            own_key: opens everything to whoever can read it in the workspace; empty for none.
        """
        self.app = app
        self._key_needed = key_needed
        self._own_key = own_key
        self._requests = Quota(counts, "requests", settings.requests_per_minute)
        self._failures = Quota(counts, "wrong keys", FAILURES_PER_MINUTE)
        self._streams = Streams(counts, settings.streams)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path: str = scope["path"]
        scope["state"]["private"] = not self._key_needed
        if path in OPEN or path.startswith(OPEN_BELOW):
            await self.app(scope, receive, send)
            return
        try:
            access = await self._access(scope)
        except GroundtuneError as error:
            headers = {"WWW-Authenticate": "Bearer"} if error.http_status == 401 else {}
            if isinstance(error, RateError):
                headers["Retry-After"] = str(error.retry_after_s)
            elif error.http_status == 503:
                headers["Retry-After"] = str(RETRY_AFTER_S)
            answer = refused(path, error.http_status, problem_of(error), headers)
            await answer(scope, receive, send)
            return
        turnstile = Turnstile(self._streams, access)
        scope["state"] |= {"access": access, "turnstile": turnstile}
        try:
            await self.app(scope, receive, send)
        finally:
            turnstile.leave()

    async def _access(self, scope: Scope) -> Access:
        headers = Headers(scope=scope)
        shown = headers.get("authorization")
        if shown is None:
            self._check_keyless(headers)
            return OWNER
        scheme, _, text = shown.partition(" ")
        text = text.strip()
        if self._own_key and hmac.compare_digest(text.encode(), self._own_key.encode()):
            return OWNER
        address = (scope.get("client") or ("",))[0]
        keys: Keys = scope["app"].state.parts.keys
        bearer = text if scheme.lower() == "bearer" else ""
        access = await asyncio.to_thread(self._looked_up, keys, bearer, address)
        if access is not None:
            return access
        if not self._key_needed and not text.startswith(OURS):
            self._check_keyless(headers)  # clients of OpenAI insist on sending something
            return OWNER
        await asyncio.to_thread(self._failures.spend, address)
        log.warning("a wrong key was shown", extra=told(address=address))
        raise UnauthorizedError("This access key opens nothing.", hint="groundtune keys list")

    def _looked_up(self, keys: Keys, text: str, address: str) -> Access | None:
        """Return what a key opens, and count the request; None where it is no key."""
        if self._failures.empty(address):
            raise RateError("Too many wrong keys came from this address.", retry_after_s=60)
        access = keys.access(text)
        if access is not None and (wait := self._requests.spend(access.key)):
            raise RateError("This key asks too often.", retry_after_s=wait)
        return access

    def _check_keyless(self, headers: Headers) -> None:
        if self._key_needed:
            raise UnauthorizedError(
                "This service asks for an access key.",
                hint="Send `Authorization: Bearer KEY`; make one: groundtune keys create NAME",
            )
        # A proxy's requests come from this machine and speak for somebody elsewhere.
        if any(name in headers for name in PROXIED):
            raise UnauthorizedError(
                "A request through a proxy needs an access key.",
                hint="Set security.require_key, and make one: groundtune keys create NAME",
            )


class Turnstile:
    """Counts the stream of one request in, and out when the request has ended."""

    def __init__(self, streams: Streams, access: Access) -> None:
        self._streams = streams
        self._key = access.key
        self._inside = False

    def enter(self) -> None:
        """Count the stream in.

        Raises:
            RateError: the key has too many open.
        """
        if self._key and not self._inside:
            if not self._streams.begin(self._key):
                raise RateError("This key has too many streams open.", retry_after_s=5)
            self._inside = True

    def leave(self) -> None:
        """Count it out, if it was in."""
        if self._inside:
            self._streams.end(self._key)
            self._inside = False


def _needing(role: Role) -> Callable[[Request], Access]:
    def access_of(request: Request) -> Access:
        access: Access = request.state.access
        access.need(role)
        return access

    return access_of


Asker = Annotated[Access, Depends(_needing("ask"))]
Ingester = Annotated[Access, Depends(_needing("ingest"))]
Admin = Annotated[Access, Depends(_needing("admin"))]
