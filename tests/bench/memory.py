"""The memory of an ingestion as the index grows, and whose it is.

Vectors are drawn, so that no model is in the way. They go into a Chroma folder, to a Chroma server,
or nowhere: then what is left is ours. `python -m tests.bench.memory` measures all three, each in a
process of its own; `python -m tests.bench.memory server` one of them.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from numpy.typing import NDArray

from assistant.config import Settings
from ingest.document import Chunk, Document
from ingest.files import find_files
from ingest.index import Index
from ingest.pipeline import Pipeline
from ingest.prepare import Parts, Threads
from ingest.registry import Registry
from ingest.stores.chroma import GRAPH_CHUNKS, ChromaVectors
from tests import chroma_server
from tests.bench.ingestion import write_abstracts

SIZES = (1_000, 10_000, 40_000, 100_000)
EACH = 20
"""Chunks of a document."""
STORES = ("folder", "server", "nowhere")


class Drawn:
    """Random unit vectors."""

    name = backend = "drawn"
    max_tokens = 256

    def __init__(self) -> None:
        self._rng = np.random.default_rng(7)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return rows of shape (len(texts), 384), L2 norm 1."""
        rows = self._rng.standard_normal((len(texts), 384), dtype=np.float32)
        unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def tokenize(self, text: str) -> list[str]:
        """Return the words of `text`."""
        return text.split()


class Nowhere(ChromaVectors):
    """Forgets what it is given."""

    def add(self, chunks: Sequence[Chunk], rows: NDArray[np.float32]) -> None:
        """Keep nothing."""


def read(content: bytes, **place: Any) -> Document:
    """Return a document of a text."""
    text = content.decode()
    where = {key: place[key] for key in ("collection", "source", "path")}
    return Document(
        id=place["document_id"], sha256="", title=place["source"], text=text, blocks=(), spans=(),
        pages=None, kind="txt", metadata={}, **where,
    )  # fmt: skip


def cut(document: Document) -> list[Chunk]:
    """Return 20 chunks of a document."""
    size = len(document.text) // EACH
    return [
        Chunk(
            f"{document.id}{n:04}", document.id, document.collection, document.source,
            document.title, (), None, n * size, (n + 1) * size,
            document.text[n * size : (n + 1) * size], n,
        )
        for n in range(EACH)
    ]  # fmt: skip


class Grown(NamedTuple):
    """What an ingestion takes when the index has so many chunks."""

    chunks: int
    resident_mb: int
    line: str


def grow(
    kind: str, place: Path, sizes: Sequence[int] = SIZES, graph_chunks: int = GRAPH_CHUNKS
) -> Iterator[Grown]:
    """Ingest into a store of one kind up to each of `sizes` chunks."""
    with ExitStack() as stack:
        home, folder = place / "home", place / "docs"
        for made in (home, folder):
            made.mkdir()
        write_abstracts(folder, sizes[-1] // EACH, words=400)
        uploads = find_files([str(folder)])
        server = None
        if kind == "server":
            url = stack.enter_context(chroma_server.started(place / "server"))
            server = psutil.Process().children()[0]
            vectors = ChromaVectors(url)
        else:
            make = Nowhere if kind == "nowhere" else ChromaVectors
            vectors = make(home / "v", graph_chunks=graph_chunks)
        index = Index(Registry(home / "s.sqlite"), vectors, Drawn())
        preparation = Threads(Parts(read, cut, index.embedder), readers=2)
        pipeline = Pipeline(index, preparation, max_file_mb=50)
        done = 0
        for size in sizes:
            began, spent = time.monotonic(), time.process_time()
            tally = pipeline.run(uploads[done : size // EACH], collection="default")
            took, spent = time.monotonic() - began, time.process_time() - spent
            done = size // EACH
            beside = f", the server {_mb(server)} MB" if server else ""
            resident = _mb(psutil.Process())
            yield Grown(
                size,
                resident,
                f"{kind:<8} {size:>7,} chunks: {resident} MB resident{beside}; "
                f"{tally.chunks / took:.0f} chunks/s, {tally.chunks / spent:.0f} a processor "
                "second",
            )
        index.close()


def _mb(process: psutil.Process) -> int:
    return int(process.memory_info().rss // 1_000_000)


def measure(_: Settings) -> Iterator[str]:
    """Yield all lines: some minutes each."""
    for kind in STORES:
        command = [sys.executable, "-m", "tests.bench.memory", kind]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            yield from (line.rstrip() for line in process.stdout)


def main(kinds: Sequence[str]) -> None:
    """Print the lines of stores."""
    for kind in kinds or STORES:
        with tempfile.TemporaryDirectory() as place:
            for grown in grow(kind, Path(place)):
                sys.stdout.write(grown.line + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
