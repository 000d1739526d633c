"""A server on a real socket that does to a request for an answer what it was told."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from assistant.engines.engine import Engine, Message, Piece, Request
from assistant.engines.queue import RequestQueue
from ingest.errors import GroundtuneError

LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
LAST = b"Connection: close"  # it answers one request
STORY = Request((Message("user", "Tell a very long story."),), max_tokens=400)


class Served(Engine, Protocol):
    """An engine that stands before a server."""

    queue: RequestQueue


@dataclass
class Socket:
    """Answers the paths in `facts` properly, and every other request as it was told."""

    body: bytes = b""
    status: str = "200 OK"
    whole: bool = True
    """False breaks the connection off before the answer's end."""
    silence_s: float = 0
    """It says nothing for so long, behind the body."""
    facts: Mapping[bytes, bytes] = field(default_factory=dict)
    """JSON by path."""
    generated: int = 0
    """Requests for an answer so far."""
    head: bytes = b""
    """Of the last request for an answer."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """The client has closed the connection."""

    @asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator[str]:
        """Listen on `port` of this machine, or any, and yield the URL."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            # What nobody has read when a socket is closed resets the connection under the answer.
            await reader.readexactly(int((LENGTH.search(head) or (0, 0))[1]))
            said = next((json for path, json in self.facts.items() if path in head), None)
            if said is not None:
                length = b"Content-Length: %d" % len(said)
                writer.write(b"\r\n".join((b"HTTP/1.1 200 OK", LAST, length, b"", said)))
            else:
                self.head = head
                self.generated += 1
                await self._generate(writer)
                if self.silence_s:
                    await asyncio.wait_for(reader.read(), self.silence_s)  # until the client goes
                    self.left.set()
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass
        finally:
            writer.close()

    async def _generate(self, writer: asyncio.StreamWriter) -> None:
        if not self.body and not self.whole:
            return
        status = b"HTTP/1.1 " + self.status.encode()
        writer.write(b"\r\n".join((status, LAST, b"Transfer-Encoding: chunked", b"", b"")))
        if self.body:
            writer.write(b"%x\r\n%s\r\n" % (len(self.body), self.body))
        if self.whole and not self.silence_s:
            writer.write(b"0\r\n\r\n")
        await writer.drain()


async def whole(engine: Engine, request: Request = STORY) -> str:
    """Return the whole text of an answer."""
    return "".join([piece.text async for piece in engine.stream(request)])


async def failure(engine: Served, request: Request = STORY) -> tuple[str, GroundtuneError]:
    """Return the text that came before the error, and the error; usage must not have come."""
    pieces: list[Piece] = []
    try:
        async for piece in engine.stream(request):
            pieces.append(piece)
    except GroundtuneError as error:
        assert all(piece.usage is None for piece in pieces)
        assert engine.queue.running == 0
        return "".join(piece.text for piece in pieces), error
    raise AssertionError(f"no error: {pieces}")
