"""An index moves to other stores and to another model, and can be interrupted while it does."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ingest.document import Chunk
from ingest.embed import Embedder
from ingest.embedding_model import EmbeddingModel, check_model, identify, remember, remembered
from ingest.errors import ConflictError, MismatchError, StoreError, UsageError
from ingest.files import find_files
from ingest.index import Index
from ingest.registry import Registry
from ingest.stores.chroma import ChromaVectors
from ingest.stores.qdrant import QdrantVectors
from ingest.stores.vectors import Vectors
from ingest.transfer import copy_documents, copy_vectors, reembed
from tests.fakes import HashEmbedder, small_pipeline

ONE = EmbeddingModel("one", "1" * 64, 64)
TWO = EmbeddingModel("two", "2" * 64, 48)
QUESTIONS = ("cat mat", "income tax", "w7 w8", "line w11")


class Interrupted(Exception):
    """Stands for the end of the process."""


class DrawnEmbedder(HashEmbedder):
    """Draws a direction for each word, and adds them up. It dies after `lives` calls."""

    def __init__(self, model: EmbeddingModel, lives: int = 1000, max_tokens: int = 256) -> None:
        self.name = model.name
        self.max_tokens = max_tokens
        self._dimension = model.dimension
        self._lives = lives

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self._lives -= 1
        if self._lives < 0:
            raise Interrupted
        rows = np.asarray([sum(map(self._way, self.tokenize(text))) for text in texts])
        unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit.astype(np.float32)

    def _way(self, word: str) -> NDArray[np.float64]:
        seed = zlib.crc32(word.casefold().encode())
        return np.random.default_rng(seed).normal(size=self._dimension)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A workspace with two collections."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for name, said in (("cat", "The cat sat on the mat."), ("tax", "Income tax is due in april.")):
        (folder / f"{name}.md").write_text(f"# {name}\n\n{said}", encoding="utf-8")
    said = "\n".join(f"Line w{n} and w{n * n % 31}." for n in range(120))
    (folder / "long.txt").write_text(said, encoding="utf-8")
    home = tmp_path / "home"
    index = open_index(home)
    pipeline = small_pipeline(index, chunk_tokens=24)
    for collection in ("default", "other"):
        pipeline.run(find_files([str(folder)]), collection=collection)
    remember(index.registry, ONE)
    index.close()
    return home


def open_index(home: Path, model: EmbeddingModel = ONE) -> Index:
    registry = Registry(home / "state.sqlite")
    vectors = ChromaVectors(home / "vectors", index=registry.index_id, model=model.fingerprint)
    return Index(registry, vectors, DrawnEmbedder(model))


@pytest.fixture
def index(home: Path) -> Iterator[Index]:
    index = open_index(home)
    yield index
    index.close()


@pytest.fixture
def target(index: Index, tmp_path: Path) -> Iterator[Vectors]:
    store = QdrantVectors(tmp_path / "q", index=index.registry.index_id, model=ONE.fingerprint)
    yield store
    store.close()


def answers(index: Index, collection: str = "default") -> list[list[tuple[str, float]]]:
    return [
        [(s.chunk.id, round(s.score, 4)) for s in search(query, collection=collection, limit=3)]
        for query in QUESTIONS
        for search in (index.dense, index.lexical)
    ]


def test_copied_vectors_answer_like_the_old_ones(index: Index, target: Vectors) -> None:
    sizes = index.registry.sizes()
    before = index.vectors.ids()
    copied = copy_vectors(index.registry, index.vectors, target, collections=["default", "other"])
    assert (copied.copied, copied.present) == (sum(sizes.values()), 0)
    assert copied.compared == sum(sizes.values())
    moved = Index(index.registry, target, index.embedder)
    moved.check()
    for collection in sizes:
        assert answers(moved, collection) == answers(index, collection)
    assert index.vectors.ids() == before, "the source is left as it was"


def test_a_copy_of_one_collection_leaves_the_others_out(index: Index, target: Vectors) -> None:
    copy_vectors(index.registry, index.vectors, target, collections=["other"])
    assert target.collections() == ["other"]


def test_a_copy_that_was_interrupted_goes_on(index: Index, target: Vectors) -> None:
    registry = index.registry
    ids = sorted(chunk.id for page in registry.pages("default", size=99) for chunk in page)
    some = list(registry.chunks(ids[:9]).values())
    target.add(some, index.vectors.rows([chunk.id for chunk in some], collection="default"))
    stray = index.registry.chunks(ids[:1])[ids[0]]
    target.add([replace(stray, id="0" * 24)], np.ones((1, 64), dtype=np.float32))
    seen: list[tuple[int, int]] = []
    copied = copy_vectors(
        registry, index.vectors, target, collections=["default"],
        on_progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert (copied.present, copied.copied, copied.removed) == (9, len(ids) - 9, 1)
    assert seen[-1] == (len(ids), len(ids))
    assert target.ids("default") == set(ids)
    again = copy_vectors(registry, index.vectors, target, collections=["default"])
    assert (again.present, again.copied, again.removed) == (len(ids), 0, 0)


def test_a_source_that_lost_vectors_is_refused(index: Index, target: Vectors) -> None:
    index.vectors.remove([next(iter(index.vectors.ids("default")))])
    with pytest.raises(StoreError, match="has no vector of"):
        copy_vectors(index.registry, index.vectors, target, collections=["default"])
    with pytest.raises(StoreError, match=r"passages in collection 'default'.* lost") as error:
        index.check()
    assert "groundtune index reembed" in error.value.hint


def test_other_vectors_in_the_target_are_noticed(index: Index, target: Vectors) -> None:
    for page in index.registry.pages("default", size=99):
        target.add(page, np.full((len(page), 64), 1 / 8, dtype=np.float32))
    with pytest.raises(StoreError, match="gives back other vectors"):
        copy_vectors(index.registry, index.vectors, target, collections=["default"])


def test_documents_copied_to_postgresql_are_the_same_and_searched_alike(
    index: Index, empty_postgresql: str
) -> None:
    source, target = index.registry, Registry(empty_postgresql)
    try:
        copied = copy_documents(source, target, collections=["default", "other"])
        assert (copied.copied, copied.present, copied.compared) == (6, 0, 6)
        assert target.documents() == source.documents()
        assert target.facts() == source.facts()
        for record in source.documents():
            assert target.document(record.id) == source.document(record.id)
        for query in QUESTIONS:
            ours, theirs = (
                {c.id for c, _ in r.search(query, collection="default", limit=1)}
                for r in (source, target)
            )
            assert ours == theirs
        again = copy_documents(source, target, collections=["default", "other"])
        assert (again.copied, again.present) == (0, 6)
        gone = source.documents("default")[0].id
        source.remove(gone)
        changed = copy_documents(source, target, collections=["default", "other"])
        assert (changed.copied, changed.removed) == (0, 1)
    finally:
        target.close()


def test_a_database_with_another_index_is_not_overwritten(index: Index, tmp_path: Path) -> None:
    other = Registry(tmp_path / "other.sqlite")
    copy_documents(index.registry, other, collections=["default"])
    other.note("index", "another")
    with pytest.raises(ConflictError, match="holds another index already"):
        copy_documents(index.registry, other, collections=["default"])
    other.close()


def test_another_model_is_refused_with_the_command_that_changes_to_it(index: Index) -> None:
    check_model(index.registry, ONE)
    check_model(index.registry, EmbeddingModel("file:elsewhere", ONE.sha256, ONE.dimension))
    with pytest.raises(MismatchError, match=r"made with one \(64 .*names two \(48\)") as error:
        check_model(index.registry, TWO)
    assert "groundtune index reembed" in error.value.hint
    with pytest.raises(MismatchError, match="another version of it"):
        check_model(index.registry, EmbeddingModel("one", "3" * 64, 64))


def test_an_empty_index_takes_the_model_it_is_given(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "s.sqlite")
    for model in (ONE, TWO):
        check_model(registry, model)
        assert remembered(registry) == model
    registry.close()


def test_a_model_is_what_lies_in_its_folder_and_not_its_name(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
        (tmp_path / name / "README.md").write_text(name, encoding="utf-8")

    narrow = DrawnEmbedder(ONE)

    def seen(name: str, path: Path, embedder: Embedder = narrow) -> EmbeddingModel:
        return identify(name, path, known=None, embedder=embedder)

    a, b = (seen(f"file:{n}", tmp_path / n) for n in "ab")
    assert a.fingerprint == b.fingerprint
    assert a.dimension == ONE.dimension
    wider = DrawnEmbedder(replace(ONE, dimension=4))
    assert seen("file:a", tmp_path / "a", wider).fingerprint != a.fingerprint
    (tmp_path / "b" / "model.safetensors").write_bytes(b"other weights")
    assert seen("file:b", tmp_path / "b").fingerprint != a.fingerprint
    hub = [seen(f"hf:org/{n}", Path(f"org/{n}")).fingerprint for n in "ab"]
    assert hub[0] != hub[1]


@pytest.mark.parametrize("lives", [0, 1, 2])
def test_an_interrupted_change_of_model_leaves_the_old_one_answering(
    home: Path, lives: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.transfer.PAGE", 8)
    index = open_index(home)
    before = answers(index)
    index.close()
    new = open_index(home, TWO)
    with pytest.raises(Interrupted):
        reembed(new.registry, new.vectors, DrawnEmbedder(TWO, lives), TWO)
    new.close()

    old = open_index(home)
    check_model(old.registry, ONE)
    old.check()
    assert answers(old) == before
    old.close()

    new = open_index(home, TWO)
    listed = sum(new.registry.sizes().values())
    made = reembed(new.registry, new.vectors, DrawnEmbedder(TWO), TWO)
    assert made == listed - lives * 8
    check_model(new.registry, TWO)
    new.check()
    assert new.vectors.models() == {TWO.fingerprint}
    clean = {c.id: DrawnEmbedder(TWO).embed([c.context])[0] for c in pages(new)}
    assert new.vectors.ids("default") == set(clean)
    assert new.vectors.rows(list(clean), collection="default") == pytest.approx(
        np.stack(list(clean.values())), abs=1e-6
    )
    assert reembed(new.registry, new.vectors, DrawnEmbedder(TWO), TWO) == 0
    new.close()


def pages(index: Index) -> list[Chunk]:
    return [chunk for page in index.registry.pages("default", size=99) for chunk in page]


def test_lost_vectors_are_made_again(index: Index) -> None:
    before = answers(index)
    lost = sorted(index.vectors.ids("default"))[:5]
    index.vectors.remove(lost)
    assert reembed(index.registry, index.vectors, index.embedder, ONE) == 5
    index.check()
    assert answers(index) == before


def test_a_model_that_reads_less_than_a_passage_holds_is_refused(home: Path) -> None:
    new = open_index(home, TWO)
    with pytest.raises(UsageError, match=r"A passage of .* tokens, and two reads 10") as error:
        reembed(new.registry, new.vectors, DrawnEmbedder(TWO, max_tokens=12), TWO)
    assert "chunk_tokens" in error.value.hint
    assert new.vectors.ids() == set()
    assert remembered(new.registry) == ONE
    new.close()
