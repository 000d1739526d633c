"""The end of the service: what is being answered may end, and what does not end is told so."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from ingest.errors import EngineUnavailableError

T = TypeVar("T")


class Goodbye:
    """Says when the service ends; belongs to one event loop."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()
        self._over = asyncio.Event()

    def begin(self, grace_s: float) -> None:
        """No new requests come; those that are open have `grace_s` seconds left."""
        self._begun.set()
        asyncio.get_running_loop().call_later(grace_s, self._over.set)

    @property
    def begun(self) -> bool:
        """Whether what can go on after a restart should end now."""
        return self._begun.is_set()

    async def pause(self, seconds: float) -> None:
        """Sleep, but not past the beginning of the end."""
        try:
            async with asyncio.timeout(seconds):
                await self._begun.wait()
        except TimeoutError:
            pass

    async def over(self) -> None:
        """Wait until the grace has passed."""
        await self._over.wait()

    async def bounded(self, items: AsyncIterator[T]) -> AsyncIterator[T]:
        """Yield `items` while there is time.

        Raises:
            EngineUnavailableError: there is none left.
        """
        over = asyncio.ensure_future(self.over())
        step: asyncio.Future[T] | None = None
        try:
            while True:
                step = asyncio.ensure_future(anext(items))
                await asyncio.wait({step, over}, return_when=asyncio.FIRST_COMPLETED)
                if not step.done():
                    raise stopping()
                try:
                    item = step.result()
                except StopAsyncIteration:
                    return
                yield item
        finally:
            for task in (step, over):
                if task is not None:
                    task.cancel()
            await asyncio.gather(*(t for t in (step, over) if t), return_exceptions=True)


def stopping() -> EngineUnavailableError:
    """Return the error of whoever is not answered any more."""
    return EngineUnavailableError(
        "The service is stopping and did not finish this answer.", hint="Ask again in a moment."
    )
