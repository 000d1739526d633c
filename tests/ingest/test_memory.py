"""The memory of an ingestion does not grow with what is in the index."""

import multiprocessing
from pathlib import Path

from tests.bench.memory import grow


def measured(place: Path) -> list[int]:
    return [grown.resident_mb for grown in grow("nowhere", place, [1_000, 4_000, 16_000])]


def test_our_memory_stays_flat_while_the_index_grows(tmp_path: Path) -> None:
    # In a process of its own, whose memory nothing else touches. What a vector store keeps for
    # itself is left out: `python -m tests.bench.memory` measures it beside ours.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        first, *later = pool.apply(measured, [tmp_path])
    # 15,000 chunks more are 23 MB of vectors alone.
    assert max(later) <= first + 12, [first, *later]
