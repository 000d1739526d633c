"""Vectors in Chroma, through LlamaIndex's vector-store interface."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.document import Chunk


class Near(NamedTuple):
    """A chunk found by its vector."""

    chunk_id: str
    similarity: float
    """Cosine, -1 to 1."""


class ChromaVectors:
    """One Chroma folder; for one process at a time."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, making it if it is not there."""
        import chromadb
        from chromadb.config import Settings
        from llama_index.vector_stores.chroma import ChromaVectorStore

        folder.mkdir(parents=True, exist_ok=True)
        client = chromadb.PersistentClient(
            path=str(folder), settings=Settings(anonymized_telemetry=False)
        )
        # Two similar chunks differ in the third digit, so the graph is searched a little wider.
        self.collection = client.get_or_create_collection(
            "chunks", configuration={"hnsw": {"space": "cosine", "ef_search": 200}}
        )
        self._store = ChromaVectorStore(chroma_collection=self.collection)

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
            self._store.add(nodes)

    def remove(self, ids: Sequence[str]) -> None:
        """Remove vectors; ids without one are passed over."""
        if ids:
            self._store.delete_nodes(list(ids))

    def ids(self) -> set[str]:
        """Return the ids of all vectors."""
        return set(self.collection.get(include=[])["ids"])

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
