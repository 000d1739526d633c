"""`make bench`: speed as a ratio against the raw library, measured in the same run.

Each pair runs in turn, A B A B, so that a machine whose speed drifts slows both. A ratio above 1
says that ours takes longer. Nothing is asserted: a timed test fails for reasons that are not ours.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from assistant.config import load
from assistant.engines.embedded import EmbeddedEngine
from assistant.engines.engine import Message, Request
from assistant.workspace import Workspace
from ingest.pipeline import find_files

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
    times = [(seconds(ours), seconds(raw)) for _ in range(ROUNDS)]
    ratios = [a / b for a, b in times]
    a, b = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
    return (
        f"{name:<34} ours {a:8.1f} ms   raw {b:8.1f} ms   ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}, n={ROUNDS})"
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


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load(EXAMPLES / "groundtune.toml").settings
        with Workspace(settings.model_copy(update={"home": Path(folder)})) as workspace:
            workspace.pipeline.run(find_files([str(EXAMPLES / "documents")]), collection="default")
            for measure in (search, ingest, generate):
                sys.stdout.write(measure(workspace) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
