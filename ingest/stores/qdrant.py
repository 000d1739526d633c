"""Vectors in Qdrant through LlamaIndex's store: a folder inside the workspace, or a server.

The folder is Qdrant's local mode, which compares a question with every vector: good for some
thousands of chunks and for trying things out. A server searches a graph.
"""

import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.document import Chunk
from ingest.errors import StoreError
from ingest.extras import require
from ingest.stores.vectors import INDEX, MODEL, Near, parts_of, store_name

IDS = uuid.UUID("8a2f1c5e-8c55-4d0e-9d5e-3b3f4f0f6b1a")
"""Qdrant's ids are UUIDs, so a chunk's is made from its own id within this name space."""
PAGE = 1000
"""Vectors read or written at a time."""


class QdrantVectors:
    """The vectors of one model in a Qdrant folder, for one process at a time, or on a server."""

    def __init__(self, place: Path | str, *, index: str = INDEX, model: str = MODEL) -> None:
        """Open the folder or the server at an `http://` address; a folder is made if need be.

        Raises:
            StoreError: no such server, or the folder cannot be written or is in use.
            MissingExtraError: the packages are not installed.
        """
        self._place = place
        self._index = index
        self._model = model
        self._open: dict[str, Any] = {}
        # The local mode knows nothing of threads; a server's client does.
        self._alone: AbstractContextManager[Any] = (
            RLock() if isinstance(place, Path) else nullcontext()
        )
        client = require("qdrant_client", extra="scale").QdrantClient
        self._store = require("llama_index.vector_stores.qdrant", extra="scale").QdrantVectorStore
        with self._translated():
            if isinstance(place, Path):
                place.mkdir(parents=True, exist_ok=True)
                self._client = client(path=str(place), force_disable_check_same_thread=True)
            else:
                self._client = client(url=place, check_compatibility=False)
                self._client.get_collections()

    @property
    def place(self) -> str:
        """The folder or the address."""
        return str(self._place)

    def add(self, chunks: Sequence[Chunk], rows: NDArray[np.float32]) -> None:
        """Store one vector a chunk; a chunk that is stored already stays as it is."""
        from llama_index.core.schema import BaseNode, NodeRelationship, RelatedNodeInfo, TextNode

        nodes: dict[str, list[BaseNode]] = {}
        for chunk, row in zip(chunks, rows, strict=True):
            source = RelatedNodeInfo(node_id=chunk.document_id)
            node = TextNode(
                id_=_point(chunk.id),
                text="",  # the registry keeps the text
                embedding=row.tolist(),
                metadata={"chunk_id": chunk.id},
                relationships={NodeRelationship.SOURCE: source},
            )
            nodes.setdefault(chunk.collection, []).append(node)
        for collection, some in nodes.items():
            with self._translated():
                self._opened(collection).add(some)

    def remove(self, ids: Sequence[str], *, collection: str | None = None) -> None:
        """Remove vectors; ids without one are passed over."""
        points = [_point(chunk_id) for chunk_id in ids]
        for name in self.collections() if collection is None else [collection]:
            with self._translated():
                if points and self._exists(name):
                    self._opened(name).delete_nodes(points)

    def search(
        self,
        row: NDArray[np.float32],
        *,
        collection: str,
        limit: int,
        documents: Collection[str] | None = None,
    ) -> list[Near]:
        """Return the nearest vectors to `row`, shape (dimension,), nearest first."""
        from llama_index.core.vector_stores import (
            FilterOperator,
            MetadataFilter,
            MetadataFilters,
            VectorStoreQuery,
        )

        if documents is not None and not documents:
            return []
        only = None
        if documents is not None:
            # LlamaIndex keeps the id of a node's source under this key.
            one = MetadataFilter(
                key="document_id", operator=FilterOperator.IN, value=sorted(documents)
            )
            only = MetadataFilters(filters=[one])
        query = VectorStoreQuery(query_embedding=row.tolist(), similarity_top_k=limit, filters=only)
        with self._translated():
            if not self._exists(collection):
                return []
            found = self._opened(collection).query(query)
        return [
            Near(str(node.metadata["chunk_id"]), float(similarity))
            for node, similarity in zip(found.nodes or [], found.similarities or [], strict=True)
        ]

    def ids(self, collection: str | None = None) -> set[str]:
        """Return the ids of the vectors of a collection; None is all of them."""
        found: set[str] = set()
        for name in self.collections() if collection is None else [collection]:
            with self._translated():
                after = None
                while self._exists(name):
                    points, after = self._client.scroll(
                        self._name(name), limit=PAGE, offset=after, with_payload=["chunk_id"]
                    )
                    found.update(point.payload["chunk_id"] for point in points)
                    if after is None:
                        break
        return found

    def rows(self, ids: Sequence[str], *, collection: str) -> NDArray[np.float32]:
        """Return the vectors of chunks: shape (len(ids), dimension), in the order of `ids`."""
        by_id: dict[str, Any] = {}
        with self._translated():
            if self._exists(collection):
                for start in range(0, len(ids), PAGE):
                    some = [_point(chunk_id) for chunk_id in ids[start : start + PAGE]]
                    for point in self._client.retrieve(
                        self._name(collection), some, with_payload=False, with_vectors=True
                    ):
                        by_id[str(point.id)] = point.vector
        missing = [chunk_id for chunk_id in ids if _point(chunk_id) not in by_id]
        if missing:
            raise StoreError(
                f"{self.place} has no vector of {missing[0]} ({len(missing)} missing)."
            )
        return np.asarray([by_id[_point(chunk_id)] for chunk_id in ids], dtype=np.float32)

    def collections(self) -> list[str]:
        """Return the collections that vectors were stored for."""
        return sorted(name for _, model, name in self._names() if model == self._model)

    def count(self, collection: str) -> int:
        """Return how many vectors a collection has."""
        with self._translated():
            if not self._exists(collection):
                return 0
            return int(self._client.count(self._name(collection), exact=True).count)

    def models(self) -> set[str]:
        """Return the models whose vectors the store keeps for this index."""
        return {model for _, model, _ in self._names()}

    def drop(self, model: str) -> None:
        """Remove all vectors that `model` made for this index."""
        for index, other, collection in self._names():
            if other == model:
                with self._translated():
                    self._client.delete_collection(store_name(index, other, collection))
        self._open.clear()

    @property
    def torn(self) -> bool:
        """Never: Qdrant writes in transactions."""
        return False

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Remove all vectors of the index."""
        for model in self.models():
            self.drop(model)
        yield

    def close(self) -> None:
        """Let go of the folder or the connection."""
        self._client.close()

    def _names(self) -> list[tuple[str, str, str]]:
        with self._translated():
            names = [found.name for found in self._client.get_collections().collections]
        return [
            parts
            for name in names
            if (parts := parts_of(name)) is not None and parts[0] == self._index
        ]

    def _name(self, collection: str) -> str:
        return store_name(self._index, self._model, collection)

    def _exists(self, collection: str) -> bool:
        return collection in self._open or self._client.collection_exists(self._name(collection))

    def _opened(self, collection: str) -> Any:
        """Return LlamaIndex's store; it makes Qdrant's collection with the first vector."""
        if collection not in self._open:
            self._open[collection] = self._store(
                collection_name=self._name(collection),
                client=self._client,
                batch_size=256,
                index_doc_id=False,
                payload_indexes=self._payload_indexes(),
            )
        return self._open[collection]

    def _payload_indexes(self) -> list[dict[str, Any]] | None:
        if isinstance(self._place, Path):
            return None  # the local mode has none
        return [{"field_name": "document_id", "field_schema": "keyword"}]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import httpx
        from qdrant_client.http.exceptions import ApiException

        try:
            with self._alone:
                yield
        except (ApiException, httpx.HTTPError, OSError, ValueError, RuntimeError) as error:
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> StoreError:
        what = str(error).strip().partition("\n")[0]
        if isinstance(self._place, Path):
            return StoreError(
                f"The vectors in {self._place} cannot be used: {what}",
                hint="Check that it can be written and the disk has room: groundtune doctor",
            )
        return StoreError(
            f"The Qdrant server at {self._place} does not do its work: {what}",
            hint="Is it running? docker run -p 127.0.0.1:6333:6333 qdrant/qdrant",
        )


def _point(chunk_id: str) -> str:
    return str(uuid.uuid5(IDS, chunk_id))
