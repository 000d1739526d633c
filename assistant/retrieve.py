"""Hybrid search: a dense and a lexical ranking, fused; then the sentences that matter."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import log

from ingest.document import Chunk, Span
from ingest.embed import Embedder
from ingest.index import Index, Scored

SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"(])|\n+")
WORD = re.compile(r"[^\W_]+(?:[-.,/·][^\W_]+)*")
"""A word, a number with its unit's dot, or a code with its hyphens."""
BONUS = 0.3
RANK_OFFSET = 3
"""A sentence of the best passage gains 1/3 on one that was not found, of the second 1/4, ..."""


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


def sentences(text: str) -> list[Span]:
    """Return where the sentences of `text` stand; a line of a table or a list is one."""
    spans = []
    start = 0
    for end in SENTENCE_END.finditer(text):
        if text[start : end.start()].strip():
            spans.append(Span(start, end.start()))
        start = end.end()
    if text[start:].strip():
        spans.append(Span(start, len(text)))
    return spans


class Retriever:
    """Finds passages for a question, and the sentences in them that speak to it."""

    def __init__(
        self,
        index: Index,
        *,
        candidates: int,
        rrf_k: int,
        sentences: int,
        embedder: Embedder | None = None,
    ) -> None:
        """Search `index`.

        Args:
            index: what to search.
            candidates: chunks that each ranking contributes.
            rrf_k: rank offset of the fusion.
            sentences: sentences that `evidence` keeps; 0 keeps whole passages.
            embedder: compares questions with sentences; None takes the index's own.
        """
        self._index = index
        self._candidates = candidates
        self._rrf_k = rrf_k
        self._sentences = sentences
        self._embedder = embedder or index.embedder

    def search(self, question: str, *, k: int, collection: str = "default") -> list[Hit]:
        """Return at most `k` passages, best first. An empty collection finds nothing."""
        limit = max(k, self._candidates)
        dense = self._index.dense(question, collection=collection, limit=limit)
        lexical = self._index.lexical(question, collection=collection, limit=limit)
        similarity = {scored.chunk.id: scored.score for scored in dense}
        fused = fuse([_chunks(dense), _chunks(lexical)], rrf_k=self._rrf_k)
        return [Hit(chunk, score, similarity.get(chunk.id)) for chunk, score in fused[:k]]

    def evidence(
        self, question: str, *, k: int, collection: str = "default", spare: int = 0
    ) -> list[Hit]:
        """Return what the model is shown, best first: the best sentences of `k` passages.

        A small model copies a fact well and picks the right one of many badly, so the picking is
        left to the embedding model. A sentence scores twice its cosine to the question, title and
        headings included, plus 1 / (3 + rank of its passage), plus 0.3 for each code of the
        question in it, which vectors hardly tell apart, plus 0.3 if it brings a number that
        neither the question nor the title holds: what is asked is news; plus 0.3 times the share
        of the question's words in it, rare ones weighing more. `spare` more follow behind those
        that are shown.
        """
        hits = self.search(question, k=k + (0 if self._sentences else spare), collection=collection)
        if not self._sentences or not hits:
            return hits
        cut = list(_cut(hits))
        rows = self._embedder.embed([question, *(hit.chunk.context for _, hit in cut)])
        near = rows[1:] @ rows[0]  # (len(cut),)
        shared = shared_words(question, [hit.chunk.context for _, hit in cut])
        scored = [
            replace(
                hit,
                score=2 * float(cosine)
                + 1 / (RANK_OFFSET + rank)
                + BONUS * (_telling(question, hit.chunk) + share),
            )
            for (rank, hit), cosine, share in zip(cut, near, shared, strict=True)
        ]
        scored.sort(key=lambda hit: -hit.score)
        return scored[: self._sentences + spare]


def _telling(question: str, chunk: Chunk) -> int:
    """Count the question's codes in the chunk, and one more for a number that is new in it."""
    asked, said = _numbers(question), _numbers(chunk.text)
    codes = sum(len(word) > 3 for word in asked & said)  # E-433 means one thing, 20 means many
    return codes + bool(said - asked - _numbers(chunk.title))


def shared_words(question: str, texts: Sequence[str]) -> list[float]:
    """Return which share of the question's words each text holds, 0 to 1.

    A word weighs ln((n + 1) / (holders + 0.5)): a product's name that is in every text tells them
    apart as little as "the". Words that no text holds do not count.
    """
    held = [_words(text) for text in texts]
    weights = {
        word: log((len(texts) + 1) / (holders + 0.5))
        for word in _words(question)
        if (holders := sum(word in words for words in held))
    }
    total = sum(weights.values()) or 1
    return [sum(weights[word] for word in weights.keys() & words) / total for words in held]


def _numbers(text: str) -> set[str]:
    return {word for word in _words(text) if any(c.isdigit() for c in word)}


def _words(text: str) -> set[str]:
    return {word.casefold() for word in WORD.findall(text)}


def _cut(hits: Sequence[Hit]) -> Iterator[tuple[int, Hit]]:
    """Yield the sentences of the hits with their passage's rank from 0, none of them twice."""
    seen: list[str] = []
    for rank, hit in enumerate(hits):
        for span in sentences(hit.chunk.text):
            text = hit.chunk.text[span.start : span.end]
            # Neighbouring chunks overlap: a sentence can be whole in one and torn in the other.
            if any(text in other or other in text for other in seen):
                continue
            seen.append(text)
            start, end = hit.chunk.start + span.start, hit.chunk.start + span.end
            yield rank, replace(hit, chunk=replace(hit.chunk, text=text, start=start, end=end))


def _chunks(ranking: Sequence[Scored]) -> list[Chunk]:
    return [scored.chunk for scored in ranking]
