"""Work for a client ends when the client goes."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from fastapi import Request

from assistant.api.goodbye import Goodbye, stopping

T = TypeVar("T")


class ClientGoneError(Exception):
    """The client has closed the connection, so nobody reads the answer."""


async def while_connected(request: Request, work: Coroutine[None, None, T]) -> T:
    """Return what `work` gives; the request's body must have been read.

    Raises:
        ClientGoneError: the client went first, and `work` was cancelled.
        EngineUnavailableError: the service ended first.
    """
    goodbye: Goodbye = request.app.state.goodbye
    working = asyncio.ensure_future(work)
    going = asyncio.ensure_future(_gone(request))
    over = asyncio.ensure_future(goodbye.over())
    try:
        await asyncio.wait({working, going, over}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise stopping() if over.done() else ClientGoneError
        return working.result()
    finally:
        for task in (working, going, over):
            task.cancel()
        await asyncio.gather(working, going, over, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
