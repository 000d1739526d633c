"""What a search finds: a passage, and how it came to stand where it stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ingest.document import Chunk


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk found for a question."""

    chunk: Chunk
    score: float
    """Higher is better, comparable within one result list only."""
    similarity: float | None
    """Cosine to the question, -1 to 1; None where only the words matched."""
    dense_rank: int | None = None
    """Place in the dense ranking, from 1; None where only the words matched."""
    bm25: float | None = None
    """BM25 score, above 0; None where no word matched."""
    bm25_rank: int | None = None
    """Place in the BM25 ranking, from 1."""
    fused: float = 0.0
    """The two rankings as one number; `score`, where nothing ranks again."""
    rerank: float | None = None
    """The cross-encoder's score; None where there is none."""
    copies: tuple[Chunk, ...] = ()
    """The same passage, or nearly the same, in other documents."""
    superseded_by: str | None = None
    """Source of the newest document that takes this one's place; None where it is current."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A passage that was found and is not shown."""

    hit: Hit
    why: Literal["duplicate", "superseded"]
    by: str
    """Source of the document that is shown instead."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a search shows, best first, and what it leaves out."""

    hits: Sequence[Hit]
    dropped: Sequence[Dropped] = ()
