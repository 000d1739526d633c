"""The index: registry and vectors kept in step."""

import logging
import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.document import Chunk, Document, Failed, Record
from ingest.embed import Embedder
from ingest.errors import MismatchError, StoreError
from ingest.registry import Registry
from ingest.stores.vectors import Vectors

WIDE = 4
"""A search kept to some documents looks at so many times as many chunks of all of them first."""

log = logging.getLogger(__name__)
REBUILD_CHUNKS = 512
LIKE = frozenset(("torch-f32", "openvino-f32", "openvino-bf16"))
"""Backends whose vectors of one text agree to a cosine of 0.9999, so that they may be mixed."""


class Scored(NamedTuple):
    """A chunk found, with the score of the search that found it."""

    chunk: Chunk
    score: float


class Index:
    """Stores documents with their chunks and finds chunks again, by meaning and by words."""

    def __init__(self, registry: Registry, vectors: Vectors, embedder: Embedder) -> None:
        self.registry = registry
        self.vectors = vectors
        self.embedder = embedder
        self._writing = threading.RLock()
        self._staged: set[str] = set()

    def stage(self, chunks: Sequence[Chunk], rows: NDArray[np.float32]) -> None:
        """Store the vectors of chunks, shape (len(chunks), dimension), ahead of their documents.

        No reader sees them before `put`. They are noted as pending first, so that a run that is
        killed leaves nothing that `repair` does not find.

        Raises:
            MismatchError: the index holds vectors of a backend that computes otherwise.
        """
        ids = [chunk.id for chunk in chunks]
        with self._writing:
            self._check_backend()
            self.registry.set_pending(ids)
            self.vectors.add(chunks, rows)
            self._staged.update(ids)

    def put(self, documents: Sequence[tuple[Document, Sequence[Chunk]]]) -> None:
        """Insert documents or replace them, all in one moment.

        Readers see the old version of each or the new one, never a mixture: what they see is what
        the registry lists. Vectors go in before its transaction, and those of chunks that left go
        after it.
        """
        with self._writing:
            for document, chunks in documents:
                if unstaged := [chunk for chunk in chunks if chunk.id not in self._staged]:
                    self._stage_missing(document.id, unstaged)
            gone = self.registry.put(documents)
            self._staged -= {chunk.id for _, chunks in documents for chunk in chunks}
            collections = {document.collection for document, _ in documents}
            self._forget(gone, collections.pop() if len(collections) == 1 else None)

    def fail(self, failed: Failed) -> None:
        """Note that a file could not be read; what an earlier version of it left is kept."""
        with self._writing:
            self.registry.fail(failed)

    def move(self, document_id: str, *, source: str, path: Path | None) -> None:
        """Note that the file of a document lies elsewhere now."""
        with self._writing:
            self.registry.move(document_id, source=source, path=path)

    def delete(self, document_id: str) -> Record:
        """Remove a document with all that was made of it.

        Raises:
            NotFoundError: there is no such document.
        """
        with self._writing:
            record, _, chunks = self.registry.document(document_id)
            ids = {chunk.id for chunk in chunks}
            self.registry.set_pending(ids)
            self.registry.remove(document_id)
            self._forget(ids, record.collection)
        return record

    def repair(self) -> int:
        """Remove vectors that an interrupted run left without a chunk; return how many.

        Not while a run is under way: what it has staged would be removed. A vector store that was
        torn is filled anew from the registry.

        Raises:
            StoreError: the index cannot be written.
        """
        with self._writing:
            if self.vectors.torn:
                self._rebuild()
            stray = self.registry.stray()
            self.vectors.remove(sorted(stray))
            self.registry.clear_pending(self.registry.pending())
            self._staged.clear()
            return len(stray)

    def _stage_missing(self, document_id: str, chunks: Sequence[Chunk]) -> None:
        """Stage those of `chunks` that the document's earlier version does not have either."""
        stored = self.registry.chunk_ids(document_id)
        if missing := [chunk for chunk in chunks if chunk.id not in stored]:
            self.stage(missing, self.embedder.embed([chunk.context for chunk in missing]))

    def check(self) -> None:
        """Make sure that both stores answer and that no vector was lost.

        Raises:
            StoreError: one is down, or there are fewer vectors than chunks.
        """
        self.vectors.collections()
        # Twice, because another process may delete between the two counts.
        short = self._short() and self._short()
        if short:
            collection, found, listed = short[0]
            raise StoreError(
                f"{self.vectors.place} holds {found} vectors of the {listed} passages in "
                f"collection {collection!r}: the others were lost.",
                hint="groundtune index reembed   (makes those that are missing)",
            )

    def _short(self) -> list[tuple[str, int, int]]:
        """Return the collections with fewer vectors than chunks, and how many of either."""
        counted = [
            (n, self.vectors.count(n), listed) for n, listed in self.registry.sizes().items()
        ]
        return [one for one in counted if one[1] < one[2]]

    def _check_backend(self) -> None:
        """Refuse to mix vectors of backends that do not compute alike."""
        first, ours = self.registry.fact("backend"), self.embedder.backend
        if first is None:
            self.registry.note("backend", ours)
        elif first != ours and not {first, ours} <= LIKE:
            raise MismatchError(
                f"The vectors of this index were made by {first}, and {ours} computes others.",
                hint="Set the earlier backend in [embedding], or ingest into a new home.",
            )

    def _rebuild(self) -> None:
        log.warning("The vectors were cut off while they were written; they are made anew.")
        with self.vectors.renewed():
            for collection in self.registry.sizes():
                for chunks in self.registry.pages(collection, size=REBUILD_CHUNKS):
                    self.vectors.add(chunks, self.embedder.embed([c.context for c in chunks]))

    def dense(
        self,
        query: str,
        *,
        collection: str,
        limit: int,
        documents: Collection[str] | None = None,
    ) -> list[Scored]:
        """Return the chunks nearest in meaning, nearest first; the score is the cosine, -1 to 1.

        `documents` are the ids of those that are searched; None is all of the collection, and an
        empty one finds nothing.
        """
        row = self.embedder.embed([query])[0]
        if documents:
            # A store takes long to look up what a list allows, and most lists leave little out.
            wide = self._near(row, collection, limit * WIDE, None)
            kept = set(documents)
            found = [scored for scored in wide if scored.chunk.document_id in kept][:limit]
            if len(found) == limit or len(wide) < limit * WIDE:
                return found
        return self._near(row, collection, limit, documents)

    def _near(
        self,
        row: NDArray[np.float32],
        collection: str,
        limit: int,
        documents: Collection[str] | None,
    ) -> list[Scored]:
        near = self.vectors.search(row, collection=collection, limit=limit, documents=documents)
        chunks = self.registry.chunks([n.chunk_id for n in near])
        return [Scored(chunks[n.chunk_id], n.similarity) for n in near if n.chunk_id in chunks]

    def lexical(
        self,
        query: str,
        *,
        collection: str,
        limit: int,
        documents: Collection[str] | None = None,
    ) -> list[Scored]:
        """Return the best chunks by BM25, best first; `documents` as in `dense`."""
        found = self.registry.search(query, collection=collection, limit=limit, documents=documents)
        return [Scored(chunk, score) for chunk, score in found]

    def _forget(self, gone: set[str], collection: str | None) -> None:
        """Remove the vectors of chunks that are listed no longer; None looks everywhere."""
        if gone:
            self.vectors.remove(sorted(gone), collection=collection)
            self.registry.clear_pending(gone)

    def close(self) -> None:
        """Let go of files and connections."""
        self.vectors.close()
        self.registry.close()
