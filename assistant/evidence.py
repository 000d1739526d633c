"""Evidence: which of the passages found go into the prompt, and in which order."""

from collections.abc import Sequence

from assistant.answer import Evidence
from assistant.hit import Hit
from assistant.prompt import Passage
from ingest.document import Chunk


def passage(chunk: Chunk) -> Passage:
    """Return a chunk as the model sees it."""
    return Passage(" > ".join(part for part in (chunk.title, chunk.heading) if part), chunk.text)


def evidence_of(hits: Sequence[Hit]) -> tuple[Evidence, ...]:
    """Number the hits from 1 in the order they are shown: best first."""
    return tuple(
        Evidence(
            marker=marker,
            chunk_id=hit.chunk.id,
            document_id=hit.chunk.document_id,
            source=hit.chunk.source,
            title=hit.chunk.title,
            heading=hit.chunk.heading,
            page=hit.chunk.page,
            start=hit.chunk.start,
            end=hit.chunk.end,
            text=hit.chunk.text,
            score=hit.score,
        )
        for marker, hit in enumerate(hits, start=1)
    )


def too_weak(hits: Sequence[Hit], *, min_similarity: float) -> bool:
    """Return whether no hit is similar enough to the question to be worth asking the model."""
    similarities = [hit.similarity for hit in hits if hit.similarity is not None]
    return max(similarities, default=-1.0) < min_similarity
