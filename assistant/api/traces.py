"""Traces: where the time of a request went, for OpenTelemetry.

They are recorded where the environment names a collector (`OTEL_EXPORTER_OTLP_ENDPOINT`, as
everywhere), and they hold ids, modes and counts, no words.
"""

from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.propagate import extract
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from assistant.answer import Answer
from ingest.extras import require

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
NO_TRACER = trace.NoOpTracer()


def tracer_of(environ: Mapping[str, str]) -> Tracer:
    """Return a tracer that sends to the collector that `environ` names; else one that does nothing.

    Raises:
        MissingExtraError: the exporter is not installed.
    """
    if not any(environ.get(name) for name in ENDPOINTS):
        return NO_TRACER
    exporter = require("opentelemetry.exporter.otlp.proto.http.trace_exporter", extra="trace")
    export = require("opentelemetry.sdk.trace.export", extra="trace")
    sdk = require("opentelemetry.sdk.trace", extra="trace")
    resources = require("opentelemetry.sdk.resources", extra="trace")
    name = environ.get("OTEL_SERVICE_NAME", "groundtune")
    provider = sdk.TracerProvider(resource=resources.Resource.create({"service.name": name}))
    provider.add_span_processor(export.BatchSpanProcessor(exporter.OTLPSpanExporter()))
    tracer: Tracer = provider.get_tracer("groundtune")
    return tracer


def begin(tracer: Tracer, headers: Mapping[str, str], request_id: str) -> Span:
    """Begin the span of a request, below that of its caller if it names one."""
    attributes = {"groundtune.request_id": request_id}
    return tracer.start_span("request", extract(headers), SpanKind.SERVER, attributes)


def end(span: Span, method: str, route: str, status: int) -> None:
    """End the span of a request."""
    span.update_name(f"{method} {route}")
    span.set_attributes({"http.request.method": method, "http.route": route})
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def add_stages(tracer: Tracer, parent: Span, answer: Answer, ended_ns: int) -> None:
    """Add what an answer's time went to, below the span of its request.

    Its stages follow each other: searching, building the prompt, generating. `ended_ns` is when
    the last one ended, in nanoseconds since 1970.
    """
    timings = answer.timings
    begun = ended_ns - _ns(timings.total)
    generated = ended_ns - _ns(timings.generate)
    context = trace.set_span_in_context(parent)
    stages: list[tuple[str, int, int, dict[str, Any]]] = [
        ("retrieve", begun, begun + _ns(timings.retrieve), {"passages": len(answer.evidence)}),
        ("prompt", begun + _ns(timings.retrieve), generated, {"dropped": answer.evidence_dropped}),
        (
            "generate",
            generated,
            ended_ns,
            {
                "model": answer.model,
                "adapter": answer.adapter or "",
                "prompt_tokens": answer.prompt_tokens,
                "completion_tokens": answer.completion_tokens,
                "first_token_ms": timings.first_token,
            },
        ),
    ]
    for name, start, stop, attributes in stages:
        named = {f"groundtune.{key}": value for key, value in attributes.items()}
        named["groundtune.mode"] = answer.mode
        tracer.start_span(name, context, attributes=named, start_time=start).end(stop)


def _ns(milliseconds: float) -> int:
    return int(milliseconds * 1_000_000)
