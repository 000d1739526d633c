"""Vectors in Chroma, through LlamaIndex's vector-store interface."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.document import Chunk
from ingest.errors import StoreError


class Near(NamedTuple):
    """A chunk found by its vector."""

    chunk_id: str
    similarity: float
    """Cosine, -1 to 1."""


MARK = "writing"
HNSW = {"space": "cosine", "ef_search": 200}
"""Two similar chunks differ in the third digit, so the graph is searched a little wider."""


class ChromaVectors:
    """One Chroma folder; for one process at a time.

    Chroma writes its graph in place, every 1,000 vectors. A process that is killed meanwhile leaves
    one that refuses further writes, or that has lost vectors without a word (chroma-core/chroma
    issue 7678). So a mark stands in the folder during each write: where one was left, and a file of
    the graph is younger than it, the graph is `torn` and has to be built anew.
    """

    def __init__(self, folder: Path, *, hnsw: Mapping[str, object] = HNSW) -> None:
        """Open the folder, making it if it is not there; `hnsw` are the settings of a new graph.

        Raises:
            StoreError: the folder cannot be written.
        """
        import chromadb
        from chromadb.config import Settings
        from llama_index.vector_stores.chroma import ChromaVectorStore

        self._mark = folder / MARK
        self._hnsw = dict(hnsw)
        self._store_of = ChromaVectorStore
        with _translated(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.torn = _touched_since(self._mark)
            self._client: Any = chromadb.PersistentClient(
                path=str(folder), settings=Settings(anonymized_telemetry=False)
            )
            if not self.torn:
                self._mark.unlink(missing_ok=True)
            self._open()

    def _open(self) -> None:
        self.collection = self._client.get_or_create_collection(
            "chunks", configuration={"hnsw": self._hnsw}
        )
        self._store = self._store_of(chroma_collection=self.collection)

    def reset(self) -> None:
        """Remove all vectors. The folder counts as torn until `mended` is called."""
        self.torn = True
        self._mark.touch()
        self._client.delete_collection("chunks")
        self._open()

    def mended(self) -> None:
        """Note that every vector is there again."""
        self.torn = False
        self._mark.unlink()

    @contextmanager
    def _marked(self) -> Iterator[None]:
        with _translated(self._mark.parent):
            if self.torn:
                yield
                return
            self._mark.touch()
            yield
            self._mark.unlink()

    def add(self, chunks: Sequence[Chunk], rows: NDArray[np.float32]) -> None:
        """Store one vector a chunk; a chunk that is stored already stays as it is."""
        from llama_index.core.schema import BaseNode, NodeRelationship, RelatedNodeInfo, TextNode

        nodes: list[BaseNode] = [
            TextNode(
                id_=chunk.id,
                text="",  # the registry keeps the text
                embedding=row.tolist(),
                metadata={"collection": chunk.collection},
                relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=chunk.document_id)},
            )
            for chunk, row in zip(chunks, rows, strict=True)
        ]
        if nodes:
            with self._marked():
                self._store.add(nodes)

    def remove(self, ids: Sequence[str]) -> None:
        """Remove vectors; ids without one are passed over."""
        if ids:
            with self._marked():
                self._store.delete_nodes(list(ids))

    def ids(self) -> set[str]:
        """Return the ids of all vectors."""
        return set(self.collection.get(include=[])["ids"])

    def close(self) -> None:
        """Let go of the folder."""
        self._client.close()

    def search(
        self,
        row: NDArray[np.float32],
        *,
        collection: str,
        limit: int,
        documents: Collection[str] | None = None,
    ) -> list[Near]:
        """Return the nearest vectors to `row`, shape (dimension,), nearest first.

        Only those of `documents` if there are any named: none of them finds nothing, None is all.
        """
        from llama_index.core.vector_stores import (
            FilterOperator,
            MetadataFilter,
            MetadataFilters,
            VectorStoreQuery,
        )

        if (documents is not None and not documents) or self.collection.count() == 0:
            return []
        only = MetadataFilters(filters=[MetadataFilter(key="collection", value=collection)])
        if documents is not None:
            # LlamaIndex keeps the id of a node's source under this key.
            only.filters.append(
                MetadataFilter(
                    key="document_id", operator=FilterOperator.IN, value=sorted(documents)
                )
            )
        query = VectorStoreQuery(query_embedding=row.tolist(), similarity_top_k=limit, filters=only)
        found = self._store.query(query, include=["metadatas", "distances", "documents"])
        # The store returns exp(-distance), and the distance is 1 - cosine.
        similarities = 1 + np.log(np.asarray(found.similarities or [], dtype=np.float64))
        return [
            Near(chunk_id, float(similarity))
            for chunk_id, similarity in zip(found.ids or [], similarities, strict=True)
        ]


def _touched_since(mark: Path) -> bool:
    """Return whether the write that left `mark` behind, if there is one, got to the graph."""
    if not mark.exists():
        return False
    began = mark.stat().st_mtime_ns
    return any(file.stat().st_mtime_ns >= began for file in mark.parent.glob("*/*"))


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    """Turn Chroma's errors into ours."""
    from chromadb.errors import ChromaError

    try:
        yield
    except (ChromaError, OSError) as error:
        raise StoreError(
            f"The vectors in {folder} cannot be read or written: {error}.",
            hint="What was stored before is kept. Make room or mend the folder, and try again.",
        ) from error
