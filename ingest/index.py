"""The index: registry and vectors kept in step."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.document import Chunk, Document, Record
from ingest.embed import Embedder
from ingest.errors import StoreError
from ingest.registry import Registry
from ingest.stores.vectors import Vectors

WIDE = 4
"""A search kept to some documents looks at so many times as many chunks of all of them first."""


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

    def put(self, document: Document, chunks: Sequence[Chunk]) -> None:
        """Insert a document or replace it. Readers see the old one or the new one, never a mixture.

        Vectors go in before the registry's transaction and the old ones leave after it; those in
        between are noted as pending, so that a run that is killed leaves nothing that `repair`
        does not find.
        """
        old = self.registry.chunk_ids(document.id)
        new = {chunk.id for chunk in chunks}
        fresh = [chunk for chunk in chunks if chunk.id not in old]
        rows = self.embedder.embed([chunk.context for chunk in fresh]) if fresh else None
        in_doubt = old ^ new
        self.registry.set_pending(in_doubt)
        if rows is not None:
            self.vectors.add(fresh, rows)
        self.registry.put(document, chunks)
        self.vectors.remove(sorted(old - new), collection=document.collection)
        self.registry.clear_pending(in_doubt)

    def delete(self, document_id: str) -> Record:
        """Remove a document with all that was made of it.

        Raises:
            NotFoundError: there is no such document.
        """
        record, _, chunks = self.registry.document(document_id)
        ids = [chunk.id for chunk in chunks]
        self.registry.set_pending(ids)
        self.registry.remove(document_id)
        self.vectors.remove(ids, collection=record.collection)
        self.registry.clear_pending(ids)
        return record

    def repair(self) -> int:
        """Remove vectors that an interrupted run left without a chunk; return how many."""
        pending = self.registry.pending()
        if not pending:
            return 0
        stray = sorted(pending - self.registry.chunks(sorted(pending)).keys())
        self.vectors.remove(stray)
        self.registry.clear_pending(pending)
        return len(stray)

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

    def close(self) -> None:
        """Let go of files and connections."""
        self.vectors.close()
        self.registry.close()
