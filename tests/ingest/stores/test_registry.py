"""What the registry promises on every database, and what each of them does by itself."""

import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from assistant.jobs import Jobs
from assistant.keys import Keys
from ingest.document import Block, Chunk, Document, Span
from ingest.errors import MissingExtraError, NotFoundError, StoreError
from ingest.registry import Registry
from ingest.schema import VERSION
from ingest.tally import FileResult
from tests.postgresql_server import PASSWORD

Open = Callable[[], Registry]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A database of the test's own."""
    if request.param == "sqlite":
        return tmp_path / "w" / "state.sqlite"
    url: str = request.getfixturevalue("empty_postgresql")
    return url


@pytest.fixture
def open_registry(place: Path | str) -> Iterator[Open]:
    opened: list[Registry] = []

    def start() -> Registry:
        opened.append(Registry(place))
        return opened[-1]

    yield start
    for registry in opened:
        registry.close()


@pytest.fixture
def registry(open_registry: Open) -> Registry:
    return open_registry()


def document(name: str, *, collection: str = "default", sha256: str = "x") -> Document:
    return Document(
        name, collection, f"{name}.md", None, sha256, name, "text", (Block("text"),), (Span(0, 4),),
        None, "md", {"author": "Ada"},
    )  # fmt: skip


def chunks(of: Document, *texts: str, title: str = "T", headings: str = "H") -> list[Chunk]:
    return [
        Chunk(
            f"{of.id}-{n}", of.id, of.collection, of.source, title, (headings,), None, 0, 1, said, n
        )
        for n, said in enumerate(texts)
    ]


def put(registry: Registry, name: str, *texts: str, collection: str = "default") -> None:
    one = document(name, collection=collection)
    registry.put([(one, chunks(one, *texts))])


def found(registry: Registry, query: str, **options: object) -> list[str]:
    given = {"collection": "default", "limit": 10, **options}
    return [chunk.id for chunk, _ in registry.search(query, **given)]  # type: ignore[arg-type]


def test_a_document_is_listed_with_what_was_put(registry: Registry) -> None:
    one = document("a")
    parts = chunks(one, "First.", "Second: Ä € 漢字 𝄞 '\"\\.")
    registry.put([(one, parts)])
    record, said, listed = registry.document("a")
    assert (record.source, record.chunks, record.metadata, said) == (
        "a.md",
        2,
        {"author": "Ada"},
        "text",
    )
    assert listed == parts
    assert registry.chunk_ids("a") == {"a-0", "a-1"}
    assert registry.chunks(["a-1", "gone"]) == {"a-1": parts[1]}
    assert registry.documents("default") == registry.documents() == [record]
    assert (registry.collections(), registry.sizes()) == (["default"], {"default": 2})
    with pytest.raises(NotFoundError, match="no document 'b'"):
        registry.document("b")


def test_a_replaced_document_leaves_nothing_of_the_old_one(registry: Registry) -> None:
    put(registry, "a", "copper wire", "iron rail")
    put(registry, "a", "silver spoon")
    assert (found(registry, "copper iron"), found(registry, "silver")) == ([], ["a-0"])
    registry.remove("a")
    assert (found(registry, "silver"), registry.documents(), registry.sizes()) == ([], [], {})


def test_a_document_without_chunks_is_a_document(registry: Registry) -> None:
    put(registry, "a")
    assert registry.documents()[0].chunks == 0


def test_a_rare_word_weighs_more_than_a_common_one(registry: Registry) -> None:
    put(registry, "a", *["the pump runs"] * 8, "the valve runs", "the pump stops")
    assert found(registry, "pump valve")[0] == "a-8"
    assert found(registry, "pump stops")[0] == "a-9"


def test_a_title_weighs_half(registry: Registry) -> None:
    one, two, three = document("a"), document("b"), document("c")
    registry.put([(one, chunks(one, "word word word", title="pump", headings="word"))])
    registry.put([(two, chunks(two, "word word word", title="word", headings="pump"))])
    registry.put([(three, chunks(three, "pump word word", title="word", headings="word"))])
    for n in range(9):
        put(registry, f"other{n}", "something else")
    found = registry.search("pump", collection="default", limit=5)
    best = {chunk.id: score for chunk, score in found}
    assert best["b-0"] == pytest.approx(best["c-0"])
    assert 0 < best["a-0"] < best["b-0"]


def test_words_are_found_in_other_forms_cases_and_without_accents(registry: Registry) -> None:
    put(registry, "a", "Tightening the connections of Müller's café")
    for query in ("tighten", "CONNECTION", "muller", "Müller", "cafe", "tightened connected"):
        assert found(registry, query) == ["a-0"], query


def test_codes_and_numbers_are_found(registry: Registry) -> None:
    put(registry, "a", "Error E-433 at 4.5 bar", "part_no 12e4 of x@y.example", "E-434")
    assert found(registry, "E-433")[0] == "a-0"
    assert found(registry, "4.5 bar") == ["a-0"]
    assert found(registry, "part_no 12e4") == ["a-1"]
    assert found(registry, "y.example") == ["a-1"]


def test_stop_words_alone_find_nothing(registry: Registry) -> None:
    put(registry, "a", "what is the one of them")
    assert found(registry, "What is the of") == []
    assert found(registry, "which one") == ["a-0"]


def test_equal_chunks_are_in_the_order_of_their_ids(registry: Registry) -> None:
    for name in ("m", "Z", "b", "a"):
        put(registry, name, "same words", "same words")
    every = ["Z-0", "Z-1", "a-0", "a-1", "b-0", "b-1", "m-0", "m-1"]
    assert found(registry, "same words") == every
    assert found(registry, "same words", limit=3) == every[:3]


def test_collections_do_not_see_each_other(registry: Registry) -> None:
    put(registry, "a", "pump", collection="one")
    put(registry, "b", "pump", collection="two")
    assert found(registry, "pump", collection="one") == ["a-0"]
    assert found(registry, "pump", collection="three") == []
    assert registry.collections() == ["one", "two"]
    assert [r.id for r in registry.documents("two")] == ["b"]


def test_a_search_can_be_kept_to_some_of_many_documents(registry: Registry) -> None:
    for name in "abc":
        put(registry, name, "pump")
    many = [f"{number:016x}" for number in range(5000)]
    assert found(registry, "pump", documents=["b"]) == ["b-0"]
    assert found(registry, "pump", documents={"c", "a", *many}) == ["a-0", "c-0"]
    assert found(registry, "pump", documents=many) == []
    assert found(registry, "pump", documents=[]) == []


def test_a_few_chunks_among_many_better_ones_are_found(registry: Registry) -> None:
    put(registry, "loud", *["pump pump pump"] * 300, collection="loud")
    put(registry, "quiet", *[f"a pump among many other words {n}" for n in range(7)])
    assert set(found(registry, "pump", limit=7)) == {f"quiet-{n}" for n in range(7)}
    assert found(registry, "pump", limit=3) == found(registry, "pump", limit=7)[:3]


ODD = ['"', "AND OR NOT", "a* (b)", "', DROP TABLE chunks", "NEAR/3", "", "the of and", "漢字",
       ":*", "a & b | !c <-> d", "\\", "''", "_", "__ _a_", "%s :x {y}", "\x00", "٣٤", "ⅷ ²",
       "e\u0301", "x" * 5000, "🦀"]  # fmt: skip


@pytest.mark.parametrize("query", ODD, ids=range(len(ODD)))
def test_odd_queries_break_nothing(registry: Registry, query: str) -> None:
    put(registry, "a", "plain text")
    found(registry, query)
    assert found(registry, f"plain {query}") == ["a-0"]


def test_pending_vectors_are_remembered_once(registry: Registry) -> None:
    registry.set_pending(["a", "b"])
    registry.set_pending(["b", "c"])
    assert registry.pending() == {"a", "b", "c"}
    registry.clear_pending(["a", "c"])
    assert registry.pending() == {"b"}


def test_more_ids_than_a_statement_takes_are_no_trouble(registry: Registry) -> None:
    many = [f"{number:024x}" for number in range(40_000)]
    put(registry, "a", "pump")
    assert list(registry.chunks([*many, "a-0"])) == ["a-0"]
    registry.set_pending(["b", many[-1]])
    registry.clear_pending(many)
    assert registry.pending() == {"b"}


def test_pages_hold_every_chunk_once(registry: Registry) -> None:
    put(registry, "a", *["x"] * 7)
    put(registry, "b", *["y"] * 4)
    put(registry, "c", "z", collection="other")
    pages = list(registry.pages("default", size=4))
    assert [len(page) for page in pages] == [4, 4, 3]
    ids = [chunk.id for page in pages for chunk in page]
    assert ids == sorted(set(ids))
    assert len(ids) == 11


def test_what_was_noted_is_there_after_reopening(open_registry: Open) -> None:
    first = open_registry()
    put(first, "a", "pump")
    assert first.fact("model") is None
    first.note("model", "one")
    first.note("model", "two")
    index = first.index_id
    first.close()
    again = open_registry()
    assert (again.fact("model"), again.index_id) == ("two", index)
    assert found(again, "pump") == ["a-0"]


def test_jobs_lie_in_the_same_database(registry: Registry) -> None:
    jobs = Jobs(registry.engine, now=lambda: 1.0)
    job = jobs.add("default", total=2)
    jobs.progress(job.id, done=1, current="a.md")
    assert jobs.get(job.id).done == 1
    assert jobs.next() is None  # its files have not come
    assert jobs.interrupt() == 1
    assert jobs.get(job.id).error == "interrupted"


def test_a_job_is_begun_once_whoever_looks(registry: Registry) -> None:
    jobs = Jobs(registry.engine, now=lambda: 1.0)
    job = jobs.add("default", total=2)
    jobs.submit(job.id, ["a.md", "b.md"], [None, None])
    assert jobs.interrupt() == 0  # all it needs is there
    seen = [jobs.next() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(jobs.claim, [one for one in seen if one is not None])) == 1
    jobs.through(job.id, "b.md", FileResult("b.md", "added", 3), done=1)
    left = [(file.source, file.result is None) for file in jobs.files(job.id)]
    assert left == [("a.md", True), ("b.md", False)]
    jobs.release(job.id)
    assert jobs.next() == jobs.get(job.id)
    jobs.finish(job.id, result={})
    assert (jobs.next(), jobs.files(job.id), jobs.unfinished()) == (None, [], set())


def test_those_who_open_a_new_database_at_once_make_its_tables_once(
    open_registry: Open, place: Path | str
) -> None:
    together = threading.Barrier(8, timeout=60)  # one who fails frees the others

    def start() -> str:
        together.wait()
        registry = open_registry()
        together.wait()
        Keys(registry.engine)
        together.wait()
        Jobs(registry.engine).add("default", total=1)
        return registry.index_id

    with ThreadPoolExecutor(8) as pool:
        indices = [one.result() for one in [pool.submit(start) for _ in range(8)]]
    assert len(set(indices)) == 1
    assert Jobs(open_registry().engine).interrupt() == 8


def set_version(place: Path | str, version: int) -> None:
    if isinstance(place, Path):
        with sqlite3.connect(place) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
        connection.close()
    else:
        engine = create_engine(place.replace("postgresql", "postgresql+pg8000", 1))
        with engine.begin() as connection:
            connection.execute(text(f"UPDATE schema_version SET version = {version}"))
        engine.dispose()


def test_a_newer_schema_is_refused_and_left_as_it_is(
    open_registry: Open, place: Path | str
) -> None:
    first = open_registry()
    put(first, "a", "pump")
    first.close()
    set_version(place, 99)
    for _ in range(2):
        with pytest.raises(StoreError, match=f"has schema 99; this version reads up to {VERSION}"):
            open_registry()
    set_version(place, VERSION)
    assert found(open_registry(), "pump") == ["a-0"]


def test_an_older_schema_is_brought_forward_with_all_it_holds(
    open_registry: Open, place: Path | str
) -> None:
    first = open_registry()
    put(first, "a", "pump")
    job = Jobs(first.engine).add("default", total=1)
    with first.engine.begin() as connection:
        connection.execute(text("DROP TABLE job_files"))  # it came after version 2
    first.close()
    set_version(place, 2)
    again = open_registry()
    assert found(again, "pump") == ["a-0"]
    jobs = Jobs(again.engine)
    assert jobs.interrupt() == 1
    assert jobs.get(job.id).status == "failed"
    again.close()
    set_version(place, VERSION + 1)  # what it was made from is not what it is now
    with pytest.raises(StoreError, match=f"has schema {VERSION + 1}"):
        open_registry()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"not a database, and long enough to be told from an empty one" * 20)
    with pytest.raises(StoreError, match=r"state\.sqlite cannot be used: file is not a database"):
        Registry(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(StoreError, match=r"file/w/state\.sqlite cannot be opened"):
        Registry(tmp_path / "file" / "w" / "state.sqlite")


def test_a_database_that_is_down_is_named_without_its_password() -> None:
    url = f"postgresql://tester:{PASSWORD}@127.0.0.1:9/state"
    with pytest.raises(StoreError, match=r"//tester:\*\*\*@127\.0\.0\.1:9/state does") as error:
        Registry(url)
    assert PASSWORD not in str(error.value)


def test_a_wrong_password_and_a_missing_database_are_named(postgresql_url: str) -> None:
    for url, what in (
        (postgresql_url.replace(PASSWORD, "wrong"), "password authentication failed"),
        (postgresql_url.replace("/postgres", "/nowhere"), 'database "nowhere" does not exist'),
    ):
        with pytest.raises(StoreError, match=what) as error:
            Registry(url)
        assert "wrong" not in str(error.value)
        assert PASSWORD not in str(error.value)


PLAIN = """
SELECT chunks.id, -bm25(chunks_fts, 0.5, 1.0, 1.0) FROM chunks_fts
JOIN chunks ON chunks.number = chunks_fts.rowid
WHERE chunks_fts MATCH ? AND chunks.collection = ? AND chunks.document_id IN ({})
ORDER BY bm25(chunks_fts, 0.5, 1.0, 1.0), chunks.id LIMIT ?
"""
WORDS = st.sampled_from(["red", "green", "blue", "pump", "valve", "wire"])


@given(
    texts=st.lists(st.lists(WORDS, min_size=1, max_size=4).map(" ".join), min_size=1, max_size=60),
    query=st.lists(WORDS, min_size=1, max_size=3, unique=True),
    limit=st.integers(1, 6),
    kept=st.sets(st.integers(0, 5)),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_ranking_first_and_sorting_out_afterwards_changes_no_result(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    query: list[str],
    limit: int,
    kept: set[int],
) -> None:
    path = tmp_path_factory.mktemp("plain") / "s.sqlite"
    registry = Registry(path)
    for number in range(6):
        mine = texts[number::6]
        put(registry, f"d{number}", *mine, collection="one" if number % 2 else "two")
    documents = [f"d{number}" for number in sorted(kept)]
    match = " OR ".join(f'"{word}"' for word in query)
    with sqlite3.connect(path) as connection:
        plain = connection.execute(
            PLAIN.format(",".join("?" * len(documents))), [match, "one", *documents, limit]
        ).fetchall()
    connection.close()
    ours = registry.search(" ".join(query), collection="one", limit=limit, documents=documents)
    registry.close()
    assert [chunk.id for chunk, _ in ours] == [row[0] for row in plain]
    assert [score for _, score in ours] == pytest.approx([row[1] for row in plain])


def test_a_missing_driver_is_named_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pg8000", None)
    with pytest.raises(MissingExtraError, match="`pg8000`") as error:
        Registry("postgresql://me@db/x")
    assert "groundtune[scale]" in error.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    Registry(path).close()
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    with pytest.raises(StoreError, match=r"state\.sqlite cannot be used: .*readonly"):
        Registry(path).note("a", "b")
    tmp_path.chmod(0o755)
