"""Hybrid search: a dense and a lexical ranking, fused; then the sentences that matter."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from assistant.duplicates import collapse
from assistant.filters import Filters, matching
from assistant.fusion import fuse
from assistant.hit import Dropped, Findings, Hit
from assistant.neighbours import widen
from assistant.rerank import Reranker, rerank
from assistant.sentence import rank_sentences
from assistant.versions import Versions
from ingest.embed import Embedder
from ingest.index import Index


class Retriever:
    """Finds passages for a question, and the sentences in them that speak to it."""

    def __init__(
        self,
        index: Index,
        *,
        candidates: int,
        dense_weight: float,
        sentences: int,
        embedder: Embedder | None = None,
        reranker: Reranker | None = None,
        rerank_candidates: int = 30,
        neighbour_tokens: int = 0,
    ) -> None:
        """Search `index`.

        Args:
            index: what to search.
            candidates: chunks that each ranking contributes.
            dense_weight: what the cosine counts for among the scores, 0 to 1; BM25 has the rest.
            sentences: sentences that `evidence` keeps; 0 keeps whole passages.
            embedder: compares questions with sentences; None takes the index's own.
            reranker: ranks the candidates again; None leaves them as they are fused.
            rerank_candidates: how many of the fused candidates it reads.
            neighbour_tokens: passages grow by their neighbours up to so many tokens; 0 leaves them.
        """
        self._index = index
        self._candidates = candidates
        self._dense_weight = dense_weight
        self._sentences = sentences
        self._embedder = embedder or index.embedder
        self._reranker = reranker
        self._rerank_candidates = rerank_candidates
        self._neighbour_tokens = neighbour_tokens
        self._versions = Versions(index.registry)

    def close(self) -> None:
        """Let go of what it watches."""
        self._versions.close()

    def documents(self, *, collection: str, filters: Filters | None = None) -> int:
        """Return how many documents a search looks through."""
        records = self._index.registry.documents(collection)
        return len(matching(records, filters or {}, collection))

    def search(
        self,
        question: str,
        *,
        k: int,
        collection: str = "default",
        filters: Filters | None = None,
        include_superseded: bool = False,
    ) -> list[Hit]:
        """Return at most `k` passages, best first; as `find`, without what was left out."""
        found = self.find(
            question,
            k=k,
            collection=collection,
            filters=filters,
            include_superseded=include_superseded,
        )
        return list(found.hits)

    def find(
        self,
        question: str,
        *,
        k: int,
        collection: str = "default",
        filters: Filters | None = None,
        include_superseded: bool = False,
        ranks: bool = True,
    ) -> Findings:
        """Return at most `k` passages, best first, and what was found above them but left out.

        A passage that stands in several documents is shown once. Passages of a document that
        another one supersedes are left out as long as that one is among those searched; with
        `include_superseded` they are shown behind the current ones. An empty collection finds
        nothing. `ranks=False` fuses by scores alone.

        Raises:
            UsageError: documents cannot be filtered so.
            NotFoundError: no document fits the filters.
        """
        documents = None
        if filters:
            records = self._index.registry.documents(collection)
            documents = matching(records, filters, collection)
        limit = max(k, self._candidates)
        while True:
            ranked = self.rank(
                question, limit=limit, collection=collection, documents=documents, ranks=ranks
            )
            labelled = self._label(ranked, collection, documents)
            found = _select(labelled, k=k, include_superseded=include_superseded)
            # What is left out makes room: look further down, unless that is all there is.
            if len(found.hits) >= k or len(ranked) < limit:
                break
            limit *= 2
        hits = widen(found.hits, self._index, budget=self._neighbour_tokens)
        return replace(found, hits=hits)

    def rank(
        self,
        question: str,
        *,
        limit: int,
        collection: str = "default",
        documents: Collection[str] | None = None,
        ranks: bool = True,
    ) -> list[Hit]:
        """Return the `limit` best passages of each ranking, fused, and ranked again if so set."""
        dense = self._index.dense(question, collection=collection, limit=limit, documents=documents)
        lexical = self._index.lexical(
            question, collection=collection, limit=limit, documents=documents
        )
        hits = fuse(dense, lexical, dense_weight=self._dense_weight, ranks=ranks)
        if self._reranker is None:
            return hits
        return rerank(question, hits, self._reranker, candidates=self._rerank_candidates)

    def _label(
        self, hits: Sequence[Hit], collection: str, documents: Collection[str] | None
    ) -> list[Hit]:
        """Return the hits, with the newer document named where one is searched as well."""
        newer = self._versions.superseded(collection)
        labelled = []
        for hit in hits:
            newest = newer.get(hit.chunk.document_id)
            if newest is not None and (documents is None or newest.id in documents):
                hit = replace(hit, superseded_by=newest.source)
            labelled.append(hit)
        return labelled

    def evidence(
        self,
        question: str,
        *,
        k: int,
        collection: str = "default",
        spare: int = 0,
        filters: Filters | None = None,
        include_superseded: bool = False,
    ) -> list[Hit]:
        """Return what the model is shown, best first: the best sentences of `k` passages.

        `spare` more follow behind those that are shown. How sentences are ranked is in
        `rank_sentences`; where they are off, whole passages are shown.

        Sentences are taken from the best passages by scores alone: with ranks a document is found
        as well, and its passage with the fact a little less often.
        """
        found = self.find(
            question,
            k=k + (0 if self._sentences else spare),
            collection=collection,
            filters=filters,
            include_superseded=include_superseded,
            ranks=not self._sentences,
        )
        hits = list(found.hits)
        if not self._sentences or not hits:
            return hits
        ranked = rank_sentences(question, hits, self._embedder)
        return ranked[: self._sentences + spare]


def _select(hits: Sequence[Hit], *, k: int, include_superseded: bool) -> Findings:
    """Return the `k` best of the hits that are to be shown, and what was above them."""
    current = [hit for hit in hits if hit.superseded_by is None]
    old = [hit for hit in hits if hit.superseded_by is not None]
    if include_superseded:
        # Of two like passages the current one is shown, wherever the other was ranked.
        copies = {hit.chunk.id: hit for hit in collapse([*current, *old], k=len(hits)).hits}
        kept = [copies[hit.chunk.id] for hit in hits if hit.chunk.id in copies][:k]
        return Findings(sorted(kept, key=lambda hit: hit.superseded_by is not None))
    found = collapse(current, k=k)
    dropped = [*found.dropped, *(Dropped(hit, "superseded", str(hit.superseded_by)) for hit in old)]
    return Findings(found.hits, _above(dropped, found.hits))


def _above(dropped: Sequence[Dropped], shown: Sequence[Hit]) -> list[Dropped]:
    """Return those that would have been shown, best first."""
    worst = min((hit.score for hit in shown), default=float("-inf"))
    return sorted((d for d in dropped if d.hit.score >= worst), key=lambda d: -d.hit.score)
