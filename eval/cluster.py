"""Bulk evaluation: the language model runs on every machine of a Ray cluster.

Search, prompts, citations, cache and scores stay with the driver, behind the same seam as ever, so
answers are those of a single process. A worker writes one answer at a time.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from assistant.config import Settings
from assistant.engines.engine import Engine, Message, Piece, Request
from assistant.workspace import Workspace
from ingest.cluster import connect
from ingest.errors import EngineError, EngineUnavailableError, GroundtuneError
from ingest.extras import require


def open_engine(settings: Settings) -> Engine:
    """Return the language model of `settings`, for one answer at a time."""
    engine = settings.engine.model_copy(update={"parallel": 1})
    return Workspace(settings.model_copy(update={"engine": engine})).engine


class Cluster(AbstractContextManager["Cluster"]):
    """A Ray cluster that is connected to as long as this is open."""

    def __init__(self, address: str, make: Callable[[Settings], Engine] = open_engine) -> None:
        """Connect to the cluster at `address`; `auto` finds one on this machine.

        `make` opens the model on a worker. Its files and the workspace's adapters must lie there
        as they lie here.

        Raises:
            UsageError: there is no such cluster.
        """
        self._make = make
        self._ray = connect(address)

    def workers(self, threads: int) -> tuple[int, int]:
        """Return how many workers there is room for, and the processors of each.

        `threads` 0 gives a worker all processors of a machine (of the smallest one).
        """
        nodes = [node["Resources"].get("CPU", 0.0) for node in self._ray.nodes() if node["Alive"]]
        each = threads or int(min((cpus for cpus in nodes if cpus), default=1))
        return max(1, sum(int(cpus // each) for cpus in nodes)), each

    def engine(self, settings: Settings) -> "ClusterEngine":
        """Return the language model of `settings`, run by as many workers as there is room for."""
        count, each = self.workers(settings.engine.threads)
        worker = self._ray.remote(num_cpus=each, max_restarts=0)(_Worker)
        make = partial(self._make, settings)
        return ClusterEngine(
            settings.engine.model,
            settings.engine.context_tokens,
            [worker.remote(make) for _ in range(count)],
        )

    def close(self) -> None:
        """Leave the cluster; its workers end."""
        self._ray.shutdown()

    def __exit__(self, *_: object) -> None:
        self.close()


class ClusterEngine:
    """One language model on many machines; a request goes to a worker that is free.

    A worker whose machine is lost is not asked again.
    """

    def __init__(self, name: str, context_tokens: int, workers: Sequence[Any]) -> None:
        self.name = name
        self.context_tokens = context_tokens
        self.workers = list(workers)
        self._turn = itertools.count()
        self._free: asyncio.Queue[Any] | None = None

    async def prompt_tokens(self, messages: Sequence[Message]) -> list[int]:
        """Return the ids of the prompt that `messages` become, the chat template applied.

        Raises:
            EngineUnavailableError: every worker is lost.
        """
        while self.workers:
            worker = self.workers[next(self._turn) % len(self.workers)]
            try:
                tokens: list[int] = await _result(worker.tokens.remote(list(messages)))
            except _LostError:
                self._lose(worker)
            else:
                return tokens
        raise self._gone()

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        """Yield text pieces; the last piece carries the usage.

        Where a machine is lost before the first piece, another one is asked.

        Raises:
            EngineError: the model failed, or its machine was lost in the middle of an answer.
            EngineUnavailableError: every worker is lost.
        """
        free = self._queue()
        while True:
            worker = await free.get()
            if worker is None:
                free.put_nowait(None)  # for those that wait as well
                raise self._gone()
            begun = False
            try:
                async for ref in worker.stream.remote(request):
                    piece = await _result(ref)
                    begun = True
                    yield piece
            except _LostError as error:
                self._lose(worker)
                if begun:
                    raise EngineError(f"{self.name}: its machine was lost: {error}") from None
            else:
                return
            finally:
                if worker in self.workers:
                    free.put_nowait(worker)

    def _queue(self) -> asyncio.Queue[Any]:
        if self._free is None:  # here, because a queue belongs to the loop that makes it
            self._free = asyncio.Queue()
            for worker in self.workers:
                self._free.put_nowait(worker)
        return self._free

    def _lose(self, worker: Any) -> None:
        if worker in self.workers:
            self.workers.remove(worker)
        if not self.workers:
            self._queue().put_nowait(None)

    def _gone(self) -> EngineUnavailableError:
        return EngineUnavailableError(f"{self.name}: every machine of the cluster is lost.")

    async def check(self) -> None:
        """Raise unless the model answers.

        Raises:
            EngineError: it does not.
        """
        await self.prompt_tokens([Message("user", "ready?")])

    def close(self) -> None:
        """End the workers."""
        ray = require("ray", extra="scale")
        for worker in self.workers:
            ray.kill(worker)


class _LostError(GroundtuneError):
    """A worker is gone."""


class _Worker:
    """A language model on one machine."""

    def __init__(self, make: Callable[[], Engine]) -> None:
        self._engine = make()

    async def tokens(self, messages: Sequence[Message]) -> list[int]:
        return await self._engine.prompt_tokens(messages)

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        async for piece in self._engine.stream(request):
            yield piece


async def _result(ref: Any) -> Any:
    """Return what a worker made; its error is our own, wherever it was raised."""
    exceptions = require("ray", extra="scale").exceptions
    try:
        return await ref
    except exceptions.RayTaskError as error:
        if isinstance(error.cause, GroundtuneError):
            raise error.cause from None
        raise EngineError(f"A worker failed: {error.cause}") from None
    except exceptions.RayError as error:
        raise _LostError(f"{type(error).__name__}") from None
