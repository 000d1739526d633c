"""What every vector store promises, on the real ones."""

import gc
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from llama_index.core.vector_stores import VectorStoreQuery
from llama_index.vector_stores.chroma import ChromaVectorStore
from numpy.typing import NDArray

from ingest.document import Chunk
from ingest.errors import MissingExtraError, StoreError
from ingest.stores.apart import ApartVectors
from ingest.stores.chroma import ChromaVectors
from ingest.stores.qdrant import QdrantVectors
from ingest.stores.vectors import Vectors, number_of, parts_of, store_name

ROOT = Path(__file__).parents[3]
Open = Callable[..., Vectors]
STORES = ("chroma folder", "chroma folder of small graphs", "chroma server", "qdrant folder")


def made(kind: str, place: str | Path, index: str, model: str) -> Vectors:
    if kind == "qdrant folder":
        return QdrantVectors(place, index=index, model=model)
    small = {"graph_chunks": 2} if kind.endswith("small graphs") else {}
    return ChromaVectors(place, index=index, model=model, **small)


@pytest.fixture(params=STORES)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Open the same store again and again; each test has an index of its own in it."""
    url = request.getfixturevalue("chroma_url") if request.param == "chroma server" else ""
    index = uuid.uuid4().hex[:12]
    opened: list[Vectors] = []

    def start(model: str = "m1", index: str = index) -> Vectors:
        opened.append(made(request.param, url or tmp_path, index, model))
        return opened[-1]

    yield start
    for store in opened:
        store.close()


@pytest.fixture(params=[*STORES, "chroma folder apart"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Vectors]:
    index = uuid.uuid4().hex[:12]
    if request.param == "chroma folder apart":
        store: Vectors = ApartVectors(tmp_path / "vectors", index=index)
    else:
        url = request.getfixturevalue("chroma_url") if request.param == "chroma server" else ""
        store = made(request.param, url or tmp_path, index, "m")
    yield store
    store.close()


def chunk(name: str, *, document: str = "d", collection: str = "default") -> Chunk:
    return Chunk(name, document, collection, "s.md", "T", (), None, 0, 1, "x", 0)


def unit(*numbers: Sequence[float]) -> NDArray[np.float32]:
    rows = np.asarray(numbers, dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_an_empty_store_finds_nothing(store: Vectors) -> None:
    assert store.search(unit([1, 0])[0], collection="default", limit=3) == []
    assert (store.ids(), store.collections(), store.count("default")) == (set(), [], 0)
    store.remove(["a"])
    store.remove(["a"], collection="default")
    store.add([], np.zeros((0, 2), dtype=np.float32))
    assert store.collections() == []


def test_the_nearest_come_first_with_their_cosine(store: Vectors) -> None:
    rows = unit([1, 0, 0], [1, 1, 0], [-1, 0, 0], [0, 0, 1])
    store.add([chunk(name) for name in ("same", "near", "opposite", "across")], rows)
    found = store.search(rows[0], collection="default", limit=4)
    assert [near.chunk_id for near in found] == ["same", "near", "across", "opposite"]
    cosines = [near.similarity for near in found]
    assert cosines == pytest.approx([1, 0.5**0.5, 0, -1], abs=1e-5)
    assert len(store.search(rows[0], collection="default", limit=2)) == 2


@pytest.mark.parametrize("dimension", [2, 5, 1024])
def test_vectors_of_any_dimension_come_back_as_they_were(store: Vectors, dimension: int) -> None:
    rows = unit(*np.random.default_rng(1).normal(size=(7, dimension)))
    names = [f"c{n}" for n in range(7)]
    store.add([chunk(name) for name in names], rows)
    back = store.rows(names[::-1], collection="default")
    assert back.shape == (7, dimension)
    assert back == pytest.approx(rows[::-1], abs=1e-6)
    with pytest.raises(StoreError, match="has no vector of gone"):
        store.rows(["c1", "gone"], collection="default")


def test_llamaindex_finds_chunks_and_their_documents_in_a_chroma_folder(tmp_path: Path) -> None:
    store = ChromaVectors(tmp_path)
    rows = unit([1, 0], [0, 1])
    store.add([chunk("a", document="one"), chunk("b", document="two")], rows)
    [graph] = store.graphs("default")
    theirs = ChromaVectorStore(graph)
    found = theirs.query(VectorStoreQuery(query_embedding=rows[1].tolist(), similarity_top_k=1))
    assert [(n.node_id, n.metadata) for n in found.nodes or []] == [("b", {"document_id": "two"})]
    store.close()


def test_adding_a_chunk_again_changes_nothing(store: Vectors) -> None:
    for _ in range(2):
        store.add([chunk("a"), chunk("b")], unit([1, 0], [0, 1]))
    assert store.count("default") == 2
    assert store.rows(["a"], collection="default") == pytest.approx(unit([1, 0]))


def test_a_removed_vector_is_not_found_and_unknown_ids_are_passed_over(store: Vectors) -> None:
    store.add([chunk("a"), chunk("b"), chunk("c")], unit([1, 0], [0, 1], [1, 1]))
    store.remove(["a", "gone"], collection="default")
    store.remove(["b"])
    assert store.ids() == {"c"}
    assert [n.chunk_id for n in store.search(unit([1, 0])[0], collection="default", limit=3)] == [
        "c"
    ]


def test_collections_do_not_see_each_other(store: Vectors) -> None:
    store.add([chunk("a", collection="one"), chunk("b", collection="Two-_.")], unit([1, 0], [1, 0]))
    for collection, name in (("one", "a"), ("Two-_.", "b")):
        found = store.search(unit([1, 0])[0], collection=collection, limit=5)
        assert [near.chunk_id for near in found] == [name]
        assert store.ids(collection) == {name}
    assert store.collections() == ["Two-_.", "one"]
    store.remove(["a"], collection="Two-_.")
    assert store.ids() == {"a", "b"}


def test_a_search_can_be_kept_to_some_of_many_documents(store: Vectors) -> None:
    rows = unit([1, 0], [1, 0.1], [1, 0.2])
    store.add([chunk(name, document=f"of-{name}") for name in "abc"], rows)
    many = [f"{number:016x}" for number in range(5000)]
    for documents, names in (
        (None, "abc"),
        (["of-b"], "b"),
        ({"of-c", "of-a"}, "ac"),
        (["of-c", *many], "c"),
        (many, ""),
        ([], ""),
    ):
        found = store.search(rows[0], collection="default", limit=3, documents=documents)
        assert "".join(near.chunk_id for near in found) == names


def test_what_was_stored_is_there_after_reopening(open_store: Open) -> None:
    first = open_store()
    first.add([chunk("a"), chunk("b")], unit([1, 0], [0, 1]))
    first.remove(["b"])
    first.close()
    again = open_store()
    assert again.ids() == {"a"}
    assert again.search(unit([1, 0])[0], collection="default", limit=3)[0].chunk_id == "a"
    again.add([chunk("b")], unit([0, 1]))
    assert again.count("default") == 2


def test_two_models_lie_side_by_side_until_one_is_dropped(open_store: Open) -> None:
    first = open_store("m1")
    first.add([chunk("a")], unit([1, 0]))
    first.close()
    second = open_store("m2")
    second.add([chunk("a"), chunk("b")], unit([1, 0, 0], [0, 1, 0]))
    assert second.models() == {"m1", "m2"}
    second.drop("m1")
    assert second.models() == {"m2"}
    assert second.count("default") == 2


def test_indexes_that_share_a_store_keep_to_themselves(chroma_url: str) -> None:
    one, two = (ChromaVectors(chroma_url, index=uuid.uuid4().hex[:12], model="m") for _ in "ab")
    one.add([chunk("a")], unit([1, 0]))
    assert (two.ids(), two.models()) == (set(), set())
    two.drop("m")
    assert one.ids() == {"a"}
    one.close()
    two.close()


def test_another_dimension_is_refused_with_the_place(store: Vectors) -> None:
    store.add([chunk("a")], unit([1, 0]))
    with pytest.raises(StoreError, match=r"cannot be used|does not do its work"):
        store.search(unit([1, 0, 0])[0], collection="default", limit=1)


@pytest.mark.parametrize(
    "name", ["default", "a.b.vectors", "x.vectors.y", "x.vectors.2", "0-_.", "a..b", "_d__d.", "7"]
)
@pytest.mark.parametrize("number", [1, 2, 61])
def test_a_name_in_the_store_is_read_back(name: str, number: int) -> None:
    stored = store_name("i1", "m1", name, number)
    assert parts_of(stored) == ("i1", "m1", name)
    assert number_of(stored) == number


@pytest.mark.parametrize(
    "name", ["chunks", "", "a.b", "other.people.things", "i.m.c.vectors.x", "i.m.c.vectors.2.3"]
)
def test_names_of_others_are_left_alone(name: str) -> None:
    assert parts_of(name) is None


@pytest.mark.parametrize(
    ("make", "hint"), [(ChromaVectors, "chroma run"), (QdrantVectors, "docker run")]
)
def test_a_server_that_is_down_is_named_with_the_command_that_starts_it(
    make: type[ChromaVectors] | type[QdrantVectors], hint: str
) -> None:
    with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:9 does not do its work") as error:
        make("http://127.0.0.1:9")
    assert hint in error.value.hint


@pytest.mark.parametrize("make", [ChromaVectors, QdrantVectors])
def test_a_folder_that_cannot_be_made_is_named(
    make: type[ChromaVectors] | type[QdrantVectors], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(StoreError, match=r"The vectors in .*file/v cannot be used"):
        make(tmp_path / "file" / "v")


@pytest.mark.filterwarnings("ignore:.*lock:pytest.PytestUnraisableExceptionWarning")
def test_a_second_owner_of_a_qdrant_folder_is_refused(tmp_path: Path) -> None:
    first = QdrantVectors(tmp_path)
    with pytest.raises(StoreError, match="already accessed"):
        QdrantVectors(tmp_path)
    gc.collect()  # what the second one says as it goes, it says here
    first.close()


def test_vectors_of_the_first_version_are_taken_over(tmp_path: Path) -> None:
    import chromadb

    client = chromadb.PersistentClient(path=str(tmp_path))
    old = client.get_or_create_collection("chunks", configuration={"hnsw": {"space": "cosine"}})
    rows = unit([1, 0], [0, 1], [1, 1])
    about = [{"collection": c, "document_id": d} for c, d in (("x", "1"), ("y", "2"), ("x", "3"))]
    old.add(ids=["a", "b", "c"], embeddings=rows, metadatas=about, documents=["", "", ""])
    client.close()
    store = ChromaVectors(tmp_path, index="i", model="m")
    assert (store.ids("x"), store.ids("y")) == ({"a", "c"}, {"b"})
    assert store.search(rows[2], collection="x", limit=2, documents=["3"])[0].chunk_id == "c"
    store.close()
    again = ChromaVectors(tmp_path, index="i", model="m")
    assert again.count("x") == 2
    again.close()


def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(MissingExtraError, match="`qdrant_client`") as error:
        QdrantVectors(tmp_path)
    assert "groundtune[scale]" in error.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("make", [ChromaVectors, QdrantVectors])
def test_a_folder_that_cannot_be_written_is_named(
    make: type[ChromaVectors] | type[QdrantVectors], tmp_path: Path
) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(StoreError, match="cannot be used"):
        make(tmp_path / "v")
    tmp_path.chmod(0o755)


MANY_GRAPHS = """
import resource, sys
from pathlib import Path
import numpy as np
resource.setrlimit(resource.RLIMIT_NOFILE, (128, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from ingest.document import Chunk
from ingest.stores.chroma import ChromaVectors
store = ChromaVectors(Path(sys.argv[1]), graph_chunks=2)
rows = np.eye(80, dtype=np.float32)
store.add([Chunk(f"c{n}", "d", "c", "s", "T", (), None, 0, 1, "x", 0) for n in range(80)], rows)
store.search(rows[0], collection="c", limit=1)
found = [store.search(row, collection="c", limit=1)[0].chunk_id for row in rows]
assert found == [f"c{n}" for n in range(80)], found
store.close()
"""


def test_a_collection_of_many_graphs_is_read_like_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = unit(*rng.normal(size=(60, 16)))
    names = [f"c{n:02}" for n in range(60)]
    chunks = [chunk(name, document=f"d{n % 7}") for n, name in enumerate(names)]
    one = ChromaVectors(tmp_path / "one")
    many = ChromaVectors(tmp_path / "many", graph_chunks=7)
    for store in (one, many):
        store.add(chunks[:25], rows[:25])
        store.add(chunks[10:], rows[10:])  # some of them again
        store.remove(names[5:20:3])
    assert len(many.graphs("default")) == 9
    assert all(graph.count() <= 7 for graph in many.graphs("default"))
    assert many.count("default") == one.count("default") == len(many.ids("default")) == 55
    for documents in (None, ["d1", "d4"]):
        for row in rows[:10]:
            near, far = (
                store.search(row, collection="default", limit=12, documents=documents)
                for store in (one, many)
            )
            assert [n.chunk_id for n in near] == [n.chunk_id for n in far]
            cosines = [n.similarity for n in far]
            assert cosines == pytest.approx([n.similarity for n in near], abs=1e-6)
    left = sorted(many.ids())
    assert many.rows(left, collection="default") == pytest.approx(
        one.rows(left, collection="default")
    )
    many.drop("model")
    assert (many.collections(), many.ids()) == ([], set())
    one.close()
    many.close()


def test_graphs_that_were_emptied_are_dropped_while_others_search(tmp_path: Path) -> None:
    rows = unit(*np.random.default_rng(7).normal(size=(20, 8)))
    chunks = [chunk(f"c{n:02}") for n in range(20)]
    store = ChromaVectors(tmp_path, graph_chunks=4)
    store.add(chunks, rows)
    ranked = [chunks[n].id for n in np.argsort(-(rows @ rows[19]))]
    going: set[str] = set()
    gone: set[str] = set()

    def ask() -> tuple[set[str], str, set[str]]:
        before = set(gone)
        [near] = store.search(rows[19], collection="default", limit=1)
        return before, near.chunk_id, set(going)

    with ThreadPoolExecutor(1) as beside:
        asked = beside.submit(lambda: [ask() for _ in range(50)])
        for ids in (range(3), range(4, 7), range(8, 11), range(17, 20), (3, 7, 16)):
            some = [chunks[n].id for n in ids]
            going.update(some)
            store.remove(some)
            gone.update(some)
        # A search asks one graph after the other, so what is removed meanwhile may be found or not.
        for before, found, after in asked.result():
            assert found not in before
            assert set(ranked[: ranked.index(found)]) <= after
    assert [graph.count() for graph in store.graphs("default")] == [1, 4, 0]
    assert store.ids() == {"c11", "c12", "c13", "c14", "c15"}
    store.add(chunks[:2], rows[:2])
    store.close()
    again = ChromaVectors(tmp_path, graph_chunks=4)
    assert again.ids() == {"c00", "c01", "c11", "c12", "c13", "c14", "c15"}
    assert [graph.count() for graph in again.graphs("default")] == [1, 4, 2]
    again.close()


def test_a_folder_written_in_one_graph_goes_on_in_others(tmp_path: Path) -> None:
    rows = unit(*np.random.default_rng(6).normal(size=(12, 8)))
    chunks = [chunk(f"c{n:02}") for n in range(12)]
    before = ChromaVectors(tmp_path)
    before.add(chunks[:9], rows[:9])
    before.close()
    after = ChromaVectors(tmp_path, graph_chunks=4)
    after.add(chunks, rows)
    assert [graph.count() for graph in after.graphs("default")] == [9, 3]
    found = [after.search(row, collection="default", limit=1)[0].chunk_id for row in rows]
    assert found == [f"c{n:02}" for n in range(12)]
    after.close()


def test_many_graphs_are_searched_where_a_process_may_open_few_files(tmp_path: Path) -> None:
    # 40 graphs of five files each; Chroma loses what it has no files for.
    command = [sys.executable, "-c", MANY_GRAPHS, str(tmp_path / "v")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


SPILLED = """
import ctypes, sys, threading
from pathlib import Path
import numpy as np
from ingest.document import Chunk
from ingest.stores.chroma import ChromaVectors
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
together = threading.Barrier(8)

def leave():
    # Chroma's threads get the memory of those that have ended.
    together.wait()
    for size in (400, 20_000, 200_000, 2_000_000):
        blocks = [libc.malloc(size) for _ in range(20)]
        for block in blocks:
            ctypes.memmove(block, b"quokkamarble " * (size // 13), size // 13 * 13)
        wall = libc.malloc(100)
        for block in blocks:
            libc.free(block)
    together.wait()

def leave_everywhere():
    threads = [threading.Thread(target=leave) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

place, wide = Path(sys.argv[1]), int(sys.argv[2])
rows = np.eye(2, wide, dtype=np.float32)
chunks = [Chunk(f"c{n}", "d", "c", "s", "T", (), None, 0, 1, "x", 0) for n in range(2)]
libc.mallopt(-3, 1 << 25)  # as in a process that has freed large blocks
for some in ([], chunks[:1], chunks):
    leave_everywhere()
    store = ChromaVectors(place)
    if some:
        store.add(some, rows[: len(some)])
    store.search(rows[0], collection="c", limit=1)
    store.close()
    for path in place.rglob("*.bin"):
        assert b"quokka" not in path.read_bytes(), path
assert len(list(place.rglob("*.bin"))) == 4
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's memory")
@pytest.mark.parametrize("wide", [32, 384])
def test_what_the_process_had_in_memory_stays_out_of_the_folder(tmp_path: Path, wide: int) -> None:
    command = [sys.executable, "-c", SPILLED, str(tmp_path / "v"), str(wide)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_folder_whose_table_is_gone_is_named(tmp_path: Path) -> None:
    store = ChromaVectors(tmp_path / "v")
    store.add([chunk("a")], unit([1, 0]))
    (tmp_path / "v" / "chroma.sqlite3").unlink()
    with pytest.raises(StoreError, match="cannot be used"):
        store.count("default")
    store.close()
