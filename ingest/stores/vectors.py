"""What a vector store promises, whichever it is."""

import re
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ingest.document import Chunk

INDEX, MODEL = "index", "model"
"""What an index and its embedding model are called where nobody else shares the store."""


class Near(NamedTuple):
    """A chunk found by its vector."""

    chunk_id: str
    similarity: float
    """Cosine, -1 to 1."""


class Vectors(Protocol):
    """The vectors that one embedding model made for one index.

    Each collection is kept apart inside the store, so that a search in one pays nothing for the
    others. A vector belongs to a chunk and is never changed: another text is another chunk.

    Every method raises StoreError when the store is down or refuses.
    """

    @property
    def place(self) -> str:
        """Where the vectors lie, for people: a folder or an address."""
        ...

    def add(self, chunks: Sequence[Chunk], rows: NDArray[np.float32]) -> None:
        """Store one vector a chunk, shape (len(chunks), dimension), L2 norm 1.

        A chunk that is stored already stays as it is.
        """
        ...

    def remove(self, ids: Sequence[str], *, collection: str | None = None) -> None:
        """Remove vectors; ids without one are passed over. None looks in every collection."""
        ...

    def search(
        self,
        row: NDArray[np.float32],
        *,
        collection: str,
        limit: int,
        documents: Collection[str] | None = None,
    ) -> list[Near]:
        """Return the nearest vectors to `row`, shape (dimension,), nearest first.

        Only those of `documents` if any are named: None is all, and an empty one finds nothing.
        """
        ...

    def ids(self, collection: str | None = None) -> set[str]:
        """Return the ids of the vectors of a collection; None is all of them."""
        ...

    def rows(self, ids: Sequence[str], *, collection: str) -> NDArray[np.float32]:
        """Return the vectors of chunks: shape (len(ids), dimension), in the order of `ids`.

        Raises:
            StoreError: one of them has none.
        """
        ...

    def collections(self) -> list[str]:
        """Return the collections that vectors were stored for."""
        ...

    def count(self, collection: str) -> int:
        """Return how many vectors a collection has."""
        ...

    def models(self) -> set[str]:
        """Return the models whose vectors the store keeps for this index."""
        ...

    def drop(self, model: str) -> None:
        """Remove all vectors that `model` made for this index."""
        ...

    @property
    def torn(self) -> bool:
        """Whether a write was cut off in a way that may have lost vectors."""
        ...

    def renewed(self) -> AbstractContextManager[None]:
        """Remove all vectors of the index; until the block has ended the store counts as torn."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


def store_name(index: str, model: str, collection: str, number: int = 1) -> str:
    """Return what a store calls a collection: no two dots in a row, letters at both ends.

    A store that keeps a collection in several of its own numbers them from 1.
    """
    plain = collection.replace("_", "__").replace(".", "_d")
    return f"{index}.{model}.{plain}.vectors" + (f".{number}" if number > 1 else "")


def parts_of(name: str) -> tuple[str, str, str] | None:
    """Return index, model and collection of a store's name; None if it is none of ours."""
    found = re.fullmatch(r"([^.]+)\.([^.]+)\.([^.]+)\.vectors(\.[1-9]\d*)?", name)
    if found is None:
        return None
    plain = re.sub("_([_d])", lambda escaped: "_" if escaped[1] == "_" else ".", found[3])
    return found[1], found[2], plain


def number_of(name: str) -> int:
    """Return which of a collection's own a store's name is, from 1."""
    last = name.rpartition(".")[2]
    return int(last) if last.isdecimal() else 1
