"""Which of Chroma's collections holds which vector, without loading a graph.

Chroma answers that too, but loads a collection's whole graph before it answers anything, even how
many vectors there are. The table is the one that Chroma counts from itself (chromadb 1.5, and every
version since 0.4); the contract tests of the stores hold it.
"""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

TIMEOUT_S = 60.0
"""Longest wait for a write of Chroma's."""
HOLDERS = """
SELECT collections.name, embeddings.embedding_id
FROM json_each(?) AS named
CROSS JOIN collections ON collections.name = named.value
CROSS JOIN segments ON segments.collection = collections.id AND segments.scope = 'METADATA'
CROSS JOIN json_each(?) AS wanted
CROSS JOIN embeddings
    ON embeddings.segment_id = segments.id AND embeddings.embedding_id = wanted.value
"""
HELD = """
FROM json_each(?) AS named
CROSS JOIN collections ON collections.name = named.value
CROSS JOIN segments ON segments.collection = collections.id AND segments.scope = 'METADATA'
CROSS JOIN embeddings ON embeddings.segment_id = segments.id
"""


class Catalogue:
    """Chroma's own table of a folder's vectors, read only. Errors are SQLite's."""

    def __init__(self, folder: Path) -> None:
        """Read in the folder of a client that has been opened."""
        self._path = folder / "chroma.sqlite3"

    def holders(self, names: Sequence[str], ids: Sequence[str]) -> dict[str, list[str]]:
        """Return which of `ids` each collection holds; those that hold none are left out."""
        found: dict[str, list[str]] = {}
        with self._connected() as connection:
            for name, one in connection.execute(HOLDERS, (json.dumps(names), json.dumps(ids))):
                found.setdefault(name, []).append(one)
        return found

    def sizes(self, names: Sequence[str]) -> dict[str, int]:
        """Return how many vectors each collection holds; those without one are left out."""
        query = f"SELECT collections.name, count(*) {HELD} GROUP BY collections.name"
        with self._connected() as connection:
            return dict(connection.execute(query, (json.dumps(names),)).fetchall())

    def ids(self, names: Sequence[str]) -> set[str]:
        """Return the ids of all vectors of the collections."""
        query = f"SELECT embeddings.embedding_id {HELD}"
        with self._connected() as connection:
            return {row[0] for row in connection.execute(query, (json.dumps(names),))}

    def _connected(self) -> closing[sqlite3.Connection]:
        where = f"{self._path.absolute().as_uri()}?mode=ro"
        return closing(sqlite3.connect(where, uri=True, timeout=TIMEOUT_S))
