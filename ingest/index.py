"""The index: registry and vectors kept in step."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from ingest.document import Chunk, Document, Record
from ingest.embed import Embedder
from ingest.registry import Registry
from ingest.vectors import ChromaVectors


class Scored(NamedTuple):
    """A chunk found, with the score of the search that found it."""

    chunk: Chunk
    score: float


class Index:
    """Stores documents with their chunks and finds chunks again, by meaning and by words."""

    def __init__(self, registry: Registry, vectors: ChromaVectors, embedder: Embedder) -> None:
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
        self.vectors.remove(sorted(old - new))
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
        self.vectors.remove(ids)
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
        near = self.vectors.search(
            self.embedder.embed([query])[0],
            collection=collection,
            limit=limit,
            documents=documents,
        )
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
        """Let go of the files."""
        self.registry.close()
