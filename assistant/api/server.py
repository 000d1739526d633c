"""The server: one process that serves a workspace, until it is told to end."""

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import NamedTuple, Protocol

import uvicorn

from assistant import logs
from assistant.api.app import create_app
from assistant.api.guard import HEADER_BYTES, LOOPBACK_HOSTS
from assistant.api.protocol import HurriedProtocol
from assistant.api.quota import Counts, renew
from assistant.api.traces import tracer_of
from assistant.config import Settings
from assistant.evaluations import Evaluate
from assistant.pauses import settle
from assistant.workspace import open_workspace
from ingest.errors import GroundtuneError

LAST_S = 5
"""After the grace, for the last event of each stream to reach its client."""
SWITCH_S = 0.001
"""Longest that a thread computes in Python while another one waits. An answer waits several times;
with Python's own 5 ms, uploads make it late by 15."""
LOOK_S = 0.5
"""Between two looks at whether all workers live."""


class Place(NamedTuple):
    """Where a service can be asked, and by whom."""

    host: str
    public: bool
    """Whether others than this machine can reach it."""
    own_key: str
    """What commands of this machine show it."""
    grace_s: float
    """How long open requests may go on once the service has been told to end."""


class Flag(Protocol):
    """An event, between threads or between processes."""

    def set(self) -> None:
        """It has happened."""
        ...


def serve_alone(
    settings: Settings,
    place: Place,
    listener: socket.socket,
    ready: Callable[[], None],
    evaluate: Callable[[], Evaluate] | None,
) -> None:
    """Serve in this process until it is interrupted; calls `ready` once it answers."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        _serve(settings, place, listener, ready, evaluate, shared=False)
    except KeyboardInterrupt:
        pass  # the server raises the signal that ended it again, once it has shut down
    finally:
        signal.signal(signal.SIGTERM, before)


def serve_together(
    settings: Settings,
    place: Place,
    listener: socket.socket,
    ready: Callable[[], None],
    evaluate: Callable[[], Evaluate] | None,
    *,
    workers: int,
) -> None:
    """Serve in `workers` processes until interrupted; one that dies is replaced.

    Raises:
        GroundtuneError: a worker could not start.
    """
    context = multiprocessing.get_context("spawn")  # threads and models survive no fork

    def begin() -> tuple[multiprocessing.process.BaseProcess, threading.Event]:
        started = context.Event()
        process = context.Process(target=_work, args=(settings, place, listener, started, evaluate))
        process.start()
        return process, started  # type: ignore[return-value]  # it has the same methods

    counts = Counts(renew(settings.home))
    stop = threading.Event()
    before = {s: signal.signal(s, lambda *_: stop.set()) for s in (signal.SIGTERM, signal.SIGINT)}
    crew = [begin() for _ in range(workers)]
    told = False
    try:
        while not stop.wait(LOOK_S):
            if not told and all(started.is_set() for _, started in crew):
                ready()
                told = True
            for place_in_crew, (process, started) in enumerate(crew):
                if process.is_alive():
                    continue
                if not started.is_set():
                    raise GroundtuneError("A worker could not start; the lines above say why.")
                counts.forget(process.pid or 0)
                crew[place_in_crew] = begin()
    finally:
        listener.close()  # or who comes now would wait for nobody
        for process, _ in crew:
            process.terminate()
        for process, _ in crew:
            process.join(place.grace_s + 2 * LAST_S)
            process.kill()
        counts.close()
        renew(settings.home)
        for number, handler in before.items():
            signal.signal(number, handler)


def _work(
    settings: Settings,
    place: Place,
    listener: socket.socket,
    started: Flag,
    evaluate: Callable[[], Evaluate] | None,
) -> None:
    """Be a worker: what ends it comes from the process that began it, not from the keyboard."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        _serve(settings, place, listener, started.set, evaluate, shared=True)


def _end_with_parent() -> None:
    """End when the process that began this one has died: the workspace is nobody's then."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _serve(
    settings: Settings,
    place: Place,
    listener: socket.socket,
    ready: Callable[[], None],
    evaluate: Callable[[], Evaluate] | None,
    *,
    shared: bool,
) -> None:
    logs.configure(settings.logs.format, details=settings.logs.details)
    sys.setswitchinterval(SWITCH_S)
    workspace = open_workspace(settings, shared=shared, serving=True)
    try:
        workspace.assistant  # noqa: B018  # what cannot be loaded is better said before serving
        app = create_app(
            workspace,
            hosts=LOOPBACK_HOSTS | {place.host},
            public=place.public,
            own_key=place.own_key,
            tracer=tracer_of(os.environ),
            evaluate=evaluate,
        )
        # Nothing may write to stdout but the result: access logs would.
        config = uvicorn.Config(
            app,
            http=HurriedProtocol,
            h11_max_incomplete_event_size=HEADER_BYTES,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # a header must not say who is asking
            server_header=False,
            timeout_graceful_shutdown=int(place.grace_s) + LAST_S,
        )

        def begun() -> None:
            settle()
            ready()

        Server(config, begun, place.grace_s).run(sockets=[listener])
    finally:
        workspace.close()


class Server(uvicorn.Server):
    """Says when it is ready, and lets open requests end before it does."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], grace_s: float) -> None:
        super().__init__(config)
        self._ready = ready
        self._grace_s = grace_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, and wait for those that are open."""
        self.config.app.state.goodbye.begin(self._grace_s)  # type: ignore[union-attr]  # our app
        await super().shutdown(sockets)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
