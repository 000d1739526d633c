import pytest

from assistant.retrieve import fuse
from ingest.document import Chunk


def chunks(*names: str) -> list[Chunk]:
    return [Chunk(n, "d", "c", "s.md", "T", (), None, 0, 1, n, 0) for n in names]


def test_fuse_prefers_the_chunk_that_both_rankings_found() -> None:
    fused = fuse([chunks("a", "b"), chunks("b", "c")], rrf_k=60)
    assert [chunk.id for chunk, _ in fused] == ["b", "a", "c"]
    assert fused[0][1] == pytest.approx(1 / 62 + 1 / 61)


def test_fuse_of_nothing_is_nothing() -> None:
    assert fuse([], rrf_k=60) == []
