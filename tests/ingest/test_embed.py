from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ingest.embed import CachedEmbedder
from tests.fakes import HashEmbedder


class Counting(HashEmbedder):
    """Remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        return super().embed(texts)


def test_remembered_vectors_are_the_models_own() -> None:
    cached = CachedEmbedder(HashEmbedder())
    texts = ["the pump", "the ring", "the pump"]
    for _ in range(2):
        assert np.array_equal(cached.embed(texts), HashEmbedder().embed(texts))


def test_a_text_is_embedded_once() -> None:
    embedder = Counting()
    cached = CachedEmbedder(embedder)
    cached.embed(["a", "b", "a"])
    cached.embed(["b", "c"])
    assert embedder.asked == ["a", "b", "c"]


def test_the_texts_used_last_are_kept() -> None:
    embedder = Counting()
    cached = CachedEmbedder(embedder, capacity=2)
    for texts in (["a", "b"], ["a"], ["c"], ["a"], ["b"]):
        cached.embed(texts)
    assert embedder.asked == ["a", "b", "c", "b"]


def test_one_call_may_ask_for_more_than_is_kept() -> None:
    cached = CachedEmbedder(HashEmbedder(), capacity=1)
    texts = ["a", "b", "c"]
    assert np.array_equal(cached.embed(texts), HashEmbedder().embed(texts))
