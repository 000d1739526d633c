"""The lowest layer: HTTP as uvicorn speaks it, with an end to its patience."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class HurriedProtocol(H11Protocol):
    """Closes a connection on which a request is begun, or announced by connecting, and not sent.

    uvicorn closes connections that idle between two requests, and waits for ever for the first one
    and for the rest of its head: a few thousand such connections are all that a service can hold.
    """

    head_s = 10.0
    """Seconds between two looks; a head that takes two of them is late."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to look at the clock."""
        super().connection_made(transport)
        self._last: object = self  # nothing was seen yet
        self._look = self.loop.call_later(self.head_s, self._hurry)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop looking."""
        self._look.cancel()
        super().connection_lost(exc)

    def _hurry(self) -> None:
        # Between two looks a request was sent if there is another cycle, or none is awaited.
        waiting = self.conn.their_state is h11.IDLE
        if waiting and self._last is self.cycle:
            self.transport.close()
            return
        self._last = self.cycle if waiting else self
        self._look = self.loop.call_later(self.head_s, self._hurry)
