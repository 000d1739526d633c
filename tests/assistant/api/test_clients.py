"""Several clients on real sockets: one too many, and one who leaves."""

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import uvicorn

from assistant.api.app import create_app
from assistant.engines.engine import Piece, Request, Usage
from assistant.engines.queue import RequestQueue
from tests.fakes import ScriptedEngine, small_workspace

WAIT_S = 10


class HeldEngine(ScriptedEngine):
    """Answers one request at a time, and does not end before it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = RequestQueue(1, 0)
        self.begun = threading.Event()
        self.end = threading.Event()
        self.left = threading.Event()

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        """Yield a word, and the usage once it may end."""
        async with self.queue.turn():
            try:
                self.begun.set()
                yield Piece("One")
                while not self.end.is_set():
                    await asyncio.sleep(0.01)
                yield Piece(usage=Usage(1, 1, "stop"))
            finally:
                self.left.set()


@pytest.fixture
def engine() -> HeldEngine:
    return HeldEngine()


@pytest.fixture
def port(engine: HeldEngine, tmp_path: Path) -> Iterator[int]:
    app = create_app(small_workspace(tmp_path, engine))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield listener.getsockname()[1]
        engine.end.set()
        server.should_exit = True
        thread.join()


@contextmanager
def asking(port: int, *, stream: bool) -> Iterator[http.client.HTTPConnection]:
    """Send a question, and leave at the end; the answer can be read meanwhile."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    body = json.dumps({"question": "Why?", "mode": "base", "stream": stream})
    connection.request("POST", "/api/ask", body, {"Content-Type": "application/json"})
    with closing(connection):
        yield connection


@pytest.mark.parametrize("stream", [False, True])
def test_one_client_too_many_gets_a_503_whether_it_streams_or_not(
    engine: HeldEngine, port: int, stream: bool
) -> None:
    with asking(port, stream=True) as first:
        assert engine.begun.wait(WAIT_S)
        with asking(port, stream=stream) as second, second.getresponse() as refused:
            assert (refused.status, refused.headers["Content-Type"]) == (503, "application/json")
            assert int(refused.headers["Retry-After"]) > 0
            assert json.load(refused)["error"]["code"] == "engine_unavailable"
        engine.end.set()
        with first.getresponse() as answered:
            assert b"event: done" in answered.read()


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_who_leaves_ends_the_generation_and_frees_its_place(
    engine: HeldEngine, port: int, stream: bool
) -> None:
    with asking(port, stream=stream):
        assert engine.begun.wait(WAIT_S)
    assert engine.left.wait(WAIT_S)
    engine.end.set()
    with asking(port, stream=False) as next_one, next_one.getresponse() as answered:
        assert answered.status == 200
