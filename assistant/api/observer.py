"""The observer: what happens in the service, told to the log, the metrics and the traces."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import Span, Tracer

from assistant.answer import Answer
from assistant.api.metrics import Metrics
from assistant.api.traces import NO_TRACER, add_stages, begin, end
from assistant.logs import told
from ingest.errors import EngineError, GroundtuneError

log = logging.getLogger(__name__)

NOWHERE = "unknown"
"""The route of a path that there is not: its words are the caller's, and may be anything."""
QUIET = {"/healthz", "/readyz", "/metrics"}


class Observer:
    """Follows requests from their beginning to their end."""

    def __init__(self, metrics: Metrics, tracer: Tracer = NO_TRACER) -> None:
        self.metrics = metrics
        self._tracer = tracer

    def begin(self, request_id: str, headers: Mapping[str, str]) -> "Watch":
        """Begin to follow a request."""
        return Watch(request_id, begin(self._tracer, headers, request_id))

    def end(self, watch: "Watch", scope: Any, status: int) -> None:
        """A request has ended, with the `status` that was sent; 499 if the client left first."""
        seconds = time.perf_counter() - watch.begun
        route = getattr(scope.get("route"), "path", NOWHERE)
        method: str = scope["method"]
        self.metrics.request(method, route, status, seconds)
        end(watch.span, method, route, status)
        if route not in QUIET:
            access = scope["state"].get("access")
            key = "" if access is None else access.key
            ms = round(seconds * 1000, 1)
            log.info(
                "request",
                extra=told(
                    request_id=watch.request_id,
                    method=method,
                    route=route,
                    status=status,
                    ms=ms,
                    key=key,
                ),
            )

    def answered(self, watch: "Watch", answer: Answer) -> None:
        """An answer was given."""
        self.metrics.answer(answer)
        add_stages(self._tracer, watch.span, answer, time.time_ns())

    def failed(self, watch: "Watch", error: GroundtuneError) -> None:
        """An answer was not given."""
        if isinstance(error, EngineError):
            self.metrics.engine_error(error.code)
            log.warning(
                "engine failed",
                extra=told(error.message, request_id=watch.request_id, code=error.code),
            )


class Watch:
    """A request on its way."""

    def __init__(self, request_id: str, span: Span) -> None:
        self.request_id = request_id
        self.span = span
        self.begun = time.perf_counter()
