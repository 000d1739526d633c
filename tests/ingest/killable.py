"""A process that ingests and can be killed: started once, it forks for each run.

It reads one JSON object a line and answers with one. Forking before any store is open saves the
seconds that importing them takes.
"""

import hashlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Later imports, made before the fork.
import chromadb.api.rust  # noqa: F401
import chromadb.telemetry.product.posthog  # noqa: F401
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text

from ingest.document import Chunk
from ingest.files import find_files
from ingest.index import Index
from ingest.registry import Registry
from ingest.stores.chroma import ChromaVectors
from tests.fakes import HashEmbedder, small_pipeline

SMALL = {"space": "cosine", "batch_size": 8, "sync_threshold": 16}
"""Chroma writes its graph to disk every 1,000 vectors; so few would never get there otherwise."""
GRAPH_CHUNKS = 6
"""So that some fill while others are removed from, or emptied."""
WRITES = ("put", "fail", "move", "remove", "set_pending", "clear_pending")


class Clock:
    """Counts the moments before and after each write; at the chosen one the process is killed."""

    def __init__(self, last: int | None) -> None:
        self.ticks = 0
        self._last = last

    def tick(self) -> None:
        """One moment more."""
        if self.ticks == self._last:
            os.kill(os.getpid(), signal.SIGKILL)
        self.ticks += 1

    def around(self, write: Callable[..., Any]) -> Callable[..., Any]:
        """Return `write` with a moment before and one after it."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.tick()
            result = write(*args, **kwargs)
            self.tick()
            return result

        return timed


class TickingVectors(ChromaVectors):
    """Real vectors; each write is two moments."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        super().__init__(folder, hnsw=SMALL, graph_chunks=GRAPH_CHUNKS)
        self._clock = clock

    def add(self, chunks: Sequence[Chunk], rows: NDArray[np.float32]) -> None:
        """Add, with a moment before and one after it."""
        self._clock.around(super().add)(chunks, rows)

    def remove(self, ids: Sequence[str], *, collection: str | None = None) -> None:
        """Remove, with a moment before and one after it."""
        self._clock.around(super().remove)(ids, collection=collection)


def ingest(home: Path, docs: Path, last: int | None) -> dict[str, Any]:
    """Ingest `docs` into `home` and prune; return what the index then holds."""
    clock = Clock(last)
    registry = Registry(home / "state.sqlite")
    for name in WRITES:
        setattr(registry, name, clock.around(getattr(registry, name)))
    index = Index(registry, TickingVectors(home / "vectors", clock), HashEmbedder())
    torn = index.vectors.torn
    pipeline = small_pipeline(index)
    began = time.monotonic()
    pipeline.run(find_files([str(docs)]), collection="default")
    for record in pipeline.gone([docs], collection="default"):
        index.delete(record.id)
    seconds = time.monotonic() - began
    held = content(index)
    index.close()
    return {"ticks": clock.ticks, "seconds": seconds, "held": held, "torn": torn}


def content(index: Index) -> dict[str, Any]:
    """Return all that three stores hold, in an order of its own."""
    assert isinstance(index.vectors, ChromaVectors)
    vectors: dict[str, Any] = {}
    near: list[str] = []
    for graph in index.vectors.graphs("default"):
        found = graph.get(include=["embeddings", "metadatas"])
        for chunk_id, row, metadata in zip(
            found["ids"], found["embeddings"], found["metadatas"], strict=True
        ):
            assert chunk_id not in vectors, "in two graphs"
            vectors[chunk_id] = [hashlib.sha256(np.float32(row).tobytes()).hexdigest(), metadata]
        # That the graph knows each vector too, `get` does not tell.
        if found["ids"]:
            asked = graph.query(query_embeddings=found["embeddings"], n_results=1)
            near += [one for [one] in asked["ids"]]
    columns = 'chunks.id, document_id, chunks.source, page, start, "end", ordinal, chunks.text'
    full_text = "chunks_fts.title, chunks_fts.headings, chunks_fts.text"
    with index.registry.engine.connect() as connection:

        def rows(query: str) -> list[list[Any]]:
            return [list(row) for row in connection.execute(text(query))]

        return {
            "vectors": vectors,
            "graph": sorted(near),
            "documents": rows("SELECT * FROM documents ORDER BY id"),
            "chunks": rows(
                f"SELECT {columns}, {full_text} FROM chunks "
                "JOIN chunks_fts ON chunks_fts.rowid = chunks.number ORDER BY chunks.id"
            ),
            "counts": rows("SELECT count(*), (SELECT count(*) FROM chunks_fts) FROM chunks"),
            "pending": rows("SELECT * FROM pending_vectors"),
        }


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Ingest in a fork; kill it at a moment, or after some seconds, if the order says so."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        with os.fdopen(writer, "w", encoding="utf-8") as out:
            out.write("\n")  # it lives
            out.flush()
            json.dump(ingest(Path(order["home"]), Path(order["docs"]), order["last"]), out)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as answer:
        answer.read(1)
        answers, _, _ = select.select([answer], [], [], order["delay"])
        if not answers:  # the delay is over; None waits for the answer
            os.kill(child, signal.SIGKILL)
        said = answer.read()
        _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return {"killed": True}
    return {"killed": False, **json.loads(said)}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)  # noqa: T201
