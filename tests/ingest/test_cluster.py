"""Ingestion on a real Ray cluster of two nodes on this machine."""

import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ingest.chunk import Chunker
from ingest.errors import UsageError
from ingest.files import find_files
from ingest.index import Index
from ingest.pipeline import Pipeline
from ingest.prepare import Parts
from ingest.read import read_document
from ingest.registry import Registry
from ingest.stores.chroma import ChromaVectors
from ingest.tally import FileResult, Tally
from tests.fakes import HashEmbedder, small_pipeline
from tests.ingest.killable import content

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


class SlowEmbedder(HashEmbedder):
    """Takes its time, so that a node can be lost in the middle of its work."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        time.sleep(0.1)
        return super().embed(texts)


def make(loads: Path) -> Parts:
    """Return the parts, and note in the folder `loads` which process asked for them."""
    (loads / f"{os.getpid()}-{time.monotonic_ns()}").touch()
    chunker = Chunker(HashEmbedder().tokenize, chunk_tokens=64, chunk_overlap=8, max_tokens=256)
    return Parts(read_document, chunker.chunk, SlowEmbedder())


@pytest.fixture
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    args = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=args)
    yield cluster
    cluster.shutdown()


def opened(home: Path) -> Index:
    return Index(Registry(home / "s.sqlite"), ChromaVectors(home / "v"), HashEmbedder())


def test_a_cluster_that_loses_a_node_makes_the_same_index(cluster: Any, tmp_path: Path) -> None:
    from ingest.cluster import RayCluster

    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(60):
        text = f"# Part {number}\n\nIt is blue.\n\n## Care\n\nOil it every {number} days."
        (docs / f"{number:02}.md").write_text(text, encoding="utf-8")
    (docs / "broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    second = cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    cluster.wait_for_nodes(timeout=180)
    through: list[FileResult] = []

    def lose(_: str, result: FileResult) -> None:
        if len(through) == 10:
            cluster.remove_node(second, allow_graceful=False)
        through.append(result)

    def ingest(index: Index, pipeline: Pipeline, **rest: Any) -> Tally:
        return pipeline.run(find_files([str(docs)]), collection="default", **rest)

    alone, shared = opened(tmp_path / "alone"), opened(tmp_path / "shared")
    expected = ingest(alone, small_pipeline(alone))
    loads = tmp_path / "loads"
    loads.mkdir()
    preparation = RayCluster(cluster.address, partial(make, loads), task_files=4)
    tally = ingest(shared, Pipeline(shared, preparation, max_file_mb=1), on_file=lose)
    assert (tally.added, tally.chunks) == (expected.added, expected.chunks) == (60, 120)
    assert tally.failed == expected.failed
    assert len(through) == 61
    assert content(shared) == content(alone)
    workers = [path.name.partition("-")[0] for path in loads.iterdir()]
    assert len(workers) == len(set(workers)), "a worker loads the model once a run"
    for index in (alone, shared):
        index.close()


@pytest.mark.parametrize("address", ["nonsense://x", "127.0.0.1:1", "127.0.0.1:99999"])
def test_a_cluster_that_is_not_there_is_named(address: str, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from ingest.cluster import RayCluster

    index = opened(tmp_path)
    (tmp_path / "a.md").write_text("# A\n\nText.", encoding="utf-8")
    pipeline = Pipeline(index, RayCluster(address, partial(make, tmp_path)), max_file_mb=1)
    with pytest.raises(UsageError, match="no Ray cluster"):
        pipeline.run(find_files([str(tmp_path / "a.md")]), collection="default")
    index.close()
