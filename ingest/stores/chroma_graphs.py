"""Which of Chroma's collections one of ours lies in, and whose graphs are in memory.

A collection in a folder lies in several of Chroma's, each with a graph of bounded size: Chroma
holds whole graphs in memory, the longer one is the longer an insertion takes, and each is written
whole every 1,000 vectors. So an ingestion holds one or two, and a search asks all of them. On a
server, whose memory is its own, a collection lies in one.
"""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ingest.stores.chroma_catalogue import Catalogue
from ingest.stores.chroma_client import (
    close_client,
    give_back_memory,
    map_large_blocks,
    open_client,
    zeroed_memory,
)
from ingest.stores.vectors import number_of, parts_of, store_name

GRAPHS_HELD = 2
"""Graphs that a process holds while it only writes: one to fill, one to remove from."""
SYNC = 1000
"""Chroma writes a graph after so many changes; those after that are made anew at each opening."""
PAGE = 5000
"""Vectors read or written at a time."""


class Graphs:
    """Chroma's collections of one index and one model.

    Until one is read, a folder holds `GRAPHS_HELD` graphs in memory; from then on, all of them.
    One thread writes at a time; any number may read meanwhile. Errors are Chroma's and SQLite's.
    """

    def __init__(
        self,
        place: Path | str,
        *,
        index: str,
        model: str,
        hnsw: Mapping[str, object],
        graph_chunks: int,
    ) -> None:
        """Open the folder or the server; a folder's graphs get `graph_chunks` vectors at most."""
        self._place = place
        self._index = index
        self._model = model
        self._hnsw = dict(hnsw)
        self._most = graph_chunks
        self._catalogue: Catalogue | None = None
        if isinstance(place, Path):
            # The other half embeds meanwhile; with all of them each would wait for the other.
            self._hnsw.setdefault("num_threads", max(1, (os.cpu_count() or 1) // 2))
            self._catalogue = Catalogue(place)
        self._names: dict[str, list[str]] = {}
        self._open: dict[str, Any] = {}
        self._read = False
        self._switching = threading.Lock()
        self._client = open_client(place)
        self._batch = min(PAGE, int(self._client.get_max_batch_size()))

    def listed(self) -> dict[str, tuple[str, str]]:
        """Return model and collection of what the store holds of this index, by Chroma's name."""
        with self._switching:
            names = [found.name for found in self._client.list_collections()]
        parts = {name: found for name in names if (found := parts_of(name)) is not None}
        return {name: found[1:] for name, found in parts.items() if found[0] == self._index}

    def names(self, collection: str) -> list[str]:
        """Return Chroma's names for one of ours, in the order in which they were filled.

        The list is never changed, a new one takes its place.
        """
        if collection not in self._names:
            ours = (self._model, collection)
            found = sorted((n for n, what in self.listed().items() if what == ours), key=number_of)
            if not found:
                return []
            self._names[collection] = found
        return self._names[collection]

    def read(self, collection: str) -> list[Any]:
        """Return Chroma's collections behind one of ours; their graphs stay in memory."""
        if not self._read:
            with self._switching:
                self._read = True
        return [self.graph(name) for name in self.names(collection)]

    @contextmanager
    def filling(self, collection: str) -> Iterator[tuple[Any, int]]:
        """Yield the graph that new vectors of a collection go to, and how many fit in one go."""
        names = self.names(collection)
        room = self._room(names)
        if room <= 0:
            self._write_out(names[-1])
            self._let_go()
        if room <= 0 or not names:
            map_large_blocks()
            number = number_of(names[-1]) + 1 if names else 1
            name = store_name(self._index, self._model, collection, number)
            self._open[name] = self._client.get_or_create_collection(
                name, configuration={"hnsw": self._hnsw}, embedding_function=None
            )
            names = self._names[collection] = [*names, name]
            room = self._room([])
        graph = self.graph(names[-1])
        with zeroed_memory() if room == self._most else nullcontext():
            yield graph, min(room, self._batch)

    def holding(self, collection: str, ids: Sequence[str]) -> Iterator[tuple[Any, list[str]]]:
        """Yield each graph that holds some of `ids` with those it holds, a page at a time.

        On a server that is the one graph with all of them: it passes over what it does not hold.
        """
        names = self.names(collection)
        held = {name: list(ids) for name in names}
        if self._catalogue is not None:
            held = self._catalogue.holders(names, ids)
        for name, some in held.items():
            for start in range(0, len(some), self._batch):
                yield self.graph(name), some[start : start + self._batch]

    def sweep(self, collection: str, names: Sequence[str]) -> None:
        """Drop those of a folder's graphs `names` that are empty, but for the one to be filled."""
        if self._catalogue is not None:
            held = self._catalogue.sizes(names)
            for name in set(names) - held.keys() - set(self.names(collection)[-1:]):
                # First the name: whoever trips over a graph that is being dropped sees that it is.
                self._names[collection] = [n for n in self._names[collection] if n != name]
                self.delete(name)

    def stored(self, collection: str, ids: Sequence[str]) -> set[str]:
        """Return which of `ids` have to be left out when they are added: no graph knows of others.

        On a server that is none: the one graph passes over what it holds.
        """
        if self._catalogue is None:
            return set()
        held = self._catalogue.holders(self.names(collection), ids)
        return {chunk_id for some in held.values() for chunk_id in some}

    def ids(self, collection: str) -> set[str]:
        """Return the ids of the vectors of a collection."""
        names = self.names(collection)
        if self._catalogue is not None:
            return self._catalogue.ids(names)
        return {
            chunk_id
            for name in names
            for page in pages(self.graph(name), include=[])
            for chunk_id in page["ids"]
        }

    def count(self, collection: str) -> int:
        """Return how many vectors a collection has."""
        names = self.names(collection)
        if self._catalogue is not None:
            return sum(self._catalogue.sizes(names).values())
        return sum(int(self.graph(name).count()) for name in names)

    def graph(self, name: str) -> Any:
        """Return Chroma's collection of that name, whose graph is in memory from then on."""
        graph = self._open.get(name)
        if graph is None:
            if len(self._open) >= GRAPHS_HELD:
                self._let_go()
            graph = self._client.get_collection(name, embedding_function=None)
            if self._catalogue is not None and self._catalogue.sizes([name]).get(name, 0) <= SYNC:
                with zeroed_memory():
                    graph.count()  # one that was never written is begun once more
            self._open[name] = graph
        return graph

    def delete(self, name: str) -> None:
        """Remove Chroma's collection of that name."""
        self._client.delete_collection(name)
        self._open.pop(name, None)

    def drop(self, model: str) -> None:
        """Remove all that `model` made."""
        for name, (other, _) in self.listed().items():
            if other == model:
                self.delete(name)
        self._names.clear()

    def catch_up(self) -> None:
        """Let Chroma take up the writes that it had noted when its process was killed."""
        for name in [found.name for found in self._client.list_collections()]:
            self.graph(name).count()

    def close(self) -> None:
        """Let go of the folder or the connection."""
        close_client(self._client)

    def _room(self, names: Sequence[str]) -> int:
        """Return how many vectors the last of `names` takes, or an empty graph if there is none."""
        if self._catalogue is None:
            return self._batch
        return self._most - sum(self._catalogue.sizes(names[-1:]).values())

    def _write_out(self, name: str) -> None:
        """Make changes that change nothing, as many as it takes for Chroma to write a graph."""
        graph = self.graph(name)
        some = graph.get(limit=SYNC, include=["metadatas"])
        graph.update(ids=some["ids"], metadatas=some["metadatas"])

    def _let_go(self) -> None:
        """Let go of the graphs in memory, unless they are kept because they are read.

        Only closing the client does it: what bounds its cache of graphs is one size for each of 64
        shards of it, so that there may always be 64.
        """
        with self._switching:
            if self._catalogue is not None and not self._read:
                close_client(self._client)
                self._open.clear()
                give_back_memory()
                self._client = open_client(self._place)


def pages(graph: Any, *, include: list[str]) -> Iterator[dict[str, Any]]:
    """Yield a Chroma collection's rows, a page at a time."""
    for offset in range(0, graph.count(), PAGE):
        yield graph.get(limit=PAGE, offset=offset, include=include)
