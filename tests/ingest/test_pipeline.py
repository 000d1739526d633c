"""Ingestion with a real registry and a real Chroma folder; only the embedding model is small."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ingest.document import Chunk
from ingest.errors import MismatchError, NotFoundError
from ingest.files import Upload, find_files
from ingest.index import Index
from ingest.registry import Registry
from ingest.stores.chroma import ChromaVectors
from ingest.tally import FileResult, Tally
from tests.fakes import HashEmbedder, small_pipeline


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    index = Index(
        Registry(tmp_path / "w" / "state.sqlite"),
        ChromaVectors(tmp_path / "w" / "vectors"),
        HashEmbedder(),
    )
    yield index
    index.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "cat.md").write_text("# Cat\n\nThe cat sat on the mat.", encoding="utf-8")
    (folder / "sub" / "tax.txt").write_text("Income tax is due in april.", encoding="utf-8")
    return folder


def ingest(index: Index, *arguments: Path, collection: str = "default") -> Tally:
    uploads = find_files([str(a) for a in arguments])
    return small_pipeline(index).run(uploads, collection=collection)


def state(index: Index) -> tuple[set[str], set[str], list[object]]:
    records = index.registry.documents()
    listed = {c for r in records for c in index.registry.chunk_ids(r.id)}
    return listed, index.vectors.ids(), list(records)


def find(index: Index, query: str) -> list[str]:
    dense = index.dense(query, collection="default", limit=3)
    lexical = index.lexical(query, collection="default", limit=3)
    return [dense[0].chunk.source, *(s.chunk.source for s in lexical)]


def test_what_was_ingested_is_found_by_meaning_and_by_words(index: Index, folder: Path) -> None:
    tally = ingest(index, folder)
    assert (tally.added, tally.chunks, tally.failed) == (2, 2, [])
    assert find(index, "when is income tax due") == ["sub/tax.txt", "sub/tax.txt"]


def test_the_dense_score_is_the_cosine(index: Index, folder: Path) -> None:
    ingest(index, folder)
    best = index.dense("tax april", collection="default", limit=1)[0]
    a, b = HashEmbedder().embed(["tax april", best.chunk.context])
    assert best.score == pytest.approx(float(a @ b), abs=1e-5)


def test_ingesting_again_changes_nothing(index: Index, folder: Path) -> None:
    ingest(index, folder)
    before = state(index)
    tally = ingest(index, folder)
    assert (tally.added, tally.updated, tally.unchanged, tally.chunks) == (0, 0, 2, 0)
    assert state(index) == before


def test_a_changed_file_replaces_its_chunks(index: Index, folder: Path) -> None:
    ingest(index, folder)
    (folder / "cat.md").write_text("# Cat\n\nThe dog left the house.", encoding="utf-8")
    tally = ingest(index, folder)
    assert (tally.updated, tally.unchanged) == (1, 1)
    assert index.lexical("mat", collection="default", limit=3) == []
    assert find(index, "dog house") == ["cat.md", "cat.md"]
    listed, vectors, _ = state(index)
    assert listed == vectors


def test_the_same_file_named_directly_is_the_same_document(index: Index, folder: Path) -> None:
    ingest(index, folder)
    tally = ingest(index, folder / "sub" / "tax.txt")
    assert (tally.added, tally.unchanged) == (0, 1)


def test_a_deleted_document_leaves_nothing(index: Index, folder: Path) -> None:
    ingest(index, folder)
    for record in index.registry.documents():
        index.delete(record.id)
    assert state(index) == (set(), set(), [])
    assert index.lexical("cat", collection="default", limit=3) == []
    with pytest.raises(NotFoundError, match="no document"):
        index.delete("gone")


def prune(index: Index, folder: Path) -> int:
    gone = small_pipeline(index).gone([folder], collection="default")
    for record in gone:
        index.delete(record.id)
    return len(gone)


def test_prune_removes_what_is_gone_and_keeps_what_lies_elsewhere(
    index: Index, folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.md"
    other.write_text("# Other\n\nElsewhere.", encoding="utf-8")
    ingest(index, folder, other)
    (folder / "cat.md").unlink()
    assert prune(index, folder) == 1
    assert [r.source for r in index.registry.documents()] == ["other.md", "sub/tax.txt"]


def test_a_bad_file_is_named_and_the_rest_is_ingested(index: Index, folder: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    (folder / "empty.md").write_bytes(b"")
    (folder / "huge.txt").write_bytes(b"x" * 1_000_001)
    tally = ingest(index, folder)
    assert tally.added == 2
    assert {f.source: f.error.split(":")[0] for f in tally.failed} == {
        "broken.pdf": "The PDF cannot be opened",
        "empty.md": "The file is empty.",
        "huge.txt": "The file is larger than 1 MB.",
    }


def test_a_bad_new_version_leaves_the_old_one(index: Index, folder: Path) -> None:
    ingest(index, folder)
    (folder / "cat.md").write_bytes(b"\xff\xfe\x00")
    assert len(ingest(index, folder).failed) == 1
    assert find(index, "cat mat")[0] == "cat.md"


def statuses(index: Index) -> list[tuple[str, str, int]]:
    return [(r.source, r.status, r.chunks) for r in index.registry.documents()]


def test_a_failed_file_is_noted_and_tried_again(index: Index, folder: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    for _ in range(2):
        assert len(ingest(index, folder).failed) == 1
    assert ("broken.pdf", "failed", 0) in statuses(index)
    assert "cannot be opened" in (index.registry.documents()[0].error or "")
    (folder / "broken.pdf").unlink()
    assert prune(index, folder) == 1
    assert len(statuses(index)) == 2


def test_a_collection_of_failures_cannot_be_searched(index: Index, tmp_path: Path) -> None:
    (tmp_path / "empty.md").write_bytes(b"")
    ingest(index, tmp_path / "empty.md", collection="bad")
    assert index.registry.collections() == []
    [record] = index.registry.documents("bad")
    assert index.delete(record.id).status == "failed"


def test_a_bad_new_version_is_shown_and_a_good_one_mends_it(index: Index, folder: Path) -> None:
    ingest(index, folder)
    before = state(index)
    good = (folder / "cat.md").read_bytes()
    (folder / "cat.md").write_bytes(b"")
    ingest(index, folder)
    assert statuses(index) == [("cat.md", "failed", 1), ("sub/tax.txt", "done", 1)]
    assert index.registry.documents()[0].error == "The file is empty."
    (folder / "cat.md").write_bytes(good)
    assert ingest(index, folder).updated == 1
    assert state(index) == before


def test_a_moved_file_keeps_its_id_and_is_found_where_it_is(index: Index, folder: Path) -> None:
    ingest(index, folder)
    before = {r.source: r.id for r in index.registry.documents()}
    vectors = index.vectors.ids()
    (folder / "new").mkdir()
    (folder / "sub" / "tax.txt").rename(folder / "new" / "tax.txt")
    tally = ingest(index, folder)
    assert (tally.moved, tally.unchanged, tally.added, tally.chunks) == (1, 1, 0, 0)
    [record] = [r for r in index.registry.documents() if r.source == "new/tax.txt"]
    assert record.id == before["sub/tax.txt"]
    assert record.path == folder / "new" / "tax.txt"
    assert find(index, "income tax april") == ["new/tax.txt", "new/tax.txt"]
    assert index.vectors.ids() == vectors
    assert prune(index, folder) == 0


def test_a_renamed_file_keeps_its_id_and_gets_its_new_title(index: Index, folder: Path) -> None:
    ingest(index, folder)
    [before] = [r for r in index.registry.documents() if r.source == "sub/tax.txt"]
    (folder / "sub" / "tax.txt").rename(folder / "sub" / "income-levy.txt")
    assert ingest(index, folder).moved == 1
    [after] = [r for r in index.registry.documents() if r.id == before.id]
    assert (after.source, after.title) == ("sub/income-levy.txt", "income levy")
    listed, vectors, _ = state(index)
    assert listed == vectors


def test_a_copied_file_is_a_document_of_its_own(index: Index, folder: Path) -> None:
    ingest(index, folder)
    (folder / "copy.md").write_bytes((folder / "cat.md").read_bytes())
    tally = ingest(index, folder)
    assert (tally.added, tally.moved, tally.unchanged) == (1, 0, 2)


def test_a_new_file_where_a_moved_one_was_is_another_document(index: Index, folder: Path) -> None:
    ingest(index, folder)
    (folder / "cat.md").rename(folder / "sub" / "cat.md")
    ingest(index, folder)
    (folder / "cat.md").write_text("# Cat\n\nAnother cat.", encoding="utf-8")
    assert ingest(index, folder).added == 1
    assert [s for s, _, _ in statuses(index)] == ["cat.md", "sub/cat.md", "sub/tax.txt"]


def test_two_copies_that_moved_move_to_two_places(index: Index, folder: Path) -> None:
    (folder / "copy.md").write_bytes((folder / "cat.md").read_bytes())
    ingest(index, folder)
    for name in ("cat.md", "copy.md"):
        (folder / name).rename(folder / "sub" / name)
    assert ingest(index, folder).moved == 2
    assert [s for s, _, _ in statuses(index)] == ["sub/cat.md", "sub/copy.md", "sub/tax.txt"]


def test_a_document_of_many_batches_is_there_at_once(index: Index, tmp_path: Path) -> None:
    sections = [f"## Part {n}\n\nThe number of part {n} is {n * 7}." for n in range(50)]
    (tmp_path / "long.md").write_text("# Long\n\n" + "\n\n".join(sections), encoding="utf-8")
    seen: list[int] = []

    class Watching(ChromaVectors):
        def add(self, chunks: Sequence[Chunk], rows: NDArray[np.float32]) -> None:
            super().add(chunks, rows)
            seen.append(len(index.dense("number of part", collection="default", limit=99)))

    index.vectors = Watching(tmp_path / "w" / "vectors")
    assert ingest(index, tmp_path / "long.md").chunks == 50
    assert seen == [0] * len(seen)
    assert len(seen) > 5
    assert len(index.dense("number of part", collection="default", limit=99)) == 50


def test_a_document_deleted_while_it_is_read_again_is_whole_afterwards(
    index: Index, folder: Path
) -> None:
    ingest(index, folder)
    text = "# Cat\n\nThe cat sat on the mat.\n\n## More\n\nIt sleeps."
    (folder / "cat.md").write_text(text, encoding="utf-8")
    [cat] = [r for r in index.registry.documents() if r.source == "cat.md"]

    def uploads() -> Iterator[Upload]:
        yield from find_files([str(folder / "cat.md")])
        index.delete(cat.id)  # its old chunk was counted upon

    small_pipeline(index).run(uploads(), collection="default")
    listed, vectors, _ = state(index)
    assert listed == vectors
    assert len(index.registry.chunk_ids(cat.id)) == 2


def test_each_file_is_told_of_once(index: Index, folder: Path) -> None:
    ingest(index, folder / "cat.md")
    (folder / "empty.md").write_bytes(b"")
    told: list[FileResult] = []
    small_pipeline(index).run(
        find_files([str(folder)]),
        collection="default",
        on_file=lambda _, result: told.append(result),
    )
    assert sorted((r.source, r.outcome) for r in told) == [
        ("cat.md", "unchanged"),
        ("empty.md", "failed"),
        ("sub/tax.txt", "added"),
    ]


@pytest.mark.skipif(sys.platform == "darwin", reason="its file names are always UTF-8")
def test_odd_files_fail_by_name_and_stop_nobody(index: Index, folder: Path) -> None:
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.md")
    (folder / "dangling.md").symlink_to(folder / "nowhere")
    (folder / os.fsdecode(b"caf\xe9.md")).write_text("# Menu\n\nSoup.", encoding="utf-8")
    tally = ingest(index, folder)
    assert tally.added == 2
    assert {f.source: f.error for f in tally.failed} == {
        "caf\\xe9.md": "The file's name is not UTF-8. Rename it.",
        "dangling.md": "No such file or directory",
        "pipe.md": "It is not a regular file.",
    }
    json.dumps(tally.body(), ensure_ascii=False).encode()


def test_collections_do_not_see_each_other(index: Index, folder: Path) -> None:
    ingest(index, folder / "cat.md", collection="a")
    ingest(index, folder / "sub" / "tax.txt", collection="b")
    assert [s.chunk.source for s in index.dense("tax", collection="a", limit=5)] == ["cat.md"]
    assert index.lexical("tax", collection="a", limit=5) == []


def test_a_search_can_be_kept_to_some_documents(index: Index, folder: Path) -> None:
    ingest(index, folder)
    cat, tax = (record.id for record in index.registry.documents())
    many = [f"{number:016x}" for number in range(5000)]
    for search, query in ((index.dense, "cat"), (index.lexical, "cat tax")):
        for documents, found in (
            (None, {cat, tax}),
            ([tax], {tax}),
            ([cat, *many], {cat}),
            ({cat, tax}, {cat, tax}),
            (["nothing"], set()),
            ([], set()),
        ):
            hits = search(query, collection="default", limit=5, documents=documents)
            assert {hit.chunk.document_id for hit in hits} == found
    assert index.dense("cat", collection="other", limit=5, documents=[cat]) == []
    assert index.lexical("cat", collection="other", limit=5, documents=[cat]) == []


def test_a_path_that_names_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no file or folder"):
        find_files([str(tmp_path / "nope")])


def test_globs_name_files(folder: Path) -> None:
    found = find_files([str(folder / "**" / "*.txt")])
    assert [upload.source for upload in found] == ["tax.txt"]


def test_vectors_of_backends_that_compute_otherwise_are_not_mixed(
    index: Index, folder: Path
) -> None:
    ingest(index, folder / "cat.md")
    index.embedder.backend = "int4"
    with pytest.raises(MismatchError, match="made by hash, and int4 computes others"):
        ingest(index, folder)
    assert [source for source, _, _ in statuses(index)] == ["cat.md"]


class Killed(Exception):
    """Stands for the end of the process."""


class DyingRegistry(Registry):
    def put(self, documents: object) -> set[str]:
        raise Killed


class DyingVectors(ChromaVectors):
    def add(self, chunks: object, rows: object) -> None:
        raise Killed


@pytest.mark.parametrize("where", ["vectors", "registry"])
def test_an_interrupted_replacement_keeps_the_old_version_whole(
    tmp_path: Path, folder: Path, where: str
) -> None:
    home = tmp_path / "w"

    def opened(registry: type[Registry], vectors: type[ChromaVectors]) -> Index:
        return Index(registry(home / "s.sqlite"), vectors(home / "v"), HashEmbedder())

    index = opened(Registry, ChromaVectors)
    ingest(index, folder)
    before = state(index)
    index.close()
    text = (folder / "cat.md").read_text(encoding="utf-8")
    (folder / "cat.md").write_text("# Cat\n\nThe dog left.", encoding="utf-8")
    dying = opened(
        DyingRegistry if where == "registry" else Registry,
        DyingVectors if where == "vectors" else ChromaVectors,
    )
    with pytest.raises(Killed):
        ingest(dying, folder)
    assert [s.chunk.text for s in dying.dense("cat", collection="default", limit=1)] == [
        "The cat sat on the mat."
    ]
    dying.close()
    (folder / "cat.md").write_text(text, encoding="utf-8")
    after = opened(Registry, ChromaVectors)
    ingest(after, folder)
    assert state(after) == before
    after.close()


def test_the_registry_refuses_a_newer_schema(tmp_path: Path) -> None:
    import sqlite3

    from ingest.errors import StoreError

    path = tmp_path / "state.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="schema 99"):
        Registry(path)


def test_odd_queries_do_not_break_the_full_text_search(index: Index, folder: Path) -> None:
    ingest(index, folder)
    for query in ['"', "AND OR NOT", "a* (b)", "', DROP", "NEAR/3", "", "the of and", "漢字"]:
        index.lexical(query, collection="default", limit=3)


def test_a_registry_of_version_1_is_read_and_brought_forward(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "old" / "state.sqlite"
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE documents (id VARCHAR(32) PRIMARY KEY, collection VARCHAR(64), "
            "source TEXT, path TEXT, title TEXT, status VARCHAR(16), sha256 VARCHAR(64), "
            "pages INTEGER, error TEXT, text TEXT)"
        )
        connection.execute(
            "INSERT INTO documents VALUES "
            "('d', 'default', 'a.md', NULL, 'A', 'done', 'hash', NULL, NULL, 'Text.')"
        )
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    registry = Registry(path)
    (record,) = registry.documents()
    assert (record.title, record.kind, record.metadata) == ("A", "", {})
    registry.close()
    Registry(path).close()  # a second opening has nothing left to bring forward
