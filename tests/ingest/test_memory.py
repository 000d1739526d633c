"""The memory of an ingestion does not grow with what is in the index."""

import multiprocessing
from pathlib import Path

import pytest

from tests.bench.memory import grow

GRAPH_CHUNKS = 2_000
"""A full graph of so many takes 4 MB, and two are held at most."""


def measured(kind: str, place: Path) -> list[int]:
    sizes = [1_000, 4_000, 16_000]
    return [one.resident_mb for one in grow(kind, place, sizes, GRAPH_CHUNKS)]


@pytest.mark.parametrize("kind", ["nowhere", "folder"])
def test_memory_stays_flat_while_the_index_grows(kind: str, tmp_path: Path) -> None:
    # In a process of its own, whose memory nothing else touches. Without a vector store it is what
    # is ours; with a Chroma folder all that there is (`python -m tests.bench.memory` for more).
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        first, *later = pool.apply(measured, [kind, tmp_path])
    # 15,000 chunks more are 23 MB of vectors alone, and 33 MB in one graph.
    assert max(later) <= first + 16, [first, *later]
