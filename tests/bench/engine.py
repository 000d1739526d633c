"""The engines against direct calls to what they stand on, with the same prompts and settings.

What is sent directly is made before the clock starts. Prompts are as long as one with evidence, and
each is new, so that no cache of the server has seen it.
"""

import asyncio
import itertools
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import httpx
import ollama

from assistant.config import EngineSettings, Settings
from assistant.engines.embedded import EmbeddedEngine
from assistant.engines.engine import Engine, Message, Request
from assistant.engines.ollama import OllamaEngine
from assistant.engines.ollama_models import OllamaModels, push_base
from assistant.engines.openai import OpenAIEngine
from ingest.model_file import resolve, sha256_of
from tests.bench.ratio import ROUNDS, Pair, in_turn, line, rate_line
from tests.ollama_server import find_binary, started

CLIENTS = 8
CROWDS = 5
TOKENS = 48
NUMBERS = itertools.count(1000)


class Timed(NamedTuple):
    """Seconds of one answer, from the call to its first text and to its end."""

    first: float
    total: float


class Subject(Protocol):
    """An engine, and a direct call to what stands behind it."""

    name: str

    @property
    def engine(self) -> Engine:
        """The engine."""
        ...

    def direct(self, request: Request) -> Awaitable[Timed]:
        """Answer `request` without the engine; what is sent is made at once."""
        ...


class Embedded:
    """The engine in process, and the binding's own server, called as it is meant to be."""

    name = "embedded"

    def __init__(self, settings: EngineSettings, parallel: int) -> None:
        self.engine = EmbeddedEngine(
            resolve(settings.model),
            name=settings.model,
            context_tokens=settings.context_tokens,
            parallel=parallel,
            waiting=CLIENTS,
        )
        self._threads = ThreadPoolExecutor(CLIENTS)

    def direct(self, request: Request) -> Awaitable[Timed]:
        """Answer in a thread."""
        body = self.engine.body(request)

        def answer() -> Timed:
            began = time.perf_counter()
            first = 0.0

            def on_chunk(chunk: dict[str, Any]) -> bool:
                nonlocal first
                if any(choice["delta"].get("content") for choice in chunk["choices"]):
                    first = first or time.perf_counter() - began
                return False

            self.engine.server.handle_chat_completions(body, on_chunk)
            return Timed(first, time.perf_counter() - began)

        return asyncio.get_running_loop().run_in_executor(self._threads, answer)


class Ollama:
    """The engine for an Ollama server, and the official client on the same server."""

    name = "ollama"

    def __init__(self, settings: EngineSettings, url: str) -> None:
        gguf = resolve(settings.model)
        with OllamaModels(url) as models:
            push_base(models, gguf)
        self.engine = OllamaEngine(
            gguf,
            name=settings.model,
            base_sha256=sha256_of(gguf),
            context_tokens=settings.context_tokens,
            parallel=CLIENTS,
            waiting=CLIENTS,
            url=url,
        )

    def direct(self, request: Request) -> Awaitable[Timed]:
        """Answer through the client."""
        prompt = self.engine.render(request.messages)
        body = self.engine.body(request, prompt, request.max_tokens)

        async def pieces() -> AsyncIterator[str]:
            client = ollama.AsyncClient(self.engine.url)
            chunks: Any = await client.generate(self.engine.model_of(None), stream=True, **body)
            async for chunk in chunks:
                yield chunk.response
            await client.close()  # type: ignore[no-untyped-call]

        return timed(pieces())


class OpenAI:
    """The engine for an OpenAI-compatible server, and plain HTTP requests to the same server."""

    name = "openai"

    def __init__(self, settings: EngineSettings, url: str) -> None:
        self.engine = OpenAIEngine(
            resolve(settings.model),
            name=settings.model,
            context_tokens=settings.context_tokens,
            parallel=CLIENTS,
            waiting=CLIENTS,
            url=url,
        )

    def direct(self, request: Request) -> Awaitable[Timed]:
        """Answer through an HTTP client that reads what the server sends."""
        prompt = self.engine.render(request.messages)
        body = self.engine.body(request, prompt, request.max_tokens)

        async def pieces() -> AsyncIterator[str]:
            async with (
                httpx.AsyncClient(timeout=None, trust_env=False) as client,
                client.stream("POST", f"{self.engine.url}/v1/completions", json=body) as response,
            ):
                async for line in response.aiter_lines():
                    if line.startswith("data: {"):
                        for choice in json.loads(line.removeprefix("data: "))["choices"]:
                            yield choice["text"]

        return timed(pieces())


def measure(settings: Settings) -> Iterator[str]:
    """Yield the lines of the engines: in process, Ollama, and a server that is named."""
    yield from in_process(settings.engine)
    yield from through_ollama(settings.engine)
    if url := os.environ.get("GROUNDTUNE_TEST_OPENAI"):
        served = OpenAI(settings.engine, url)
        asyncio.run(served.engine.check())
        yield from lines(served, crowd=served)
        served.engine.close()


def in_process(settings: EngineSettings) -> Iterator[str]:
    """Yield the lines of the embedded engine; a crowd has a slot for each client."""
    one, many = (Embedded(settings, parallel) for parallel in (1, CLIENTS))
    yield from lines(one, crowd=many)
    one.engine.close()
    many.engine.close()


def through_ollama(settings: EngineSettings) -> Iterator[str]:
    """Yield the lines of the engine for Ollama, on a server that is started for it."""
    binary = find_binary()
    if binary is None:
        yield "ollama: not measured, there is no Ollama program here"
        return
    with tempfile.TemporaryDirectory() as folder, started(binary, Path(folder)) as server:
        subject = Ollama(settings, server.url)
        yield from lines(subject, crowd=subject)
        subject.engine.close()


def lines(subject: Subject, *, crowd: Subject) -> Iterator[str]:
    """Yield first token and total of one answer after another, and the speed for eight at once."""
    times = asyncio.run(in_turn(lambda: ours(subject), lambda: raw(subject), ROUNDS))
    yield line(f"{subject.name}, first token", [Pair(a.first, b.first) for a, b in times])
    yield line(f"{subject.name}, {TOKENS} tokens", [Pair(a.total, b.total) for a, b in times])
    rates = asyncio.run(
        in_turn(lambda: rate(lambda: ours(crowd)), lambda: rate(lambda: raw(crowd)), CROWDS)
    )
    name = f"{subject.name}, {CLIENTS} clients, {TOKENS} tokens each"
    yield rate_line(name, [Pair(a, b) for a, b in rates])


async def ours(subject: Subject) -> Timed:
    """Answer once through the engine."""
    request = new_request()
    return await timed(piece.text async for piece in subject.engine.stream(request))


async def raw(subject: Subject) -> Timed:
    """Answer once directly."""
    return await subject.direct(new_request())


async def rate(answer: Callable[[], Awaitable[Timed]]) -> float:
    """Return the tokens per second of eight clients at once."""
    began = time.perf_counter()
    await asyncio.gather(*(answer() for _ in range(CLIENTS)))
    return CLIENTS * TOKENS / (time.perf_counter() - began)


async def timed(pieces: AsyncIterator[str]) -> Timed:
    """Read an answer to its end."""
    began = time.perf_counter()
    first = 0.0
    async for text in pieces:
        if text:
            first = first or time.perf_counter() - began
    return Timed(first, time.perf_counter() - began)


def new_request() -> Request:
    """Return a request with a prompt that nobody has seen."""
    number = next(NUMBERS)
    facts = " ".join(f"Part {number}-{n} is tightened to {n}.5 N.m." for n in range(16))
    messages = Message("system", f"Case {number}."), Message("user", f"{facts} Tell a story of it.")
    return Request(messages, max_tokens=TOKENS)
