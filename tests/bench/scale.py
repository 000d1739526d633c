"""Search at 10,000, 100,000 and 1,000,000 chunks against the raw libraries, in the same run.

The vectors are synthetic: 384 numbers around 2,000 centres in 32 directions, with noise in all of
them, so that a graph has something to find its way by. So are the texts: 60 words a chunk, drawn
by Zipf's law from 30,000. `python -m tests.bench.scale FOLDER --sizes 10000 100000` builds in
FOLDER and goes on from what lies there.
"""

import argparse
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from assistant.config import Settings
from assistant.retrieve import Retriever
from ingest.document import Block, Chunk, Document, Span
from ingest.index import Index
from ingest.registry import Registry
from ingest.stores.apart import ApartVectors
from ingest.stores.chroma import ChromaVectors
from ingest.stores.chroma_client import close_client, open_client

DIMENSION, LATENT, CENTRES = 384, 32, 2000
VOCABULARY, WORDS = 30_000, 60
BATCH = 5000
"""Chunks of a document, and vectors stored at once."""
QUESTIONS, LIMIT = 100, 30
RAW = "raw"
COLLECTION, SMALL = "default", "small"
"""The second gets one chunk in a hundred: a tenant among larger ones."""


class Spent(NamedTuple):
    """Milliseconds of one search."""

    clock: float
    processor: float
    """Of all threads; what other work on the machine touches least."""


class Vocabulary:
    """Texts and vectors of any chunk, by its number."""

    def __init__(self) -> None:
        shape = np.random.default_rng(0)
        self._ways = shape.normal(size=(LATENT, DIMENSION)).astype(np.float32)
        self._centres = shape.normal(size=(CENTRES, LATENT)).astype(np.float32)
        odds = 1 / np.arange(1, VOCABULARY + 1)
        self._odds = np.cumsum(odds / odds.sum())

    def rows(self, count: int, seed: int) -> NDArray[np.float32]:
        """Return vectors: shape (count, 384), L2 norm 1."""
        random = np.random.default_rng(seed)
        place = self._centres[random.integers(0, CENTRES, count)]
        place = place + 0.6 * random.normal(size=place.shape).astype(np.float32)
        rows = place @ self._ways + 0.8 * random.normal(size=(count, DIMENSION)).astype(np.float32)
        unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit.astype(np.float32)

    def texts(self, count: int, seed: int, *, words: int = WORDS) -> list[str]:
        """Return texts of `words` words."""
        random = np.random.default_rng(seed)
        drawn = np.searchsorted(self._odds, random.random((count, words)))
        return [" ".join(f"w{word}" for word in text) for text in drawn]


class Prepared:
    """An embedder that knows the vectors of the questions already: embedding is not measured."""

    name = backend = "prepared"
    max_tokens = 256

    def __init__(self, rows: dict[str, NDArray[np.float32]]) -> None:
        self._rows = rows

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one row a text."""
        return np.stack([self._rows[text] for text in texts])

    def tokenize(self, text: str) -> list[str]:
        """Return the words."""
        return text.split()


def fill(registry: Registry, folder: Path, words: Vocabulary, *, size: int, until: float) -> bool:
    """Bring the index to `size` chunks and a hundredth of that in `SMALL`; False: out of time."""
    with closing(ApartVectors(folder)) as vectors:
        return all(
            _fill(registry, vectors, words, collection, wanted, step, until)
            for collection, wanted, step in ((COLLECTION, size, BATCH), (SMALL, size // 100, 100))
        )


def _fill(
    registry: Registry,
    vectors: ApartVectors,
    words: Vocabulary,
    collection: str,
    size: int,
    step: int,
    until: float,
) -> bool:
    """Store vectors in a process of their own, and meanwhile the texts of the batch before.

    That is half the time with two processors. A batch is listed once its vectors are there, so the
    work can be cut off.
    """
    ready: list[Chunk] = []

    def put() -> None:
        if ready:
            registry.put([(_document(ready[0].document_id, collection), ready)])

    with ThreadPoolExecutor(1) as beside:
        for start in range(registry.sizes().get(collection, 0), size, step):
            if time.monotonic() > until:
                put()
                return False
            seed = start + (0 if collection == COLLECTION else 1 << 40)
            chunks = _chunks(words.texts(step, seed), collection, start)
            storing = beside.submit(vectors.add, chunks, words.rows(step, seed))
            put()
            storing.result()
            ready = chunks
    put()
    return True


def fill_raw(folder: Path, words: Vocabulary, *, size: int) -> tuple[int, float]:
    """Bring a Chroma collection to the same vectors; return how many came, and the seconds."""
    with closing(open_client(folder)) as client:
        settings = {"hnsw": {"space": "cosine", "ef_search": 200}}
        one = client.get_or_create_collection(RAW, configuration=settings, embedding_function=None)
        before, began = one.count(), time.monotonic()
        for start in range(before, size, BATCH):
            ids = [f"{start + n:024x}" for n in range(BATCH)]
            one.add(
                ids=ids,
                embeddings=words.rows(BATCH, start),
                metadatas=[{"document_id": f"{start}"} for _ in ids],
            )
        return size - before, time.monotonic() - began


def _chunks(texts: Sequence[str], collection: str, start: int) -> list[Chunk]:
    document = f"{collection}-{start}"
    return [
        Chunk(f"{collection[0]}{start + n:023x}", document, collection, "s.md", "Title", ("Part",),
              None, 0, len(said), said, n)
        for n, said in enumerate(texts)
    ]  # fmt: skip


def _document(name: str, collection: str) -> Document:
    return Document(
        name, collection, f"{name}.md", None, "x", name, "", (Block(""),), (Span(0, 0),), None,
        "md", {},
    )  # fmt: skip


def measure(index: Index, words: Vocabulary, folder: Path, size: int, asked: int) -> Iterator[str]:
    """Yield the lines for an index of `size` chunks, from `asked` questions."""
    rows = words.rows(asked, seed=7_777_777)
    questions = [f"{text} q{n}" for n, text in enumerate(words.texts(asked, 7_777_778, words=5))]
    index.embedder = Prepared(dict(zip(questions, rows, strict=True)))
    retriever = Retriever(index, candidates=LIMIT, dense_weight=0.7, sentences=0)
    database = sqlite3.connect(folder / "state.sqlite")
    assert isinstance(index.vectors, ChromaVectors)
    alone = open_client(folder / "raw")
    one = alone.get_collection(RAW, embedding_function=None)
    matches = {q: " OR ".join(f'"{word}"' for word in q.split()) for q in questions}

    def raw_dense(question: str) -> object:
        row = index.embedder.embed([question])
        return one.query(query_embeddings=row, n_results=LIMIT, include=["distances"])

    def raw_words(question: str) -> object:
        return database.execute(
            "SELECT rowid, text FROM chunks_fts WHERE chunks_fts MATCH ? ORDER BY rank LIMIT ?",
            (matches[question], LIMIT),
        ).fetchall()

    def raw(question: str) -> object:
        return raw_dense(question), raw_words(question)

    def ours(question: str) -> object:
        return retriever.search(question, k=6)

    kept = [r.id for r in index.registry.documents(COLLECTION)][1:]

    def filtered(question: str) -> object:
        dense = index.dense(question, collection=COLLECTION, limit=LIMIT, documents=kept)
        return dense, index.lexical(question, collection=COLLECTION, limit=LIMIT, documents=kept)

    def tenant(question: str) -> object:
        return retriever.search(question, k=6, collection=SMALL)

    yield f"{size:,} chunks: {_resident():,} MB resident, {_disk(folder):,} MB on disk"
    times = _interleaved([ours, raw, raw_dense, raw_words, filtered, tenant], questions)
    ratios = " and ".join(
        f"{statistics.median(mine) / statistics.median(theirs):.2f}"
        for mine, theirs in zip(
            zip(*times[0], strict=True), zip(*times[1], strict=True), strict=True
        )
    )
    yield f"  search              {_spread(times[0])}   ratios of the medians to raw {ratios}"
    yield f"  raw Chroma + FTS    {_spread(times[1])}"
    yield f"  raw Chroma          {_spread(times[2])}"
    yield f"  raw FTS             {_spread(times[3])}"
    yield f"  one document hidden {_spread(times[4])}"
    yield f"  in the small tenant {_spread(times[5])}"
    yield from _widths(index, words, rows, size)
    database.close()
    close_client(alone)


def _interleaved(
    works: Sequence[Callable[[str], object]], questions: Sequence[str]
) -> list[list[Spent]]:
    """Return what each work takes for each question; they take turns, warmed up."""
    times: list[list[Spent]] = [[] for _ in works]
    warm = questions[:5]
    for question in (*warm, *questions):
        for work, spent in zip(works, times, strict=True):
            began = time.perf_counter(), time.process_time()
            work(question)
            spent.append(_since(began))
    return [spent[len(warm) :] for spent in times]


def _since(began: tuple[float, float]) -> Spent:
    clock, processor = began
    return Spent((time.perf_counter() - clock) * 1000, (time.process_time() - processor) * 1000)


def _spread(times: Sequence[Spent]) -> str:
    clock, processor = (
        f"p50 {statistics.median(column):8.1f} p95 {statistics.quantiles(column, n=20)[-1]:8.1f} ms"
        for column in zip(*times, strict=True)
    )
    return f"{clock}   processor {processor}   n={len(times)}"


def _widths(index: Index, words: Vocabulary, rows: NDArray[np.float32], size: int) -> Iterator[str]:
    """Yield recall and time by how widely the graph is searched, against comparing with all."""
    best = np.full((len(rows), LIMIT), -2.0, dtype=np.float32)
    names = np.zeros((len(rows), LIMIT), dtype=np.int64)
    for start in range(0, size, BATCH):
        near = rows @ words.rows(BATCH, seed=start).T  # (questions, BATCH)
        both = np.concatenate([best, near], axis=1)
        all_names = np.concatenate(
            [names, np.broadcast_to(np.arange(start, start + BATCH), near.shape)], axis=1
        )
        order = np.argsort(-both, axis=1)[:, :LIMIT]
        best = np.take_along_axis(both, order, axis=1)
        names = np.take_along_axis(all_names, order, axis=1)
    assert isinstance(index.vectors, ChromaVectors)
    for width in (100, 400, 200):  # ends with what is the default
        for graph in index.vectors.graphs(COLLECTION):
            graph.modify(configuration={"hnsw": {"ef_search": width}})
        times, hits = [], 0
        for row, truth in zip(rows, names, strict=True):
            began = time.perf_counter(), time.process_time()
            hit = index.vectors.search(row, collection=COLLECTION, limit=LIMIT)
            times.append(_since(began))
            hits += len({int(n.chunk_id[1:], 16) for n in hit} & set(truth.tolist()))
        recall = hits / (len(rows) * LIMIT)
        yield f"  ef_search {width:<10}{_spread(times)}   recall@{LIMIT} {recall:.4f}"


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1_000_000


def _disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) // 1_000_000


def scale(
    folder: Path, sizes: Sequence[int], *, minutes: float = 1e9, asked: int = QUESTIONS
) -> Iterator[str]:
    """Yield the lines for an index in `folder` that grows to each of `sizes` chunks."""
    words = Vocabulary()
    registry = Registry(folder / "state.sqlite")
    until = time.monotonic() + minutes * 60
    for size in sizes:
        before, began = sum(registry.sizes().values()), time.monotonic()
        whole = fill(registry, folder / "vectors", words, size=size, until=until)
        added = sum(registry.sizes().values()) - before
        if added:
            yield f"stored {added:,} chunks, {added / (time.monotonic() - began):,.0f} a second"
        if not whole:
            yield f"stopped before {size:,} chunks; run it again to go on"
            break
        came, took = fill_raw(folder / "raw", words, size=size)
        if came:
            yield f"one Chroma collection stored {came:,} vectors, {came / took:,.0f} a second"
        with closing(ChromaVectors(folder / "vectors")) as vectors:
            yield from measure(Index(registry, vectors, Prepared({})), words, folder, size, asked)
    registry.close()


def measured(_: Settings) -> Iterator[str]:
    """Measure in a folder that is removed afterwards: minutes, most of them for 100,000 chunks."""
    with tempfile.TemporaryDirectory() as folder:
        yield from scale(Path(folder), [10_000, 100_000])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--minutes", type=float, default=1e9, help="stop building after these")
    parser.add_argument("--questions", type=int, default=QUESTIONS, help="asked at each size")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for result in scale(args.folder, args.sizes, minutes=args.minutes, asked=args.questions):
        sys.stdout.write(result + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
