"""A disk that is full, a folder that may not be written: refused by name, and nothing lost."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.errors import StoreError
from ingest.files import find_files
from ingest.index import Index
from ingest.registry import Registry
from ingest.stores.chroma import GRAPH_CHUNKS, ChromaVectors
from tests.fakes import HashEmbedder, small_pipeline


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "groundtune-test", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def remount(disk: Path, option: str) -> None:
    """Mount it otherwise, once Chroma's threads have let go of its files."""
    mount = ["mount", "-o", f"remount,{option}", str(disk)]
    until = time.monotonic() + 30
    while subprocess.run(mount, capture_output=True).returncode != 0:
        assert time.monotonic() < until, mount
        time.sleep(0.1)


def opened(home: Path, graph_chunks: int = GRAPH_CHUNKS) -> Index:
    vectors = ChromaVectors(home / "v", graph_chunks=graph_chunks)
    return Index(Registry(home / "s.sqlite"), vectors, HashEmbedder())


def write(docs: Path, numbers: range) -> None:
    docs.mkdir(exist_ok=True)
    for number in numbers:
        text = f"# Part {number}\n\nPart {number} is blue.\n\n## Care\n\n" + "Oil it. " * 200
        (docs / f"{number:03}.md").write_text(text, encoding="utf-8")


def whole(index: Index) -> set[str]:
    """Return the sources of the documents, each of which must have all that belongs to it."""
    vectors = index.vectors.ids()
    for record in index.registry.documents():
        ids = index.registry.chunk_ids(record.id)
        assert len(ids) > 1
        assert ids <= vectors
    return {record.source for record in index.registry.documents()}


@pytest.mark.parametrize("graph_chunks", [GRAPH_CHUNKS, 48])
def test_a_full_disk_is_named_and_what_was_stored_is_kept(
    small_disk: Path, tmp_path: Path, graph_chunks: int
) -> None:
    docs = tmp_path / "docs"
    write(docs, range(4))
    index = opened(small_disk, graph_chunks)
    small_pipeline(index).run(find_files([str(docs)]), collection="default")
    write(docs, range(4, 60))
    with pytest.raises(StoreError, match=r"(?i)full|no space") as caught:
        small_pipeline(index).run(find_files([str(docs)]), collection="default")
    assert "is kept" in caught.value.hint
    stored = {record.source for record in index.registry.documents()}
    assert {f"{n:03}.md" for n in range(4)} <= stored
    assert index.lexical("blue", collection="default", limit=4)
    index.close()
    remount(small_disk, "size=400m")
    again = opened(small_disk, graph_chunks)
    assert whole(again) == stored
    small_pipeline(again).run(find_files([str(docs)]), collection="default")
    assert len(whole(again)) == 60
    again.close()


def test_an_index_that_may_not_be_written_is_named(small_disk: Path, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    write(docs, range(2))
    index = opened(small_disk)
    small_pipeline(index).run(find_files([str(docs)]), collection="default")
    index.close()
    remount(small_disk, "ro")
    with pytest.raises(StoreError, match=r"read-?only|cannot be"):
        opened(small_disk)
    remount(small_disk, "rw")
    again = opened(small_disk)
    assert len(whole(again)) == 2
    again.close()
