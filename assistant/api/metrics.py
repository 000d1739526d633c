"""What Prometheus reads at `/metrics`. No label holds anything that a caller can make up."""

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from assistant.answer import Answer
from assistant.engines.queue import RequestQueue

METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counts what the service does."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests.", "method", "route", "status")
        self._request_s = self._histogram("request_seconds", "Time of a request.", "route")
        self._stage_s = self._histogram(
            "stage_seconds", "Time of an answer's stages.", "stage", "mode"
        )
        self._answers = self._counter("answers", "Answers.", "mode")
        self._abstentions = self._counter("abstentions", "Answers that abstain.", "mode")
        self._tokens = self._counter("tokens", "Tokens read and written.", "kind", "mode")
        self._dropped = self._counter("evidence_dropped", "Passages that did not fit.")
        self._removed = self._counter("markers_removed", "Markers that nothing bears out.")
        self._engine_errors = self._counter("engine_errors", "Failures of the engine.", "code")

    def watch(self, queue: RequestQueue) -> None:
        """Show the state of the line in front of the model."""
        self.registry.register(_Line(queue))

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; `route` is a template, `/api/jobs/{job_id}`."""
        method = method if method in METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._request_s.labels(route).observe(seconds)

    def answer(self, answer: Answer) -> None:
        """Count an answer."""
        mode = answer.mode
        self._answers.labels(mode).inc()
        self._abstentions.labels(mode).inc(answer.abstained)
        self._tokens.labels("prompt", mode).inc(answer.prompt_tokens)
        self._tokens.labels("completion", mode).inc(answer.completion_tokens)
        self._dropped.inc(answer.evidence_dropped)
        self._removed.inc(answer.markers_removed)
        for stage in ("retrieve", "first_token", "generate", "total"):
            self._stage_s.labels(stage, mode).observe(getattr(answer.timings, stage) / 1000)

    def engine_error(self, code: str) -> None:
        """Count a failure of the engine."""
        self._engine_errors.labels(code).inc()

    def text(self) -> bytes:
        """Return the page that Prometheus reads."""
        return generate_latest(self.registry)

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(f"groundtune_{name}", words, labels, registry=self.registry)

    def _histogram(self, name: str, words: str, *labels: str) -> Histogram:
        return Histogram(
            f"groundtune_{name}", words, labels, registry=self.registry, buckets=SECONDS
        )


class _Line:
    """Reads the queue at the moment it is asked."""

    def __init__(self, queue: RequestQueue) -> None:
        self._queue = queue

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        gauge = GaugeMetricFamily("groundtune_queue", "Requests at the model.", labels=["state"])
        gauge.add_metric(["running"], self._queue.running)
        gauge.add_metric(["waiting"], self._queue.waiting)
        yield gauge
        yield CounterMetricFamily(
            "groundtune_reloads", "Changes of the model or adapter.", self._queue.reloads
        )


def queue_of(engine: Any) -> RequestQueue | None:
    """Return the line in front of an engine; a small one of a test has none."""
    queue = getattr(engine, "queue", None)
    return queue if isinstance(queue, RequestQueue) else None
