"""Evidence: which of the passages found go into the prompt, and whether they are enough."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from assistant.answer import Evidence, Place, Searched
from assistant.hit import Hit
from assistant.prompt import Passage
from assistant.strength import Calibration, features
from ingest.document import Chunk

NEAREST = 3
"""Documents named where the evidence is not enough."""


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


class Verdict(NamedTuple):
    """Whether the evidence is worth asking the model."""

    enough: bool
    strength: float | None
    """How likely the evidence is to be enough, 0 to 1; None without a calibration."""


class Judge:
    """Decides whether evidence is enough: by a calibration, else by how similar the best is."""

    def __init__(
        self,
        *,
        min_similarity: float,
        calibration: Callable[[str], Calibration | None] = lambda collection: None,
        count: Callable[[str, str, int], int] = lambda collection, word, limit: 0,
    ) -> None:
        """Judge by what is known of a collection.

        Args:
            min_similarity: of the best hit (cosine), where a collection has no calibration.
            calibration: collection -> its calibration.
            count: (collection, word, limit) -> how many passages hold the word, at most `limit`.
        """
        self._min_similarity = min_similarity
        self._calibration = calibration
        self._count = count

    def verdict(self, question: str, hits: Sequence[Hit], collection: str) -> Verdict:
        """Judge the evidence `hits` for `question`; no evidence is never enough."""
        calibration = self._calibration(collection)
        if calibration is None:
            similar = [hit.similarity for hit in hits if hit.similarity is not None]
            return Verdict(max(similar, default=-1.0) >= self._min_similarity, None)
        strength = calibration.strength(self.features(question, hits, collection))
        return Verdict(bool(hits) and strength >= calibration.threshold, strength)

    def features(self, question: str, hits: Sequence[Hit], collection: str) -> dict[str, float]:
        """Return what a calibration judges by."""
        return features(question, hits, lambda word, limit: self._count(collection, word, limit))


def searched(hits: Sequence[Hit], *, collection: str, documents: int) -> Searched:
    """Return what was looked through in vain: how many documents, and the nearest of them."""
    first = {hit.chunk.document_id: hit for hit in reversed(hits)}
    nearest = tuple(
        Place(hit.chunk.document_id, hit.chunk.source, hit.chunk.title, hit.similarity)
        for hit in [first[i] for i in dict.fromkeys(hit.chunk.document_id for hit in hits)][
            :NEAREST
        ]
    )
    return Searched(collection, documents, nearest)
