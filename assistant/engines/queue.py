"""The line in front of a language model: a bounded number at work, a bounded number waiting.

A server that holds one model at a time must load another one for each change between them. So
requests are grouped by model: a group keeps its turn while it has requests, and gives it up after a
burst when another group waits, so that none starves.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ingest.errors import EngineUnavailableError

BURST = 16
"""Requests that one group starts before it lets another one in. Larger: fewer changes of the model,
longer waits. A change costs seconds, a request of some hundred tokens about as much."""


@dataclass(slots=True, eq=False)
class _Waiter:
    group: str
    turn: asyncio.Future[None]


class RequestQueue:
    """Lets requests through, oldest first within their group. Belongs to one event loop at a time.

    Two groups are never at work together.
    """

    def __init__(self, parallel: int, waiting: int, *, burst: int = BURST) -> None:
        """Let `parallel` requests work and `waiting` more wait; beyond that, refuse.

        `burst` is how many requests of a group start while another group waits.
        """
        self.reloads = 0
        """Changes from one group to another so far."""
        self._parallel = parallel
        self._most_waiting = waiting
        self._burst = max(burst, parallel)
        self._waiters: deque[_Waiter] = deque()  # oldest first
        self._group: str | None = None
        self._running = 0
        self._started = 0  # of the current group since it got its turn

    @property
    def running(self) -> int:
        """Requests at work."""
        return self._running

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._waiters)

    @asynccontextmanager
    async def turn(self, group: str = "") -> AsyncIterator[None]:
        """Wait for a turn of `group` and hold it.

        Raises:
            EngineUnavailableError: too many are waiting already.
        """
        await self._enter(group)
        try:
            yield
        finally:
            self._running -= 1
            self._admit()

    async def _enter(self, group: str) -> None:
        if not self._waiters and self._fits(group):
            self._start(group)
            return
        waiter = _Waiter(group, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self._admit()  # its own group may be at work with room left
        if not waiter.turn.done() and len(self._waiters) > self._most_waiting:
            self._waiters.remove(waiter)
            raise EngineUnavailableError(
                f"{self._running} requests are being answered and {len(self._waiters)} are "
                "waiting; there is no room for another one.",
                hint="Ask again in a few seconds, or raise engine.queue or engine.parallel.",
            )
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            else:  # the turn was given in the same moment
                self._running -= 1
            self._admit()
            raise

    def _fits(self, group: str) -> bool:
        """Return whether a request of `group` may start now, nobody else considered."""
        return self._running < self._parallel and (self._running == 0 or group == self._group)

    def _start(self, group: str) -> None:
        if group != self._group:
            self.reloads += self._group is not None
            self._group = group
            self._started = 0
        self._running += 1
        self._started += 1

    def _admit(self) -> None:
        """Start every waiting request that may start now."""
        while self._waiters and (chosen := self._next()) is not None:
            self._waiters.remove(chosen)
            self._start(chosen.group)
            chosen.turn.set_result(None)

    def _next(self) -> _Waiter | None:
        """Return who is next; None while the current group has to finish first."""
        own = next((w for w in self._waiters if w.group == self._group), None)
        other = next((w for w in self._waiters if w.group != self._group), None)
        if own is not None and (other is None or self._started < self._burst):
            return own if self._fits(own.group) else None
        if other is not None and self._running == 0:
            return other
        return None
