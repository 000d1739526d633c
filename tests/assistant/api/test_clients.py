"""Several clients on real sockets: one too many, one who leaves, and a service that ends."""

import asyncio
import http.client
import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from assistant.api.app import create_app
from assistant.engines.engine import Piece, Request, Usage
from assistant.engines.queue import RequestQueue
from tests.assistant.api.conftest import PUMP, WAIT_S, events_of, listening, running
from tests.fakes import HashEmbedder, ScriptedEngine, small_workspace


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
                await asyncio.to_thread(self.end.wait)
                yield Piece(usage=Usage(1, 1, "stop"))
            finally:
                self.left.set()


@pytest.fixture
def engine() -> HeldEngine:
    return HeldEngine()


@pytest.fixture
def port(engine: HeldEngine, tmp_path: Path) -> Iterator[int]:
    with listening(create_app(small_workspace(tmp_path, engine))) as url:
        yield port_of(url)
        engine.end.set()


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


def test_a_stream_that_ends_in_time_is_whole_when_the_service_stops(
    engine: HeldEngine, tmp_path: Path
) -> None:
    app = create_app(small_workspace(tmp_path, engine))
    with running(app, grace_s=WAIT_S) as (url, server), asking(port_of(url), stream=True) as open_:
        assert engine.begun.wait(WAIT_S)
        server.should_exit = True
        with open_.getresponse() as answered:
            assert answered.read1(20)
            engine.end.set()
            assert b"event: done" in answered.read()


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_does_not_end_in_time_is_told_so(
    engine: HeldEngine, tmp_path: Path, stream: bool
) -> None:
    app = create_app(small_workspace(tmp_path, engine))
    with running(app, grace_s=0.1) as (url, server), asking(port_of(url), stream=stream) as open_:
        assert engine.begun.wait(WAIT_S)
        server.should_exit = True
        with open_.getresponse() as answered:
            said = answered.read().decode()
        engine.end.set()
    assert engine.left.is_set()
    if stream:
        name, body = events_of(said)[-1]
        assert name == "error"
    else:
        assert answered.status == 503
        assert int(answered.headers["Retry-After"]) > 0
        body = json.loads(said)
    assert "is stopping" in body["error"]["message"]


def test_openais_clients_are_told_that_a_stream_broke_off(
    engine: HeldEngine, tmp_path: Path
) -> None:
    app = create_app(small_workspace(tmp_path, engine))
    body = {"model": "base", "messages": [{"role": "user", "content": "Why?"}], "stream": True}
    with running(app, grace_s=0.1) as (url, server):
        with httpx.stream(
            "POST", f"{url}/v1/chat/completions", json=body, timeout=WAIT_S
        ) as answered:
            server.should_exit = True
            lines = [line for line in answered.iter_lines() if line]
        engine.end.set()
    assert json.loads(lines[-1].removeprefix("data: "))["error"]["type"] == "server_error"


def test_who_follows_a_job_is_told_that_it_goes_on_and_it_does(tmp_path: Path) -> None:
    begun, held = threading.Event(), threading.Event()

    class SlowEmbedder(HashEmbedder):
        def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
            if begun.is_set():
                held.wait(WAIT_S)
            return super().embed(texts)

    workspace = small_workspace(tmp_path, ScriptedEngine())
    workspace.__dict__["embedder"] = SlowEmbedder()
    with running(create_app(workspace)) as (url, server):
        begun.set()
        files = [("files", (f"{n}.md", PUMP + b"%d" % n)) for n in range(9)]
        job = httpx.post(f"{url}/api/documents", files=files, timeout=WAIT_S).json()["job_id"]
        with httpx.stream("GET", f"{url}/api/jobs/{job}/events", timeout=WAIT_S) as followed:
            lines = followed.iter_lines()
            assert next(lines) == "event: progress"
            server.should_exit = True
            rest = list(lines)
        held.set()
    assert "event: error" in rest
    assert "goes on when it starts again" in rest[-2]
    with running(create_app(small_workspace(tmp_path, ScriptedEngine()))) as (url, _):
        events = events_of(httpx.get(f"{url}/api/jobs/{job}/events", timeout=WAIT_S).text)
    name, body = events[-1]
    assert (name, body["progress"]["done"]) == ("done", 9)


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])
