"""Work for a client ends when the client goes."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from fastapi import Request

T = TypeVar("T")


class ClientGoneError(Exception):
    """The client has closed the connection, so nobody reads the answer."""


async def while_connected(request: Request, work: Coroutine[None, None, T]) -> T:
    """Return what `work` gives; the request's body must have been read.

    Raises:
        ClientGoneError: the client went first, and `work` was cancelled.
    """
    working = asyncio.ensure_future(work)
    going = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, going}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError
        return working.result()
    finally:
        for task in (working, going):
            task.cancel()
        await asyncio.gather(working, going, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
