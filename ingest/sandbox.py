"""Readers in worker processes: a file that takes too long or too much costs itself, nobody else."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ingest.document import Block, Document, Reading, document_of
from ingest.errors import DocumentError, OverLimitError
from ingest.path import refuse_unprintable
from ingest.readers.job import Limits

START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from ingest.sandbox import serve; serve()"
)
START_TIMEOUT_S = 60.0
WAITED_S = 1.0
"""One worker more is started each time that callers have waited so long, all in all. Starting one
costs as much as reading 500 short files; where the embedding is what takes time, one will do."""
NICE = 5
"""Readers give way to whoever answers questions."""
SMALLEST_FACTOR = 3  # a file's bytes arrive in two copies, and become a text


class Reader:
    """A pool of processes that read files, each within a limit of time and memory.

    `read` may be called from several threads: each call takes a worker, so as many files are read
    at once as there are workers. The first starts at the first need, each further one when reading
    has fallen behind. One that had to be ended, or that died, is replaced by a new one.
    """

    def __init__(
        self,
        *,
        workers: int = 2,
        timeout_s: float = 60.0,
        memory_mb: int = 1024,
        limits: Limits | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            workers: most files read at the same time.
            timeout_s: longest time for one file; a scanned page that was recognised starts it anew.
            memory_mb: most memory of one worker, its own 25 to 135 MB and the file included.
            limits: pages, unpacked bytes and depth of one file.
        """
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._limits = limits or Limits()
        self._workers = workers
        self._changed = threading.Condition()
        self._idle: list[_Worker] = []
        self._started = 0
        self._waited_s = 0.0
        self._closed = False
        # One that nobody closed ends its workers when nothing refers to it any more.
        weakref.finalize(self, _end_all, self._idle)

    def read(
        self, content: bytes, *, source: str, collection: str, path: Path | None, document_id: str
    ) -> Document:
        """Read one file in a worker; as `ingest.read.read_document`, but bounded.

        Raises:
            DocumentError: it cannot be read; says why.
            OverLimitError: it would take longer or more memory than is allowed.
        """
        refuse_unprintable(source)
        worker = self._take()
        try:
            worker = worker or _Worker(self._memory_mb, self._limits)
            kind, reading = worker.read(content, source, self._timeout_s)
        except BaseException as error:
            # What a worker says of a file leaves it fit for the next one; all else does not.
            if worker is not None and not (isinstance(error, DocumentError) and worker.alive()):
                worker.end()
            raise
        finally:
            self._give(worker)
        return document_of(
            kind,
            reading,
            content,
            source=source,
            collection=collection,
            path=path,
            document_id=document_id,
        )

    def close(self) -> None:
        """End the workers, after the files that they are reading. Further reads are refused."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._idle) == self._started)
            self._started = 0
            _end_all(self._idle)

    def _take(self) -> "_Worker | None":
        """Return a worker that is idle, or None where there may be one more."""
        with self._changed:
            while not self._closed:
                if self._idle:
                    worker = self._idle.pop()
                    if worker.alive():
                        return worker
                    worker.end()
                    self._started -= 1
                behind = self._started == 0 or self._waited_s >= WAITED_S
                if behind and self._started < self._workers:
                    self._started += 1
                    self._waited_s = 0.0
                    return None
                began = time.monotonic()
                self._changed.wait(WAITED_S)
                self._waited_s += time.monotonic() - began
            raise RuntimeError("The reader is closed.")

    def _give(self, worker: "_Worker | None") -> None:
        """Take back a worker; one that is no more makes room for another."""
        with self._changed:
            if worker is not None and worker.alive():
                self._idle.append(worker)
            else:
                self._started -= 1
            self._changed.notify()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _end_all(idle: "list[_Worker]") -> None:
    while idle:
        idle.pop().end()


class _Worker:
    """One process. Requests go to it as JSON and bytes; what comes back is JSON, never a pickle."""

    def __init__(self, memory_mb: int, limits: Limits) -> None:
        ours, theirs = Pipe()
        self._connection = ours
        self._memory_mb = memory_mb
        with theirs:
            arguments = {
                "fd": theirs.fileno(),
                "memory_mb": memory_mb,
                "limits": {name: getattr(limits, name) for name in Limits.__slots__},
            }
            self._process = subprocess.Popen(
                [sys.executable, "-c", START, json.dumps(sys.path), json.dumps(arguments)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # so that what it starts (Tesseract) ends with it
            )
        if not ours.poll(START_TIMEOUT_S):
            self.end()
            raise DocumentError("The process that reads files did not start.")
        self._receive()

    def alive(self) -> bool:
        """Return whether it can take a file."""
        return not self._connection.closed and self._process.poll() is None

    def read(self, content: bytes, source: str, timeout_s: float) -> tuple[str, Reading]:
        """Return kind and reading.

        Raises:
            DocumentError: the file cannot be read.
            OverLimitError: it takes longer than `timeout_s` seconds, or too much memory.
        """
        if len(content) * SMALLEST_FACTOR > self._memory_mb * 1_000_000:
            raise OverLimitError(f"It needs more than {self._memory_mb} MB to read.")
        try:
            self._connection.send_bytes(json.dumps([source, timeout_s]).encode())
            self._connection.send_bytes(content)
        except OSError:
            raise self._death() from None
        while True:
            if not self._connection.poll(timeout_s):
                self.end()
                raise OverLimitError(f"It took longer than {timeout_s:g} s to read.")
            answer = self._receive()
            if answer is not None:
                break
        if answer.get("last"):
            self.end()
        if "error" in answer:
            over = answer["over_limit"]
            raise (OverLimitError if over else DocumentError)(answer["error"], hint=answer["hint"])
        blocks = tuple(
            Block(text, tuple(headings), page) for text, headings, page in answer["blocks"]
        )
        return answer["kind"], Reading(answer["title"], blocks, answer["pages"], answer["metadata"])

    def end(self) -> None:
        """End the process and all that it started."""
        self._connection.close()
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _receive(self) -> Any:
        try:
            return json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise self._death() from None

    def _death(self) -> DocumentError:
        """Return what its death means for the file that it read."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            self.end()
            code = self._process.returncode
        self._connection.close()
        if code == -signal.SIGXCPU:
            return OverLimitError("It took longer to read than is allowed.")
        if code in (-signal.SIGABRT, -signal.SIGKILL, -signal.SIGTRAP, -signal.SIGILL):
            # What C++ does when it cannot get more memory.
            return OverLimitError(f"It needs more than {self._memory_mb} MB to read.")
        return DocumentError(f"Its parser crashed (exit code {code}): it is damaged.")


def serve() -> None:
    """Read files for the process that started this one, until it is gone."""
    from ingest.read import read_content  # nobody but this process needs it

    arguments = json.loads(sys.argv[2])
    connection = Connection(arguments["fd"])
    limits = Limits(**arguments["limits"])
    memory = arguments["memory_mb"] * 1_000_000
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (memory, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # As many files are read at once as there are processors: Tesseract is not to spread over them.
    os.environ.setdefault("OMP_THREAD_LIMIT", "1")
    os.nice(NICE)
    connection.send_bytes(b"null")
    while True:
        try:
            source, timeout_s = json.loads(connection.recv_bytes())
            answer = json.dumps(
                _answer(read_content, connection, source, timeout_s, limits)
            ).encode()
            connection.send_bytes(answer)
        except (EOFError, ConnectionError):
            return
        except MemoryError:
            resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))  # else not even this can be said
            message = f"It needs more than {arguments['memory_mb']} MB to read."
            refusal = {"error": message, "hint": "", "over_limit": True, "last": True}
            connection.send_bytes(json.dumps(refusal).encode())
            return  # what is left of the memory is in pieces: a new process begins anew


def _answer(
    read: Callable[..., tuple[str, Reading]],
    connection: Connection,
    source: str,
    timeout_s: float,
    limits: Limits,
) -> dict[str, object]:
    def extend() -> None:
        connection.send_bytes(b"null")
        _allow_cpu(timeout_s)

    _allow_cpu(timeout_s)
    try:
        content = connection.recv_bytes()
        kind, reading = read(content, source, limits=limits, on_page=extend)
    except DocumentError as error:
        over = isinstance(error, OverLimitError)
        return {"error": error.message, "hint": error.hint, "over_limit": over}
    return {
        "kind": kind,
        "title": reading.title,
        "blocks": [[block.text, block.headings, block.page] for block in reading.blocks],
        "pages": reading.pages,
        "metadata": dict(reading.metadata),
    }


def _allow_cpu(seconds: float) -> None:
    """Let the kernel end this process should the one that watches the time be gone."""
    soft = int(time.process_time() + seconds) + 2
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
