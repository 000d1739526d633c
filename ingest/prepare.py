"""Files become documents with chunks and vectors, ready to be stored."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ingest.ahead import ahead
from ingest.document import Chunk, Document, Failed
from ingest.embed import Embedder
from ingest.errors import DocumentError
from ingest.tally import Outcome

BATCH_CHUNKS = 512
"""Chunks embedded in one go. Sorted by length they fill their batches well, and the vector store
likes them in bulk; it is a few seconds of work, which is what an interruption may lose."""
FIRST_CHUNKS = 16
"""Chunks of the first batch, as many as the model takes in one go; each next one has twice as many.
So the model begins as soon as a dozen files are read, and they are through in half a second."""
BATCHES_AHEAD = 2
"""One is embedded while the one before it is stored."""
FILES_AHEAD = 4
"""Files that are read, or wait to be embedded, for each reading thread."""


class ReadContent(Protocol):
    """Reads one file: `ingest.read.read_document`, or a `Reader` that bounds time and memory."""

    def __call__(
        self, content: bytes, *, source: str, collection: str, path: Path | None, document_id: str
    ) -> Document:
        """Return the document; raises DocumentError when it cannot be read."""
        ...


class Work(NamedTuple):
    """A file that has to be read."""

    outcome: Outcome
    """What becomes of it if it can be."""
    content: bytes
    sha256: str
    id: str
    collection: str
    source: str
    path: Path | None
    stored: frozenset[str]
    """Ids of its chunks that have vectors already."""

    def failed(self, error: str) -> Failed:
        """Return what is noted when it cannot be read."""
        return Failed(self.id, self.collection, self.source, self.path, self.sha256, error)


class Prepared(NamedTuple):
    """A document, read and cut."""

    outcome: Outcome
    document: Document
    chunks: Sequence[Chunk]


@dataclass(frozen=True, slots=True)
class Batch:
    """What can be stored together."""

    chunks: Sequence[Chunk]
    rows: NDArray[np.float32]
    """Shape (len(chunks), dimension): the vectors of `chunks`."""
    done: Sequence[Prepared]
    """Documents whose every chunk has its vector, with this batch."""
    failed: Sequence[Failed]


class Preparation(Protocol):
    """The work between finding a file and storing it, done in threads or on other machines."""

    def prepare(self, works: Iterable[Work]) -> Generator[Batch]:
        """Yield every file exactly once, as done or failed, never more than a few ahead.

        A document's vectors come in the order of its chunks, in one batch or in several.
        """
        ...


class Parts(NamedTuple):
    """What a file is prepared with."""

    read: ReadContent
    chunk: Callable[[Document], Sequence[Chunk]]
    embedder: Embedder

    def prepare(self, work: Work) -> Prepared | Failed:
        """Read and cut one file."""
        try:
            document = self.read(
                work.content,
                source=work.source,
                collection=work.collection,
                path=work.path,
                document_id=work.id,
            )
        except DocumentError as error:
            return work.failed(error.message)
        return Prepared(work.outcome, document, self.chunk(document))

    def embed(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Return the vectors of chunks, shape (len(chunks), dimension)."""
        if not chunks:
            return np.empty((0, 0), dtype=np.float32)
        return self.embedder.embed([chunk.context for chunk in chunks])


@dataclass(slots=True)
class _Filling:
    """A batch that is being filled."""

    chunks: list[Chunk] = field(default_factory=list)
    done: list[Prepared] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)


class Threads:
    """Prepares in this process: files are read ahead while those before them are embedded."""

    def __init__(self, parts: Parts, *, readers: int, batch_chunks: int = BATCH_CHUNKS) -> None:
        """Read `readers` files at a time, and embed `batch_chunks` chunks of any documents."""
        self._parts = parts
        self._readers = readers
        self._batch_chunks = batch_chunks

    def prepare(self, works: Iterable[Work]) -> Generator[Batch]:
        """Yield every file exactly once, as done or failed."""
        read = ahead(
            lambda work: (work.stored, self._parts.prepare(work)),
            works,
            threads=self._readers,
            depth=self._readers * FILES_AHEAD,
        )
        return ahead(self._embedded, self._batches(read), threads=1, depth=BATCHES_AHEAD)

    def _batches(
        self, read: Iterator[tuple[frozenset[str], Prepared | Failed]]
    ) -> Iterator[_Filling]:
        """Fill batches across documents; one with more chunks than a batch holds is spread."""
        filling, size = _Filling(), min(FIRST_CHUNKS, self._batch_chunks)
        for stored, one in read:
            if isinstance(one, Failed):
                filling.failed.append(one)
                continue
            for chunk in one.chunks:
                if chunk.id not in stored:
                    filling.chunks.append(chunk)
                if len(filling.chunks) == size:
                    yield filling
                    filling, size = _Filling(), min(2 * size, self._batch_chunks)
            filling.done.append(one)
            if len(filling.done) == self._batch_chunks:  # chunks that need no vector fill none
                yield filling
                filling = _Filling()
        yield filling

    def _embedded(self, filling: _Filling) -> Batch:
        rows = self._parts.embed(filling.chunks)
        return Batch(filling.chunks, rows, filling.done, filling.failed)
