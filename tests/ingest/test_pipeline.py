"""Ingestion with a real registry and a real Chroma folder; only the embedding model is small."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.chunk import Chunker
from ingest.errors import NotFoundError
from ingest.index import Index
from ingest.pipeline import Pipeline, Tally, find_files
from ingest.registry import Registry
from ingest.vectors import ChromaVectors
from tests.fakes import HashEmbedder


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
    chunker = Chunker(HashEmbedder().tokenize, chunk_tokens=64, chunk_overlap=8, max_tokens=256)
    pipeline = Pipeline(index, chunker, max_file_mb=1)
    return pipeline.run(find_files([str(a) for a in arguments]), collection=collection)


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


def test_prune_removes_what_is_gone_and_keeps_what_lies_elsewhere(
    index: Index, folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.md"
    other.write_text("# Other\n\nElsewhere.", encoding="utf-8")
    ingest(index, folder, other)
    (folder / "cat.md").unlink()
    chunker = Chunker(str.split, chunk_tokens=64, chunk_overlap=8, max_tokens=256)
    pipeline = Pipeline(index, chunker, max_file_mb=1)
    assert pipeline.prune([folder], collection="default") == 1
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


class Killed(Exception):
    """Stands for the end of the process."""


class DyingRegistry(Registry):
    def put(self, document: object, chunks: object) -> None:
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
