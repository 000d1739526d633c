"""The observer: what happens in the service, told to the log, the metrics and the traces."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from opentelemetry.trace import Span, Tracer

from assistant.answer import Answer
from assistant.api.metrics import Metrics
from assistant.api.traces import NO_TRACER, add_stages, begin, end
from assistant.logs import told
from ingest.errors import EngineError

log = logging.getLogger(__name__)

NOWHERE = "unknown"
"""The route of a path that there is not: its words are the caller's, and may be anything."""
QUIET = {"/healthz", "/readyz", "/metrics"}


class _Watch(NamedTuple):
    """A request on its way."""

    begun: float
    span: Span


class Observer:
    """Follows requests, by their ids, from their beginning to their end."""

    def __init__(self, metrics: Metrics, tracer: Tracer = NO_TRACER) -> None:
        self.metrics = metrics
        self.tracer = tracer
        self._watches: dict[str, _Watch] = {}

    def begin(self, request_id: str, headers: Mapping[str, str]) -> None:
        """Begin to follow a request."""
        span = begin(self.tracer, headers, request_id)
        self._watches[request_id] = _Watch(time.perf_counter(), span)

    def end(self, request_id: str, scope: Any, status: int) -> None:
        """A request has ended, with the `status` that was sent; 499 if the client left first."""
        watch = self._watches.pop(request_id)
        seconds = time.perf_counter() - watch.begun
        route = getattr(scope.get("route"), "path", NOWHERE)
        method: str = scope["method"]
        self.metrics.request(method, route, status, seconds)
        end(watch.span, method, route, status)
        if route not in QUIET:
            access = scope["state"].get("access")
            fields = {
                "request_id": request_id,
                "method": method,
                "route": route,
                "status": status,
                "ms": round(seconds * 1000, 1),
                "key": "" if access is None else access.key,
            }
            log.info("request", extra=told(**fields))

    def answered(self, answer: Answer) -> None:
        """An answer was given, to the request that it names."""
        self.metrics.answer(answer)
        if (watch := self._watches.get(answer.request_id)) is not None:
            add_stages(self.tracer, watch.span, answer, time.time_ns())

    @contextmanager
    def answering(self, request_id: str) -> Iterator[None]:
        """Note the failures of the engine in it."""
        try:
            yield
        except EngineError as error:
            self.metrics.engine_error(error.code)
            named = told(error.message, request_id=request_id, code=error.code)
            log.warning("engine failed", extra=named)
            raise
