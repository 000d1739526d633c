"""Vectors in Chroma: a folder inside the workspace, or a server.

Chroma keeps each vector with its id and its document's id, and nothing else: the registry holds all
that there is to say of a chunk. LlamaIndex's store would write a node beside each vector, which
takes twice the time and space, and read them back with each search (`docs/design/stores.md`).
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from ingest.document import Chunk
from ingest.errors import StoreError
from ingest.stores.vectors import INDEX, MODEL, Near, parts_of, store_name

HNSW = {"space": "cosine", "ef_search": 200}
"""Two similar chunks differ in the third digit, so the graph is searched wider than by default."""
PAGE = 5000
"""Vectors read or written at a time."""
TIMEOUT_S = 60.0
"""Longest silence of a server."""
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
    ) -> None:
        """Open the folder or the server at an `http://` address; a folder is made if need be.

        `hnsw` are the settings of a new graph.

        Raises:
            StoreError: no such server, or the folder cannot be written.
        """
        self._place = place
        self._index = index
        self._model = model
        self._hnsw = dict(hnsw)
        if isinstance(place, Path):
            # The other half embeds meanwhile; with all of them each would wait for the other.
            self._hnsw.setdefault("num_threads", max(1, (os.cpu_count() or 1) // 2))
        self._open: dict[str, Any] = {}
        self._mark = place / MARK if isinstance(place, Path) else None
        with self._translated():
            self._torn = self._mark is not None and _touched_since(self._mark)
            self._client = _client(place)
            if self._mark is not None and not self._torn:
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
            for start in range(0, len(places), self._batch):
                some = places[start : start + self._batch]
                with self._marked():
                    self._made(collection).add(
                        ids=[chunks[n].id for n in some],
                        embeddings=rows[some],
                        metadatas=[{"document_id": chunks[n].document_id} for n in some],
                    )

    def remove(self, ids: Sequence[str], *, collection: str | None = None) -> None:
        """Remove vectors; ids without one are passed over."""
        for name in self.collections() if collection is None else [collection]:
            with self._marked():
                found = self.collection(name)
                for start in range(0, len(ids) if found is not None else 0, self._batch):
                    found.delete(ids=list(ids[start : start + self._batch]))

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
        with self._translated():
            found = self.collection(collection)
            if found is None:
                return []
            near = found.query(
                query_embeddings=row[None], n_results=limit, where=where, include=["distances"]
            )
        return [
            Near(chunk_id, 1 - float(distance))
            for chunk_id, distance in zip(near["ids"][0], near["distances"][0], strict=True)
        ]

    def ids(self, collection: str | None = None) -> set[str]:
        """Return the ids of the vectors of a collection; None is all of them."""
        names = self.collections() if collection is None else [collection]
        with self._translated():
            return {
                chunk_id
                for name in names
                if (found := self.collection(name)) is not None
                for page in _pages(found, include=[])
                for chunk_id in page["ids"]
            }

    def rows(self, ids: Sequence[str], *, collection: str) -> NDArray[np.float32]:
        """Return the vectors of chunks: shape (len(ids), dimension), in the order of `ids`."""
        by_id: dict[str, Any] = {}
        with self._translated():
            found = self.collection(collection)
            for start in range(0, len(ids) if found is not None else 0, PAGE):
                page = found.get(ids=list(ids[start : start + PAGE]), include=["embeddings"])
                by_id.update(zip(page["ids"], page["embeddings"], strict=True))
        missing = [chunk_id for chunk_id in ids if chunk_id not in by_id]
        if missing:
            raise StoreError(
                f"{self.place} has no vector of {missing[0]} ({len(missing)} missing)."
            )
        return np.asarray([by_id[chunk_id] for chunk_id in ids], dtype=np.float32)

    def collections(self) -> list[str]:
        """Return the collections that vectors were stored for."""
        here = [name for index, model, name in self._names() if model == self._model]
        return sorted(here)

    def count(self, collection: str) -> int:
        """Return how many vectors a collection has."""
        with self._translated():
            found = self.collection(collection)
            return 0 if found is None else int(found.count())

    def models(self) -> set[str]:
        """Return the models whose vectors the store keeps for this index."""
        return {model for _, model, _ in self._names()}

    def drop(self, model: str) -> None:
        """Remove all vectors that `model` made for this index."""
        with self._translated():
            for index, other, collection in self._names():
                if other == model:
                    self._client.delete_collection(store_name(index, other, collection))
        self._open.clear()

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
        self._client.close()
        if isinstance(self._place, str):
            for session in _sessions(self._client):
                session.close()  # the client leaves its connections open

    def _names(self) -> list[tuple[str, str, str]]:
        with self._translated():
            names = [found.name for found in self._client.list_collections()]
        return [
            parts
            for name in names
            if (parts := parts_of(name)) is not None and parts[0] == self._index
        ]

    def collection(self, collection: str) -> Any:
        """Return Chroma's own collection behind one of ours, or None."""
        from chromadb.errors import NotFoundError

        if collection not in self._open:
            name = store_name(self._index, self._model, collection)
            try:
                self._open[collection] = self._client.get_collection(name, embedding_function=None)
            except NotFoundError:
                return None
        return self._open[collection]

    def _made(self, collection: str) -> Any:
        if collection not in self._open:
            self._open[collection] = self._client.get_or_create_collection(
                store_name(self._index, self._model, collection),
                configuration={"hnsw": self._hnsw},
                embedding_function=None,
            )
        return self._open[collection]

    def _move_old(self) -> None:
        """Take over what the first version stored, unless that is done; safe to interrupt."""
        from chromadb.errors import NotFoundError

        if isinstance(self._place, str):
            return
        try:
            old = self._client.get_collection(OLD, embedding_function=None)
        except NotFoundError:
            return
        for page in _pages(old, include=["embeddings", "metadatas"]):
            for collection in {str(about["collection"]) for about in page["metadatas"]}:
                about = page["metadatas"]
                some = [n for n, m in enumerate(about) if m["collection"] == collection]
                self._made(collection).add(
                    ids=[page["ids"][n] for n in some],
                    embeddings=np.asarray(page["embeddings"], dtype=np.float32)[some],
                    metadatas=[{"document_id": about[n]["document_id"]} for n in some],
                )
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


def _client(place: Path | str) -> Any:
    import chromadb
    from chromadb.config import Settings

    settings = Settings(anonymized_telemetry=False)
    if isinstance(place, Path):
        place.mkdir(parents=True, exist_ok=True)
        return chromadb.PersistentClient(path=str(place), settings=settings)
    url = urlsplit(place)
    client = chromadb.HttpClient(
        host=url.hostname or "", port=url.port or 8000, ssl=url.scheme == "https", settings=settings
    )
    for session in _sessions(client):
        session.timeout = TIMEOUT_S  # it would wait for ever
    return client


def _sessions(client: Any) -> list[Any]:
    """Return the two connection pools of a server's client."""
    return [client._server._session, client._admin_client._server._session]


def _pages(found: Any, *, include: list[str]) -> Iterator[dict[str, Any]]:
    """Yield a Chroma collection's rows, a page at a time."""
    for offset in range(0, found.count(), PAGE):
        yield found.get(limit=PAGE, offset=offset, include=include)
