"""Fusion: a dense and a lexical ranking become one."""

from collections.abc import Sequence

from assistant.hit import Hit
from ingest.document import Chunk
from ingest.index import Scored

UNSEEN = 0.8
"""Fitted with the weight, on two collections (`docs/design/retrieval.md`)."""
RRF_K = 60
"""Of reciprocal-rank fusion (Cormack, Clarke and Buettcher, 2009)."""


def fuse(
    dense: Sequence[Scored], lexical: Sequence[Scored], *, dense_weight: float, ranks: bool = True
) -> list[Hit]:
    """Merge both rankings by their scores and their ranks, each counting for a half.

    By scores (a convex combination; Bruch, Gai and Ingber, 2023) a chunk has
    w * cosine / best cosine + (1 - w) * BM25 / best BM25: how far the first is ahead of the second
    counts, which ranks would hide. A chunk that only words found takes `UNSEEN` of the last cosine
    of the dense ranking, which it cannot exceed; one that no word found takes 0. By ranks it has
    the mean of 61 / (60 + rank) in both rankings: one score that is out of all proportion cannot
    decide alone. Each is between 0 and 1. Ties keep the dense order.

    Args:
        dense: best first, scored by cosine.
        lexical: best first, scored by BM25.
        dense_weight: w, 0 to 1.
        ranks: False fuses by scores alone.
    """
    near = _Ranking(dense)
    words = _Ranking(lexical)
    unseen = UNSEEN * dense[-1].score if dense else 0.0
    hits = []
    for chunk_id, chunk in {**near.chunks, **words.chunks}.items():
        cosine = near.scores.get(chunk_id)
        bm25 = words.scores.get(chunk_id)
        similarity = max(unseen if cosine is None else cosine, 0.0) / near.best
        fused = dense_weight * similarity + (1 - dense_weight) * (bm25 or 0.0) / words.best
        places = near.ranks.get(chunk_id), words.ranks.get(chunk_id)
        if ranks:
            by_rank = sum((1 + RRF_K) / (place + RRF_K) for place in places if place) / 2
            fused = (fused + by_rank) / 2
        hits.append(
            Hit(
                chunk,
                score=fused,
                similarity=cosine,
                dense_rank=places[0],
                bm25=bm25,
                bm25_rank=places[1],
                fused=fused,
            )
        )
    return sorted(hits, key=lambda hit: -hit.score)


class _Ranking:
    """A ranking by chunk id."""

    def __init__(self, ranking: Sequence[Scored]) -> None:
        self.chunks: dict[str, Chunk] = {found.chunk.id: found.chunk for found in ranking}
        self.scores = {found.chunk.id: found.score for found in ranking}
        self.ranks = {found.chunk.id: rank for rank, found in enumerate(ranking, start=1)}
        self.best = max([*self.scores.values(), 1e-9])  # nothing found: whatever is divided is 0
