"""Neighbours: a passage grows by those that stand before and behind it in its document."""

from collections.abc import Sequence
from dataclasses import replace

from assistant.hit import Hit
from ingest.document import Chunk
from ingest.index import Index


def widen(hits: Sequence[Hit], index: Index, *, budget: int) -> list[Hit]:
    """Return the hits, each grown by its neighbours to at most `budget` of the embedder's tokens.

    `document.text[start:end] == text` still holds. A passage keeps its id, headings and page, which
    are those of the part that was found. One that lies within a better one is not shown again.
    A `budget` of 0 changes nothing.
    """
    if not budget:
        return list(hits)
    widened: list[Hit] = []
    for hit in hits:
        if not any(_within(hit.chunk, other.chunk) for other in widened):
            widened.append(replace(hit, chunk=_grown(hit.chunk, index, budget)))
    return widened


def _within(chunk: Chunk, other: Chunk) -> bool:
    same = chunk.document_id == other.document_id
    return same and other.start <= chunk.start and chunk.end <= other.end


def _grown(chunk: Chunk, index: Index, budget: int) -> Chunk:
    """Add a neighbour behind, then one before, in turns, until none fits."""
    _, text, chunks = index.registry.document(chunk.document_id)
    first = last = next(n for n, other in enumerate(chunks) if other.id == chunk.id)
    start, end = chunk.start, chunk.end
    behind = before = True
    while behind or before:
        behind = behind and last + 1 < len(chunks)
        if behind:
            further = max(end, chunks[last + 1].end)
            behind = len(index.embedder.tokenize(text[start:further])) <= budget
            if behind:
                last, end = last + 1, further
        before = before and first > 0
        if before:
            further = min(start, chunks[first - 1].start)
            before = len(index.embedder.tokenize(text[further:end])) <= budget
            if before:
                first, start = first - 1, further
    return replace(chunk, start=start, end=end, text=text[start:end])
