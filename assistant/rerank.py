"""Rerank: a cross-encoder reads question and passage together and puts the best first."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from assistant.hit import Hit
from ingest.errors import ConfigError


class Reranker(Protocol):
    """Judges how well each of several texts answers a question."""

    name: str

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return one number a text, in the order given; higher is better."""
        ...


class CrossEncoderReranker:
    """A sentence-transformers CrossEncoder."""

    def __init__(self, name: str, path: Path) -> None:
        """Load the model `name` from `path`, a folder or a Hugging Face repository.

        Raises:
            ConfigError: it classifies pairs and does not rank them.
        """
        from sentence_transformers import CrossEncoder

        self.name = name
        self._model: Any = CrossEncoder(str(path), local_files_only=path.exists())
        labels = self._model.num_labels
        if labels != 1:
            raise ConfigError(
                f"retrieval.rerank = {name!r} gives {labels} scores a pair; one is needed.",
                hint="Name a model that ranks, such as hf:cross-encoder/ms-marco-MiniLM-L6-v2",
            )

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return one number a text, in the order given; higher is better."""
        pairs = [(question, text) for text in texts]
        # In a thread that ends with it, for the reason that `ingest/embed.py` gives.
        with ThreadPoolExecutor(1) as pool:
            rows = pool.submit(self._model.predict, pairs, show_progress_bar=False).result()
        return [float(score) for score in rows]


def rerank(question: str, hits: Sequence[Hit], reranker: Reranker, *, candidates: int) -> list[Hit]:
    """Return the best `candidates` hits by what the reranker says of them, best first.

    It becomes their score. The others follow in the order that they had, their scores below.
    """
    read, unread = hits[:candidates], hits[candidates:]
    scores = reranker.scores(question, [hit.chunk.context for hit in read]) if read else []
    ranked = [replace(hit, score=s, rerank=s) for hit, s in zip(read, scores, strict=True)]
    ranked.sort(key=lambda hit: -hit.score)
    floor = ranked[-1].score if ranked else 0.0
    behind = [replace(hit, score=floor - place) for place, hit in enumerate(unread, start=1)]
    return [*ranked, *behind]
