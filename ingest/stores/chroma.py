"""Vectors in Chroma: a folder inside the workspace, or a server.

Chroma keeps each vector with its id and its document's id, and nothing else: the registry holds all
that there is to say of a chunk. LlamaIndex's store would write a node beside each vector, which
takes twice the time and space, and read them back with each search (`docs/design/stores.md`).

A collection in a folder lies in several of Chroma's, each with a graph of bounded size: Chroma
holds whole graphs in memory, the longer one is the longer an insertion takes, and each is written
whole every 1,000 vectors. So an ingestion holds one or two, and a search asks all of them.
"""

import os
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from ingest.document import Chunk
from ingest.errors import StoreError
from ingest.stores.chroma_catalogue import Catalogue
from ingest.stores.chroma_client import close_client, open_client
from ingest.stores.vectors import INDEX, MODEL, Near, number_of, parts_of, store_name

HNSW = {"space": "cosine", "ef_search": 200}
"""Two similar chunks differ in the third digit, so the graph is searched wider than by default."""
GRAPH_CHUNKS = 16_384
"""Most vectors of a graph in a folder: 30 MB with 384 numbers each."""
GRAPHS_HELD = 2
"""Graphs that a process holds while it only writes: one to fill, one to remove from."""
SYNC = 1000
"""Chroma writes a graph after so many changes; those after that are made anew at each opening."""
PAGE = 5000
"""Vectors read or written at a time."""
MARK = "writing"
OLD = "chunks"
"""The one collection of the first version, for all of Groundtune's."""


class ChromaVectors:
    """The vectors of one model in a Chroma folder, for one process at a time, or on a server.

    Chroma writes its graph in place, every 1,000 vectors. A process that is killed meanwhile leaves
    one that refuses further writes, or that has lost vectors without a word (chroma-core/chroma
    issue 7678). So a mark stands in a folder during each write: where one was left, and a file of
    the graph is younger than it, the graph is torn and has to be made anew.

    Until it is searched, a folder holds `GRAPHS_HELD` graphs in memory; from then on, all of them.
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
        self._index = index
        self._model = model
        self._hnsw = dict(hnsw)
        self._graph_chunks = graph_chunks
        self._catalogue: Catalogue | None = None
        self._mark: Path | None = None
        if isinstance(place, Path):
            # The other half embeds meanwhile; with all of them each would wait for the other.
            self._hnsw.setdefault("num_threads", max(1, (os.cpu_count() or 1) // 2))
            self._catalogue = Catalogue(place)
            self._mark = place / MARK
        self._names: dict[str, list[str]] = {}
        self._open: dict[str, Any] = {}
        self._searched = False
        self._switching = threading.Lock()
        with self._translated():
            self._torn = self._mark is not None and _touched_since(self._mark)
            self._client = open_client(place)
            if self._mark is not None and not self._torn:
                if self._mark.exists():
                    self._catch_up()
                self._mark.unlink(missing_ok=True)
            self._batch = min(PAGE, self._client.get_max_batch_size())
            self._move_old()

    @property
    def place(self) -> str:
        """The folder or the address."""
        return str(self._place)

    def add(self, chunks: Sequence[Chunk], rows: NDArray[np.float32]) -> None:
        """Store one vector a chunk; a chunk that is stored already stays as it is."""
        for collection in dict.fromkeys(chunk.collection for chunk in chunks):
            places = [n for n, chunk in enumerate(chunks) if chunk.collection == collection]
            by_id = {chunks[n].id: n for n in reversed(places)}
            documents = {chunk_id: chunks[n].document_id for chunk_id, n in by_id.items()}
            self._store(collection, documents, rows[list(by_id.values())])

    def remove(self, ids: Sequence[str], *, collection: str | None = None) -> None:
        """Remove vectors; ids without one are passed over."""
        for name in self.collections() if collection is None else [collection]:
            for graph, held in self._holders(name, ids).items():
                with self._marked():
                    for start in range(0, len(held), self._batch):
                        self._graph(graph).delete(ids=held[start : start + self._batch])

    def search(
        self,
        row: NDArray[np.float32],
        *,
        collection: str,
        limit: int,
        documents: Collection[str] | None = None,
    ) -> list[Near]:
        """Return the nearest vectors to `row`, shape (dimension,), nearest first."""
        if documents is not None and not documents:
            return []
        where = None if documents is None else {"document_id": {"$in": sorted(documents)}}

        def ask(graph: Any) -> Any:
            return graph.query(
                query_embeddings=row[None], n_results=limit, where=where, include=["distances"]
            )

        with self._translated():
            graphs = self.graphs(collection)
            if len(graphs) < 2:
                found = [ask(graph) for graph in graphs]
            else:
                with ThreadPoolExecutor(min(len(graphs), os.cpu_count() or 1)) as pool:
                    found = list(pool.map(ask, graphs))
        near = [
            Near(chunk_id, 1 - float(distance))
            for one in found
            for chunk_id, distance in zip(one["ids"][0], one["distances"][0], strict=True)
        ]
        return sorted(near, key=lambda one: -one.similarity)[:limit]

    def ids(self, collection: str | None = None) -> set[str]:
        """Return the ids of the vectors of a collection; None is all of them."""
        collections = self.collections() if collection is None else [collection]
        names = [name for one in collections for name in self._graphs_of(one)]
        if self._catalogue is not None:
            return self._catalogue.ids(names)
        with self._translated():
            return {
                chunk_id
                for name in names
                for page in _pages(self._graph(name), include=[])
                for chunk_id in page["ids"]
            }

    def rows(self, ids: Sequence[str], *, collection: str) -> NDArray[np.float32]:
        """Return the vectors of chunks: shape (len(ids), dimension), in the order of `ids`."""
        by_id: dict[str, Any] = {}
        with self._translated():
            self.graphs(collection)
            for name, held in self._holders(collection, ids).items():
                for start in range(0, len(held), PAGE):
                    some = held[start : start + PAGE]
                    page = self._graph(name).get(ids=some, include=["embeddings"])
                    by_id.update(zip(page["ids"], page["embeddings"], strict=True))
        missing = [chunk_id for chunk_id in ids if chunk_id not in by_id]
        if missing:
            raise StoreError(
                f"{self.place} has no vector of {missing[0]} ({len(missing)} missing)."
            )
        return np.asarray([by_id[chunk_id] for chunk_id in ids], dtype=np.float32)

    def collections(self) -> list[str]:
        """Return the collections that vectors were stored for."""
        return sorted({name for _, model, name in self._listed().values() if model == self._model})

    def count(self, collection: str) -> int:
        """Return how many vectors a collection has."""
        names = self._graphs_of(collection)
        if self._catalogue is not None:
            return sum(self._catalogue.sizes(names).values())
        with self._translated():
            return sum(int(self._graph(name).count()) for name in names)

    def models(self) -> set[str]:
        """Return the models whose vectors the store keeps for this index."""
        return {model for _, model, _ in self._listed().values()}

    def drop(self, model: str) -> None:
        """Remove all vectors that `model` made for this index."""
        with self._translated():
            for name, (_, other, _) in self._listed().items():
                if other == model:
                    self._client.delete_collection(name)
        self._open.clear()
        self._names.clear()

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
        close_client(self._client)

    def graphs(self, collection: str) -> list[Any]:
        """Return Chroma's own collections behind one of ours, to be read; all stay in memory."""
        if not self._searched:
            with self._switching:
                self._searched = True
        return [self._graph(name) for name in self._graphs_of(collection)]

    def _listed(self) -> dict[str, tuple[str, str, str]]:
        """Return index, model and collection of what the store holds of this index, by name."""
        with self._translated(), self._switching:
            names = [found.name for found in self._client.list_collections()]
        parts = {name: found for name in names if (found := parts_of(name)) is not None}
        return {name: found for name, found in parts.items() if found[0] == self._index}

    def _graphs_of(self, collection: str) -> list[str]:
        """Return the names of Chroma's collections behind one of ours, in the order they filled."""
        if collection not in self._names:
            ours = (self._index, self._model, collection)
            found = sorted(
                (n for n, parts in self._listed().items() if parts == ours), key=number_of
            )
            if not found:
                return []
            self._names[collection] = found
        return self._names[collection]

    def _graph(self, name: str) -> Any:
        """Return Chroma's collection of that name, whose graph is in memory from then on."""
        if name not in self._open:
            if len(self._open) >= GRAPHS_HELD:
                self._let_go()
            self._open[name] = self._client.get_collection(name, embedding_function=None)
        return self._open[name]

    def _store(
        self, collection: str, documents: Mapping[str, str], rows: NDArray[np.float32]
    ) -> None:
        """Store the vectors of chunks, by whose ids `documents` has their documents'."""
        ids = list(documents)
        new = list(range(len(ids)))
        if self._catalogue is not None:  # no graph knows what another one has
            held = self._catalogue.holders(self._graphs_of(collection), ids)
            stored = {chunk_id for some in held.values() for chunk_id in some}
            new = [n for n in new if ids[n] not in stored]
        while new:
            with self._marked():
                graph, room = self._filling(collection)
                some, new = new[:room], new[room:]
                graph.add(
                    ids=[ids[n] for n in some],
                    embeddings=rows[some],
                    metadatas=[{"document_id": documents[ids[n]]} for n in some],
                )

    def _filling(self, collection: str) -> tuple[Any, int]:
        """Return the graph that new vectors of a collection go to, and how many fit in one go."""
        names = self._graphs_of(collection)
        room = self._batch
        if names and self._catalogue is not None:
            room = self._graph_chunks - self._catalogue.sizes(names[-1:]).get(names[-1], 0)
            if room <= 0:
                self._write_out(names[-1])
                self._let_go()
        if not names or room <= 0:
            number = number_of(names[-1]) + 1 if names else 1
            name = store_name(self._index, self._model, collection, number)
            self._open[name] = self._client.get_or_create_collection(
                name, configuration={"hnsw": self._hnsw}, embedding_function=None
            )
            names = self._names[collection] = [*names, name]
            room = self._batch if self._catalogue is None else self._graph_chunks
        return self._graph(names[-1]), min(room, self._batch)

    def _write_out(self, name: str) -> None:
        """Make changes that change nothing, as many as it takes for Chroma to write a graph."""
        graph = self._graph(name)
        some = graph.get(limit=SYNC, include=["metadatas"])
        graph.update(ids=some["ids"], metadatas=some["metadatas"])

    def _let_go(self) -> None:
        """Let go of the graphs in memory, unless they are kept for searches.

        Only closing the client does it: what bounds its cache of graphs is one size for each of 64
        shards of it, so that there may always be 64.
        """
        if self._catalogue is None:
            return
        with self._switching:
            if not self._searched:
                close_client(self._client)
                self._open.clear()
                self._client = open_client(self._place)

    def _catch_up(self) -> None:
        """Let Chroma take up the writes that it had noted when its process was killed."""
        for name in [found.name for found in self._client.list_collections()]:
            self._graph(name).count()

    def _holders(self, collection: str, ids: Sequence[str]) -> dict[str, list[str]]:
        """Return which ids each of a collection's graphs holds, or may hold on a server."""
        names = self._graphs_of(collection)
        if self._catalogue is not None:
            return self._catalogue.holders(names, list(ids))
        return {name: list(ids) for name in names}

    def _move_old(self) -> None:
        """Take over what the first version stored, unless that is done; safe to interrupt."""
        from chromadb.errors import NotFoundError

        if isinstance(self._place, str):
            return
        try:
            old = self._client.get_collection(OLD, embedding_function=None)
        except NotFoundError:
            return
        self._searched = True  # it is read while others are written
        for page in _pages(old, include=["embeddings", "metadatas"]):
            for collection in {str(about["collection"]) for about in page["metadatas"]}:
                about = page["metadatas"]
                some = [n for n, m in enumerate(about) if m["collection"] == collection]
                here = {page["ids"][n]: str(about[n]["document_id"]) for n in some}
                self._store(collection, here, np.asarray(page["embeddings"], np.float32)[some])
        self._client.delete_collection(OLD)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import httpx
        from chromadb.errors import ChromaError

        try:
            yield
        except (ChromaError, httpx.HTTPError, OSError, ValueError) as error:
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


def _touched_since(mark: Path) -> bool:
    """Return whether the write that left `mark` behind, if there is one, got to the graph."""
    if not mark.exists():
        return False
    began = mark.stat().st_mtime_ns
    return any(file.stat().st_mtime_ns >= began for file in mark.parent.glob("*/*"))


def _pages(found: Any, *, include: list[str]) -> Iterator[dict[str, Any]]:
    """Yield a Chroma collection's rows, a page at a time."""
    for offset in range(0, found.count(), PAGE):
        yield found.get(limit=PAGE, offset=offset, include=include)
