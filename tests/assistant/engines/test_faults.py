"""What every engine makes of a server that is silent, away, or left by its client."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest

from assistant.config import EngineSettings
from assistant.engines.ollama import OllamaEngine
from assistant.engines.openai import OpenAIEngine
from ingest.errors import EngineUnavailableError
from ingest.model_file import fetch, sha256_of
from tests.faulty_server import STORY, Served, Socket, failure, whole
from tests.ports import free_port

pytestmark = pytest.mark.model  # its tokenizer is needed for every request

COUNT = 36
"""Tokens of the prompt of STORY."""


def ollama_at(url: str, **changes: Any) -> Served:
    gguf = fetch(EngineSettings().model)
    return OllamaEngine(gguf, url=url, base_sha256=sha256_of(gguf), **changes)


def openai_at(url: str, **changes: Any) -> Served:
    return OpenAIEngine(fetch(EngineSettings().model), url=url, **changes)


@dataclass(frozen=True)
class Kind:
    """A kind of engine, and how its server speaks."""

    make: Callable[..., Served]
    facts: Mapping[bytes, bytes]
    text: bytes
    """The piece "Once" of an answer."""
    end: bytes
    """What follows the last piece."""
    start: str
    """The command that starts such a server."""

    def socket(self, body: bytes, **changes: Any) -> Socket:
        return Socket(body, facts=self.facts, **changes)


KINDS = {
    "ollama": Kind(
        ollama_at,
        {b"/api/version": b'{"version":"0.24.0"}'},
        b'{"response":"Once","done":false}\n',
        b'{"response":"","done":true,"done_reason":"stop","prompt_eval_count":%d,"eval_count":1}\n'
        % COUNT,
        "ollama serve",
    ),
    "openai": Kind(
        openai_at,
        {b"GET /v1/models": b'{"data":[{"id":"small","max_model_len":512}]}'},
        b'data: {"model":"small","choices":[{"text":"Once","finish_reason":null}]}\n\n',
        b'data: {"model":"small","choices":[{"text":"","finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":%d,"completion_tokens":1}}\n\ndata: [DONE]\n\n' % COUNT,
        "vllm serve",
    ),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


EngineAt = Callable[..., Served]


@pytest.fixture
def engine_at(kind: Kind) -> Iterator[EngineAt]:
    """Makes engines, and closes them."""
    engines: list[Served] = []

    def make(url: str, timeout_s: float = 60) -> Served:
        settings = {"name": "base", "context_tokens": 512, "parallel": 1, "waiting": 4}
        engines.append(kind.make(url, timeout_s=timeout_s, **settings))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.mark.parametrize("begun", [False, True])
def test_a_silent_server_is_given_up(kind: Kind, engine_at: EngineAt, begun: bool) -> None:
    async def scenario() -> tuple[str, Exception]:
        async with kind.socket(kind.text if begun else b"", silence_s=120).listening() as url:
            return await failure(engine_at(url, timeout_s=2))

    text, error = asyncio.run(scenario())
    assert text == ("Once" if begun else "")
    with pytest.raises(EngineUnavailableError, match=r"nothing for 2 s.*\n.*engine.timeout_s"):
        raise error


def test_a_client_who_leaves_closes_the_connection_to_the_server(
    kind: Kind, engine_at: EngineAt
) -> None:
    async def scenario() -> None:
        server = kind.socket(kind.text, silence_s=120)
        async with server.listening() as url:
            async with aclosing(engine_at(url).stream(STORY)) as pieces:  # type: ignore[type-var]
                assert (await anext(pieces)).text == "Once"
            await asyncio.wait_for(server.left.wait(), 60)

    asyncio.run(scenario())


def test_an_absent_server_is_named_with_what_starts_one(kind: Kind, engine_at: EngineAt) -> None:
    engine = engine_at(f"http://127.0.0.1:{free_port()}")
    text, error = asyncio.run(failure(engine))
    assert text == ""
    with pytest.raises(EngineUnavailableError, match=rf"127\.0\.0\.1.*\n.*{kind.start}"):
        raise error
    with pytest.raises(EngineUnavailableError, match=kind.start):
        asyncio.run(engine.check())


def test_a_server_that_restarts_is_asked_again(kind: Kind, engine_at: EngineAt) -> None:
    async def scenario() -> int:
        server = kind.socket(kind.text + kind.end)
        port = free_port()
        engine = engine_at(f"http://127.0.0.1:{port}")
        async with server.listening(port):
            assert await whole(engine) == "Once"
        answer = asyncio.create_task(whole(engine))
        await asyncio.sleep(0.1)  # it is away when it is asked
        async with server.listening(port):
            assert await answer == "Once"
        return server.generated

    assert asyncio.run(scenario()) == 2
