"""Vectors in Chroma: a folder inside the workspace, or a server.

Chroma keeps each vector with its id and its document's id, and nothing else: the registry holds all
that there is to say of a chunk. LlamaIndex's store would write a node beside each vector, which
takes twice the time and space, and read them back with each search (`docs/design/stores.md`).

In which of Chroma's collections one of ours lies is `chroma_graphs.py`'s.
"""

import itertools
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from ingest.document import Chunk
from ingest.errors import StoreError
from ingest.stores.chroma_graphs import Graphs, pages
from ingest.stores.vectors import INDEX, MODEL, Near

HNSW = {"space": "cosine", "ef_search": 200}
"""Two similar chunks differ in the third digit, so the graph is searched wider than by default."""
GRAPH_CHUNKS = 16_384
"""Most vectors of a graph in a folder: 30 MB with 384 numbers each."""
MARK = "writing"
OLD = "chunks"
"""The one collection of the first version, for all of Groundtune's."""


class ChromaVectors:
    """The vectors of one model in a Chroma folder, for one process at a time, or on a server.

    Chroma writes its graph in place, every 1,000 vectors. A process that is killed meanwhile leaves
    one that refuses further writes, or that has lost vectors without a word (chroma-core/chroma
    issue 7678). So a mark stands in a folder during each write: where one was left, and a file of
    the graph is younger than it, the graph is torn and has to be made anew.
    """

    def __init__(
        self,
        place: Path | str,
        *,
        index: str = INDEX,
        model: str = MODEL,
        hnsw: Mapping[str, object] = HNSW,
        graph_chunks: int = GRAPH_CHUNKS,
    ) -> None:
        """Open the folder or the server at an `http://` address; a folder is made if need be.

        `hnsw` are the settings of a new graph, and `graph_chunks` the most vectors of one in a
        folder. A server keeps each collection in one: its memory is its own.

        Raises:
            StoreError: no such server, or the folder cannot be written.
        """
        self._place = place
        self._model = model
        self._mark = place / MARK if isinstance(place, Path) else None
        with self._translated():
            self._torn = self._mark is not None and _touched_since(self._mark)
            self._graphs = Graphs(
                place, index=index, model=model, hnsw=hnsw, graph_chunks=graph_chunks
            )
            if self._mark is not None and not self._torn:
                if self._mark.exists():
                    self._graphs.catch_up()
                self._mark.unlink(missing_ok=True)
            self._move_old()

    @property
    def place(self) -> str:
        """The folder or the address."""
        return str(self._place)

    def add(self, chunks: Sequence[Chunk], rows: NDArray[np.float32]) -> None:
        """Store one vector a chunk; a chunk that is stored already stays as it is."""
        for collection in dict.fromkeys(chunk.collection for chunk in chunks):
            by_id: dict[str, int] = {}
            for n, chunk in enumerate(chunks):
                if chunk.collection == collection:
                    by_id.setdefault(chunk.id, n)
            documents = {chunk_id: chunks[n].document_id for chunk_id, n in by_id.items()}
            self._store(collection, documents, rows[list(by_id.values())])

    def remove(self, ids: Sequence[str], *, collection: str | None = None) -> None:
        """Remove vectors; ids without one are passed over."""
        for name in self.collections() if collection is None else [collection]:
            with self._marked():
                touched = set()
                for graph, some in self._graphs.holding(name, ids):
                    graph.delete(ids=some)
                    touched.add(graph.name)
                self._graphs.sweep(name, sorted(touched))

    def search(
        self,
        row: NDArray[np.float32],
        *,
        collection: str,
        limit: int,
        documents: Collection[str] | None = None,
    ) -> list[Near]:
        """Return the nearest vectors to `row`, shape (dimension,), nearest first."""
        from chromadb.errors import ChromaError, NotFoundError

        if documents is not None and not documents:
            return []
        where = None if documents is None else {"document_id": {"$in": sorted(documents)}}

        def ask(graph: Any) -> list[Near]:
            try:
                found = graph.query(
                    query_embeddings=row[None], n_results=limit, where=where, include=["distances"]
                )
            except NotFoundError:  # it was dropped meanwhile
                return []
            pairs = zip(found["ids"][0], found["distances"][0], strict=True)
            return [Near(chunk_id, 1 - float(distance)) for chunk_id, distance in pairs]

        with self._translated():
            while True:
                names = self._graphs.names(collection)
                try:
                    return _nearest(ask, self._graphs.read(collection), limit)
                except ChromaError:
                    if self._graphs.names(collection) == names:
                        raise
                    # One of them is being dropped, since it is empty: ask those that are left.

    def ids(self, collection: str | None = None) -> set[str]:
        """Return the ids of the vectors of a collection; None is all of them."""
        names = self.collections() if collection is None else [collection]
        with self._translated():
            return set[str]().union(*(self._graphs.ids(name) for name in names))

    def rows(self, ids: Sequence[str], *, collection: str) -> NDArray[np.float32]:
        """Return the vectors of chunks: shape (len(ids), dimension), in the order of `ids`."""
        by_id: dict[str, Any] = {}
        with self._translated():
            self._graphs.read(collection)
            for graph, some in self._graphs.holding(collection, ids):
                page = graph.get(ids=some, include=["embeddings"])
                by_id.update(zip(page["ids"], page["embeddings"], strict=True))
        missing = [chunk_id for chunk_id in ids if chunk_id not in by_id]
        if missing:
            raise StoreError(
                f"{self.place} has no vector of {missing[0]} ({len(missing)} missing)."
            )
        return np.asarray([by_id[chunk_id] for chunk_id in ids], dtype=np.float32)

    def collections(self) -> list[str]:
        """Return the collections that vectors were stored for."""
        with self._translated():
            listed = self._graphs.listed().values()
        return sorted({collection for model, collection in listed if model == self._model})

    def count(self, collection: str) -> int:
        """Return how many vectors a collection has."""
        with self._translated():
            return self._graphs.count(collection)

    def models(self) -> set[str]:
        """Return the models whose vectors the store keeps for this index."""
        with self._translated():
            return {model for model, _ in self._graphs.listed().values()}

    def drop(self, model: str) -> None:
        """Remove all vectors that `model` made for this index."""
        with self._translated():
            self._graphs.drop(model)

    @property
    def torn(self) -> bool:
        """Whether a process was killed while it wrote to the graph in the folder."""
        return self._torn

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Remove all vectors of the index; until the block has ended the folder counts as torn.

        Those that another model is making beside ours may be torn as well.
        """
        self._torn = True
        with self._translated():
            if self._mark is not None:
                self._mark.touch()
            for model in self.models():
                self.drop(model)
        yield
        self._torn = False
        if self._mark is not None:
            self._mark.unlink()

    @contextmanager
    def _marked(self) -> Iterator[None]:
        with self._translated():
            if self._torn or self._mark is None:
                yield
                return
            self._mark.touch()
            yield
            self._mark.unlink()

    def close(self) -> None:
        """Let go of the folder or the connection."""
        self._graphs.close()

    def graphs(self, collection: str) -> list[Any]:
        """Return Chroma's own collections behind one of ours, to be read."""
        with self._translated():
            return self._graphs.read(collection)

    def _store(
        self, collection: str, documents: Mapping[str, str], rows: NDArray[np.float32]
    ) -> None:
        """Store the vectors of chunks, by whose ids `documents` has their documents'."""
        ids = list(documents)
        with self._translated():
            stored = self._graphs.stored(collection, ids)
        new = [n for n, chunk_id in enumerate(ids) if chunk_id not in stored]
        while new:
            with self._marked(), self._graphs.filling(collection) as (graph, room):
                some, new = new[:room], new[room:]
                graph.add(
                    ids=[ids[n] for n in some],
                    embeddings=rows[some],
                    metadatas=[{"document_id": documents[ids[n]]} for n in some],
                )

    def _move_old(self) -> None:
        """Take over what the first version stored, unless that is done; safe to interrupt."""
        from chromadb.errors import NotFoundError

        if isinstance(self._place, str):
            return
        try:
            old = self._graphs.graph(OLD)
        except NotFoundError:
            return
        for page in pages(old, include=["embeddings", "metadatas"]):
            for collection in {str(about["collection"]) for about in page["metadatas"]}:
                self._graphs.read(collection)  # nothing may be let go while `old` is read
                about = page["metadatas"]
                some = [n for n, m in enumerate(about) if m["collection"] == collection]
                here = {page["ids"][n]: str(about[n]["document_id"]) for n in some}
                self._store(collection, here, np.asarray(page["embeddings"], np.float32)[some])
        self._graphs.delete(OLD)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import httpx
        from chromadb.errors import ChromaError

        try:
            yield
        except (ChromaError, httpx.HTTPError, sqlite3.Error, OSError, ValueError) as error:
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> StoreError:
        what = str(error).partition("\n")[0]
        if isinstance(self._place, Path):
            return StoreError(
                f"The vectors in {self._place} cannot be used: {what}",
                hint="What was stored before is kept. Is the disk full or the folder read-only? "
                "groundtune doctor says more.",
            )
        url = urlsplit(self._place)
        return StoreError(
            f"The Chroma server at {self._place} does not do its work: {what}",
            hint=f"Is it running? chroma run --host {url.hostname} --port {url.port or 8000}",
        )


def _nearest(ask: Callable[[Any], list[Near]], graphs: Sequence[Any], limit: int) -> list[Near]:
    """Return the nearest of what `ask` finds in each graph, nearest first."""
    if len(graphs) < 2:
        return [near for graph in graphs for near in ask(graph)]
    with ThreadPoolExecutor(min(len(graphs), os.cpu_count() or 1)) as pool:
        near = itertools.chain.from_iterable(pool.map(ask, graphs))
        return sorted(near, key=lambda one: -one.similarity)[:limit]


def _touched_since(mark: Path) -> bool:
    """Return whether the write that left `mark` behind, if there is one, got to the graph."""
    if not mark.exists():
        return False
    began = mark.stat().st_mtime_ns
    return any(file.stat().st_mtime_ns >= began for file in mark.parent.glob("*/*"))
