"""Ingestion in bulk: files are read, cut and embedded on a Ray cluster, and stored by the driver.

Ray runs a task again, elsewhere, when the machine that had it is gone, so the index is the one
that a single process would have made.
"""

import socket
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import cache
from typing import Any

from ingest.document import Chunk, Failed
from ingest.errors import GroundtuneError, UsageError
from ingest.extras import require
from ingest.prepare import Batch, Parts, Prepared, Work

TASK_FILES = 32
TASK_BYTES = 8_000_000
"""A task is this many files or bytes: enough to embed in bulk, and little to do again."""
RETRIES = 10
"""How many machines may be lost under one task."""
CONNECT_S = 5.0


def connect(address: str) -> Any:
    """Connect to the Ray cluster at `address`, `auto` or `host:port`; return the module `ray`.

    Raises:
        UsageError: there is no such cluster.
        MissingExtraError: Ray is not installed.
    """
    ray = require("ray", extra="scale")
    host, _, port = address.rpartition(":")
    try:
        if host and port.isdigit():  # Ray itself would try for minutes
            place = host.rpartition("/")[2].strip("[]"), int(port)
            socket.create_connection(place, timeout=CONNECT_S).close()
        ray.init(address, log_to_driver=False, logging_level="ERROR")
    except (OSError, OverflowError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"There is no Ray cluster at {address!r}: {error}",
            hint="Start one with: ray start --head; or leave --ray out.",
        ) from None
    return ray


class RayCluster:
    """Prepares on a Ray cluster, two tasks ahead for each of its processors."""

    def __init__(
        self, address: str, make: Callable[[], Parts], *, task_files: int = TASK_FILES
    ) -> None:
        """Use the cluster at `address`; `auto` finds one on this machine.

        `make` builds on each worker what a file is prepared with; models must be there already.
        """
        self._address = address
        self._make = make
        self._task_files = task_files

    def prepare(self, works: Iterable[Work]) -> Generator[Batch]:
        """Yield every file exactly once, as done or failed.

        Raises:
            UsageError: there is no such cluster.
            GroundtuneError: the cluster is gone. What was stored is kept.
        """
        ray = connect(self._address)
        try:
            # In a list, so that a task gets the reference, the same for all tasks of this run.
            make = [ray.put(self._make)]
            task = ray.remote(max_retries=RETRIES)(_prepare)
            depth = 2 * max(int(ray.cluster_resources().get("CPU", 1)), 1)
            under_way: deque[Any] = deque()
            for group in self._groups(works):
                under_way.append(task.remote(make, group))
                if len(under_way) >= depth:
                    yield ray.get(under_way.popleft())
            while under_way:
                yield ray.get(under_way.popleft())
        except ray.exceptions.RayError as error:
            raise GroundtuneError(
                f"The Ray cluster at {self._address} failed: {error}",
                hint="What was stored is kept. Run the command again, with or without --ray.",
            ) from error
        finally:
            ray.shutdown()

    def _groups(self, works: Iterable[Work]) -> Iterator[list[Work]]:
        group: list[Work] = []
        for work in works:
            group.append(work)
            full = sum(len(one.content) for one in group) > TASK_BYTES
            if full or len(group) == self._task_files:
                yield group
                group = []
        if group:
            yield group


@cache
def _parts(make: Any) -> Parts:
    """Return what this worker prepares with; its model is loaded once a run."""
    import ray

    parts: Parts = ray.get(make)()
    return parts


def _prepare(make: list[Any], works: list[Work]) -> Batch:
    parts = _parts(make[0])
    done: list[Prepared] = []
    failed: list[Failed] = []
    chunks: list[Chunk] = []
    for work in works:
        one = parts.prepare(work)
        if isinstance(one, Failed):
            failed.append(one)
        else:
            done.append(one)
            chunks += [chunk for chunk in one.chunks if chunk.id not in work.stored]
    return Batch(chunks, parts.embed(chunks), done, failed)
