"""Vectors in a folder, kept by a process of their own: for a service, which must go on answering.

Chroma holds Python's lock from the beginning of a write to its end, and waits for the disk
meanwhile: a second with 512 vectors, in which no other thread of the process does anything. In a
process of their own, writes cost those who wait for them, and nobody else.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ingest.document import Chunk
from ingest.errors import GroundtuneError, StoreError
from ingest.stores.chroma import ChromaVectors
from ingest.stores.vectors import INDEX, MODEL, Near

LANES = 4
"""Calls that are under way at the same time; more wait for one of them."""
START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from ingest.stores.apart import keep; keep()"
)
LOCK = "vectors.lock"
"""Beside the folder, held by the process that keeps it: it outlives one that was killed by as long
as its last write takes."""
END_S = 10.0
"""Longest wait for the process to end by itself."""
PATIENCE_S = 60.0
"""Longest wait for the last write of a process whose service was killed."""


class ApartVectors:
    """The vectors of one model in a Chroma folder, kept by another process.

    It ends with this one. One that died is replaced at the next call; what it was writing is put
    right as after any process that was killed (`torn`).
    """

    def __init__(self, folder: Path, *, index: str = INDEX, model: str = MODEL) -> None:
        """Start the process, which opens the folder or makes it.

        Raises:
            StoreError: the folder cannot be used.
        """
        self._arguments = {"folder": str(folder), "index": index, "model": model}
        self._folder = folder
        self._starting = threading.Lock()
        self._keeper: _Keeper | None = None
        self._closed = False
        self._running()

    @property
    def place(self) -> str:
        """The folder."""
        return str(self._folder)

    def add(self, chunks: Sequence[Chunk], rows: NDArray[np.float32]) -> None:
        """Store one vector a chunk; a chunk that is stored already stays as it is."""
        self._ask("add", list(chunks), rows)

    def remove(self, ids: Sequence[str], *, collection: str | None = None) -> None:
        """Remove vectors; ids without one are passed over."""
        self._ask("remove", list(ids), collection=collection)

    def search(
        self,
        row: NDArray[np.float32],
        *,
        collection: str,
        limit: int,
        documents: Collection[str] | None = None,
    ) -> list[Near]:
        """Return the nearest vectors to `row`, shape (dimension,), nearest first."""
        kept = None if documents is None else set(documents)
        found: list[Near] = self._ask(
            "search", row, collection=collection, limit=limit, documents=kept
        )
        return found

    def ids(self, collection: str | None = None) -> set[str]:
        """Return the ids of the vectors of a collection; None is all of them."""
        found: set[str] = self._ask("ids", collection)
        return found

    def rows(self, ids: Sequence[str], *, collection: str) -> NDArray[np.float32]:
        """Return the vectors of chunks: shape (len(ids), dimension), in the order of `ids`."""
        found: NDArray[np.float32] = self._ask("rows", list(ids), collection=collection)
        return found

    def collections(self) -> list[str]:
        """Return the collections that vectors were stored for."""
        found: list[str] = self._ask("collections")
        return found

    def count(self, collection: str) -> int:
        """Return how many vectors a collection has."""
        return int(self._ask("count", collection))

    def models(self) -> set[str]:
        """Return the models whose vectors the store keeps for this index."""
        found: set[str] = self._ask("models")
        return found

    def drop(self, model: str) -> None:
        """Remove all vectors that `model` made for this index."""
        self._ask("drop", model)

    @property
    def torn(self) -> bool:
        """Whether a process was killed while it wrote to the graph in the folder."""
        return bool(self._ask("torn"))

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Remove all vectors of the index; until the block has ended the folder counts as torn."""
        self._ask("renew")
        yield
        self._ask("renewed")

    def close(self) -> None:
        """End the process, after what it is writing."""
        self._closed = True
        if self._keeper is not None:
            self._keeper.end()

    def _ask(self, method: str, *arguments: Any, **named: Any) -> Any:
        return self._running().ask(method, arguments, named)

    def _running(self) -> "_Keeper":
        with self._starting:
            if self._closed:
                raise StoreError(f"The vectors in {self.place} are closed.")
            if self._keeper is None or not self._keeper.alive():
                if self._keeper is not None:
                    self._keeper.end()
                self._keeper = _Keeper(self._arguments)
            return self._keeper


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder against processes of killed services that are still ending a write.

    Raises:
        StoreError: one takes longer than a minute.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / LOCK, timeout=PATIENCE_S):
            yield
    except Timeout:
        raise StoreError(
            f"A process of an earlier service still writes to the vectors in {folder}.",
            hint="Wait for it, or end it.",
        ) from None
    except OSError as error:
        raise StoreError(f"The vectors in {folder} cannot be used: {error.strerror}.") from None


def wait_for_last_write(folder: Path) -> None:
    """Wait where the process of a killed service may still be writing to `folder`.

    Raises:
        StoreError: it takes longer than a minute.
    """
    if (folder.parent / LOCK).exists():
        with held(folder):
            pass


class _Keeper:
    """The process, seen from this one. Both are ours and speak in pickles."""

    def __init__(self, arguments: dict[str, str]) -> None:
        self._folder = arguments["folder"]
        pairs = [Pipe() for _ in range(LANES)]
        fds = [theirs.fileno() for _, theirs in pairs]
        told = json.dumps({**arguments, "fds": fds})
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, json.dumps(sys.path), told],
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the service, which ends it when it has ended
        )
        for _, theirs in pairs:
            theirs.close()
        self._lanes = [ours for ours, _ in pairs]
        self._idle: queue.LifoQueue[Connection] = queue.LifoQueue()
        for ours in self._lanes:
            self._idle.put(ours)
        try:
            self._take(self._lanes[0])  # it has opened the folder, or says why not
        except GroundtuneError:
            self.end()
            raise

    def alive(self) -> bool:
        """Return whether it can be asked."""
        return self._process.poll() is None

    def ask(self, method: str, arguments: Sequence[Any], named: dict[str, Any]) -> Any:
        """Return what the method returns there, or raise what it raises."""
        lane = self._idle.get()
        try:
            try:
                lane.send((method, arguments, named))
            except OSError:
                raise self._death() from None
            return self._take(lane)
        finally:
            self._idle.put(lane)

    def end(self) -> None:
        """Let it end once nobody waits for an answer; end it where it does not."""
        for _ in self._lanes:
            self._idle.get().close()  # those who wait for an answer get it first
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for lane in self._lanes:
            self._idle.put(lane)  # whoever comes now finds it closed

    def _take(self, lane: Connection) -> Any:
        try:
            failure, value = lane.recv()
        except (EOFError, OSError):
            raise self._death() from None
        if failure is not None:
            raise failure
        return value

    def _death(self) -> StoreError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        return StoreError(
            f"The process that keeps the vectors in {self._folder} has ended "
            f"(exit code {self._process.poll()}).",
            hint="The next request starts another one; what it was writing is made anew.",
        )


def keep() -> None:
    """Keep a folder's vectors for the process that started this one, until it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.excepthook = _end
    told = json.loads(sys.argv[2])
    lanes = [Connection(fd) for fd in told["fds"]]
    folder = Path(told["folder"])
    try:
        with held(folder):
            vectors = ChromaVectors(folder, index=told["index"], model=told["model"])
            lanes[0].send((None, None))
            server = _Server(vectors)
            crew = [threading.Thread(target=server.serve, args=(lane,)) for lane in lanes]
            for thread in crew:
                thread.start()
            for thread in crew:
                thread.join()
            vectors.close()
    except GroundtuneError as error:
        lanes[0].send((error, None))


def _end(bug: threading.ExceptHookArgs) -> None:
    """End the process at a bug, or whoever asked would wait for an answer for ever."""
    traceback.print_exception(bug.exc_value)
    os._exit(1)


class _Server:
    """Does what comes along the lanes."""

    def __init__(self, vectors: ChromaVectors) -> None:
        self._vectors = vectors
        self._renewing = ExitStack()

    def serve(self, lane: Connection) -> None:
        """Answer whoever is at the other end, until it is gone."""
        while True:
            try:
                method, arguments, named = lane.recv()
            except (EOFError, OSError):
                return
            failure: GroundtuneError | None = None
            value: Any = None
            try:
                value = self._done(method, arguments, named)
            except GroundtuneError as error:
                failure = error
            with suppress(OSError):
                lane.send((failure, value))

    def _done(self, method: str, arguments: Sequence[Any], named: dict[str, Any]) -> Any:
        if method == "torn":
            return self._vectors.torn
        if method == "renew":
            self._renewing.enter_context(self._vectors.renewed())
            return None
        if method == "renewed":
            self._renewing.close()
            return None
        return getattr(self._vectors, method)(*arguments, **named)
