"""Hybrid search: a dense and a lexical ranking, fused."""

from collections.abc import Sequence
from dataclasses import dataclass

from ingest.document import Chunk
from ingest.index import Index, Scored


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk found for a question."""

    chunk: Chunk
    score: float
    """Fused; higher is better, comparable within one result list only."""
    similarity: float | None
    """Cosine to the question, -1 to 1; None where only the words matched."""


def fuse(rankings: Sequence[Sequence[Chunk]], *, rrf_k: int) -> list[tuple[Chunk, float]]:
    """Merge rankings by reciprocal rank (Cormack, Clarke and Büttcher, 2009).

    A chunk scores the sum over rankings of 1 / (rrf_k + rank), rank counted from 1. Scores of the
    rankings are ignored, so BM25 and cosine need no common scale. Ties keep first-seen order.
    """
    scores: dict[str, float] = {}
    chunks: dict[str, Chunk] = {}
    for ranking in rankings:
        for rank, chunk in enumerate(ranking, start=1):
            chunks.setdefault(chunk.id, chunk)
            scores[chunk.id] = scores.get(chunk.id, 0.0) + 1 / (rrf_k + rank)
    best = sorted(scores, key=lambda chunk_id: -scores[chunk_id])
    return [(chunks[chunk_id], scores[chunk_id]) for chunk_id in best]


class Retriever:
    """Finds passages for a question."""

    def __init__(self, index: Index, *, candidates: int, rrf_k: int) -> None:
        """Search `index`; each ranking contributes `candidates` chunks."""
        self._index = index
        self._candidates = candidates
        self._rrf_k = rrf_k

    def search(self, question: str, *, k: int, collection: str = "default") -> list[Hit]:
        """Return at most `k` hits, best first. An empty collection finds nothing."""
        limit = max(k, self._candidates)
        dense = self._index.dense(question, collection=collection, limit=limit)
        lexical = self._index.lexical(question, collection=collection, limit=limit)
        similarity = {scored.chunk.id: scored.score for scored in dense}
        fused = fuse([_chunks(dense), _chunks(lexical)], rrf_k=self._rrf_k)
        return [Hit(chunk, score, similarity.get(chunk.id)) for chunk, score in fused[:k]]


def _chunks(ranking: Sequence[Scored]) -> list[Chunk]:
    return [scored.chunk for scored in ranking]
