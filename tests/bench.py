"""`make bench`: speed as a ratio against the raw library, measured in the same run.

Each pair runs in turn, A B A B, so that a machine whose speed drifts slows both. A ratio above 1
says that ours takes longer. Nothing is asserted: a timed test fails for reasons that are not ours.
"""

import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ollama

from assistant.config import EngineSettings, load
from assistant.engines.embedded import EmbeddedEngine
from assistant.engines.engine import Message, Request
from assistant.engines.ollama import OllamaEngine
from assistant.engines.ollama_models import OllamaModels, push_base
from assistant.workspace import Workspace
from ingest.files import find_files
from ingest.model_file import resolve, sha256_of
from tests.ollama_server import find_binary, started

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples" / "tarnfell"
ROUNDS = 7
QUESTIONS = (
    "How tight do the sensor collars of the Burbot 20 go?",
    "What does E-433 mean on the sample cool box?",
    "What does the wind head cost?",
)


def seconds(work: Callable[[], object]) -> float:
    """Return how long `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def pair(name: str, ours: Callable[[], object], raw: Callable[[], object]) -> str:
    """Return a line: the median of both in milliseconds, and of the ratios, with their range."""
    ours(), raw()
    return line(name, [(seconds(ours), seconds(raw)) for _ in range(ROUNDS)])


def line(name: str, times: Sequence[tuple[float, float]]) -> str:
    """Return the line for pairs of seconds: ours and raw."""
    ratios = [a / b for a, b in times]
    a, b = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
    return (
        f"{name:<34} ours {a:8.1f} ms   raw {b:8.1f} ms   ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}, n={len(times)})"
    )


def search(workspace: Workspace) -> str:
    """Hybrid search against one embedding, one raw Chroma query and one raw FTS query."""
    vectors = workspace.index.vectors
    registry = workspace.registry

    def ours() -> None:
        for question in QUESTIONS:
            workspace.retriever.search(question, k=3)

    def raw() -> None:
        for question in QUESTIONS:
            row = workspace.embedder.embed([question])
            vectors.collection.query(query_embeddings=row.tolist(), n_results=30)
            registry.search(question, collection="default", limit=30)

    return pair("search, 3 questions", ours, raw)


def ingest(workspace: Workspace) -> str:
    """Ingestion of the sample company against the embedding model alone on the same chunks."""
    records = workspace.registry.documents()
    texts = [c.context for r in records for c in workspace.registry.document(r.id)[2]]
    uploads = find_files([str(EXAMPLES / "documents")])

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            fresh = Workspace(workspace.settings.model_copy(update={"home": Path(folder)}))
            fresh.__dict__["embedder"] = workspace.embedder  # loaded once for both
            fresh.pipeline.run(uploads, collection="default")
            fresh.close()

    return pair("ingest, 40 documents", ours, lambda: workspace.embedder.embed(texts))


def generate(workspace: Workspace) -> str:
    """The engine seam against the binding itself, same prompt and settings."""
    engine = workspace.engine
    assert isinstance(engine, EmbeddedEngine)
    messages = (Message("user", "Name the days of the week."),)
    request = Request(messages, max_tokens=48)

    async def stream() -> None:
        async for _ in engine.stream(request):
            pass

    def raw() -> None:
        engine.server.handle_chat_completions(engine.body(request), lambda chunk: False)

    return pair("generate, 48 tokens", lambda: asyncio.run(stream()), raw)


class Timed(NamedTuple):
    """Seconds of one answer."""

    first: float
    total: float


def prompt_of(number: int) -> tuple[Message, ...]:
    """Return a prompt as long as one with evidence; each is new to the server's prompt cache."""
    facts = " ".join(f"Part {number}-{n} is tightened to {n}.5 N.m." for n in range(16))
    return (Message("system", f"Case {number}."), Message("user", f"{facts} Tell a story of it."))


class Ollama:
    """The engine, and beside it the official client on the same server with the same prompts."""

    def __init__(self, engine: OllamaEngine) -> None:
        self.engine = engine
        self._numbers = itertools.count(1000)

    async def ours(self) -> Timed:
        """Answer once through the engine."""
        request = self._request()
        began = time.perf_counter()
        first = 0.0
        async for piece in self.engine.stream(request):
            if piece.text:
                first = first or time.perf_counter() - began
        return Timed(first, time.perf_counter() - began)

    async def raw(self) -> Timed:
        """Answer once through the client; what it is sent is made before the clock starts."""
        request = self._request()
        prompt = self.engine.render(request.messages)
        body = self.engine.body(request, prompt, request.max_tokens)
        client = ollama.AsyncClient(self.engine.url)
        began = time.perf_counter()
        first = 0.0
        chunks: Any = await client.generate(self.engine.model_of(None), stream=True, **body)
        async for chunk in chunks:
            if chunk.response:
                first = first or time.perf_counter() - began
        total = time.perf_counter() - began
        await client.close()  # type: ignore[no-untyped-call]
        return Timed(first, total)

    def _request(self) -> Request:
        return Request(prompt_of(next(self._numbers)), max_tokens=48)


async def one_by_one(pair: Ollama) -> list[tuple[Timed, Timed]]:
    """Answer in turn, ours and raw; the first pair warms up."""
    return [(await pair.ours(), await pair.raw()) for _ in range(ROUNDS + 1)][1:]


async def crowd(answer: Callable[[], Awaitable[Timed]]) -> float:
    """Return how many seconds it takes to answer eight clients."""
    began = time.perf_counter()
    await asyncio.gather(*(answer() for _ in range(8)))
    return time.perf_counter() - began


async def crowds(pair: Ollama) -> list[tuple[float, float]]:
    """Answer eight clients, ours and raw in turn."""
    return [(await crowd(pair.ours), await crowd(pair.raw)) for _ in range(3)]


def through_ollama(settings: EngineSettings) -> Iterator[str]:
    """The Ollama engine against the official client, on a server that is started for it."""
    binary = find_binary()
    if binary is None:
        yield "ollama: not measured, there is no Ollama program here"
        return
    gguf = resolve(settings.model)
    with tempfile.TemporaryDirectory() as folder, started(binary, Path(folder)) as server:
        with OllamaModels(server.url) as models:
            push_base(models, gguf)
        engine = OllamaEngine(
            gguf,
            name=settings.model,
            base_sha256=sha256_of(gguf),
            context_tokens=settings.context_tokens,
            parallel=8,
            waiting=8,
            url=server.url,
        )
        pair = Ollama(engine)
        times = asyncio.run(one_by_one(pair))
        yield line("ollama, first token", [(a.first, b.first) for a, b in times])
        yield line("ollama, 48 tokens", [(a.total, b.total) for a, b in times])
        yield line("ollama, 8 clients, 48 tokens each", asyncio.run(crowds(pair)))
        engine.close()


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load(EXAMPLES / "groundtune.toml").settings
        with Workspace(settings.model_copy(update={"home": Path(folder)})) as workspace:
            workspace.pipeline.run(find_files([str(EXAMPLES / "documents")]), collection="default")
            for measure in (search, ingest, generate):
                sys.stdout.write(measure(workspace) + "\n")
                sys.stdout.flush()
        for result in through_ollama(settings.engine):
            sys.stdout.write(result + "\n")


if __name__ == "__main__":
    main()
