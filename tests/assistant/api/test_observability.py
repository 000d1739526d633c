import gzip
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from assistant.api.app import create_app
from assistant.api.traces import NO_TRACER, tracer_of
from assistant.engines.queue import RequestQueue
from assistant.logs import JsonLines, Words, told
from ingest.errors import EngineUnavailableError
from ingest.files import Upload
from tests.assistant.api.conftest import PUMP, URL, WAIT_S, Serve, Service
from tests.fakes import ScriptedEngine, small_workspace

ASK = {"question": "How firmly do I tighten the latch screws of the Sculpin 14?", "mode": "rag"}


class QueuedEngine(ScriptedEngine):
    """Has a line in front of it."""

    queue = RequestQueue(2, 5)


def metrics_of(service: Service) -> dict[tuple[str, ...], float]:
    """Return the samples by name and label values."""
    response = service.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_what_was_answered_is_counted(serve: Serve) -> None:
    service = serve(QueuedEngine("The latch screws [7] are tightened to 2.1 N.m."))
    service.upload("sculpin.md", PUMP)
    body = service.client.post("/api/ask", json=ASK).json()
    service.client.post("/api/ask", json={**ASK, "question": "Zebra xylophone?", "stream": True})
    found = metrics_of(service)
    assert found["groundtune_answers_total", "rag"] == 2
    assert found["groundtune_abstentions_total", "rag"] == 1
    assert found["groundtune_markers_removed_total",] == 1
    assert found["groundtune_evidence_dropped_total",] == 0
    usage = body["usage"]
    assert found["groundtune_tokens_total", "prompt", "rag"] == usage["prompt_tokens"]
    assert found["groundtune_tokens_total", "completion", "rag"] == usage["completion_tokens"]
    for stage in ("retrieve", "first_token", "generate", "total"):
        assert found["groundtune_stage_seconds_count", "rag", stage] == 2
    assert found["groundtune_requests_total", "POST", "/api/ask", "200"] == 2
    assert found["groundtune_request_seconds_count", "/api/ask"] == 2
    assert (found["groundtune_queue", "running"], found["groundtune_queue", "waiting"]) == (0, 0)
    assert found["groundtune_reloads_total",] == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_of_the_engine_is_counted_by_its_kind(serve: Serve, stream: bool) -> None:
    full = EngineUnavailableError("There is no room.")
    service = serve(ScriptedEngine("one two", fail_after=1, error=full))
    body = {"question": "x", "mode": "base", "stream": stream}
    service.client.post("/api/ask", json=body)
    assert metrics_of(service)["groundtune_engine_errors_total", "engine_unavailable"] == 1


def test_no_label_is_made_of_what_a_caller_sends(serve: Serve) -> None:
    service = serve()
    for path in ("/api/documents/made-up-id", "/made-up-path", "/api/jobs/made-up-id"):
        service.client.get(path)
    service.client.request("MADE-UP", "/api/ask")
    service.client.post("/v1/chat/completions", json={"model": "made-up"})
    text = service.client.get("/metrics").text
    assert "made-up" not in text.lower()
    found = metrics_of(service)
    assert found["groundtune_requests_total", "GET", "/api/documents/{document_id}", "404"] == 1
    assert found["groundtune_requests_total", "GET", "unknown", "404"] == 1


def test_a_key_of_some_collections_does_not_see_the_counts_of_all(serve: Serve) -> None:
    service = serve()
    bound = service.key("admin", collections=["mine"])
    assert service.client.get("/metrics", headers=bound).status_code == 403
    assert service.client.get("/metrics", headers=service.key("admin")).status_code == 200


@contextmanager
def logged(formatter: logging.Formatter) -> Iterator[StringIO]:
    """Collect what the service logs."""
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.getLogger("assistant")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield stream
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def test_every_request_is_a_line_of_json_without_what_was_said(serve: Serve) -> None:
    service = serve(ScriptedEngine("The latch screws are tightened to 2.1 N.m."))
    key = service.key("admin")
    with logged(JsonLines(details=False)) as stream:
        service.upload("sculpin.md", PUMP)
        response = service.client.post("/api/ask", json=ASK, headers=key)
        service.client.get("/api/documents/x%0a{}?collection=%0d%0a{}", headers=key)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    [asked] = [line for line in lines if line.get("route") == "/api/ask"]
    assert asked["event"] == "request"
    assert (asked["method"], asked["status"]) == ("POST", 200)
    assert asked["request_id"] == response.headers["x-request-id"]
    assert asked["key"] == key["Authorization"].split("_")[1]
    assert asked["ms"] > 0
    text = stream.getvalue().casefold()
    secret = key["Authorization"].split("_", 2)[2].casefold()
    for word in ("latch", "2.1 n.m", "sculpin", secret, ASK["question"].casefold()):
        assert word not in text


def test_what_broke_is_logged_with_its_place_and_without_its_words(serve: Serve) -> None:
    bug = ZeroDivisionError("secret detail")
    service = serve(ScriptedEngine("one", fail_after=0, error=bug))
    ask = {"question": "x", "mode": "base"}
    with logged(JsonLines(details=False)) as stream, logged(JsonLines(details=True)) as full:
        response = service.client.post("/api/ask", json=ask)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    [broke] = [line for line in lines if line["level"] == "error"]
    assert broke["error"] == "ZeroDivisionError"
    assert broke["request_id"] == response.headers["x-request-id"]
    assert any("assistant.py" in place for place in broke["where"])
    assert "secret detail" not in stream.getvalue()
    assert "secret detail" in full.getvalue()


def test_a_line_stays_one_line_whatever_is_in_it() -> None:
    for formatter in (JsonLines(details=True), Words()):
        with logged(formatter) as stream:
            evil = 'a\nerror: forged\r\n{"level": "error"}'
            logging.getLogger("assistant.test").warning("told", extra=told(evil, name=evil))
        assert len(stream.getvalue().splitlines()) == 1


def test_a_request_is_traced_from_its_caller_to_the_model(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    workspace = small_workspace(tmp_path, ScriptedEngine("Tightened to 2.1 N.m."))
    workspace.pipeline.run([Upload("sculpin.md", None, lambda: PUMP)], collection="default")
    app = create_app(workspace, tracer=provider.get_tracer("test"))
    caller = "0af7651916cd43dd8448eb211c80319c"
    with TestClient(app, base_url=URL) as client:
        headers = {"traceparent": f"00-{caller}-b7ad6b7169203331-01"}
        response = client.post("/api/ask", json=ASK, headers=headers)
    provider.shutdown()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"retrieve", "prompt", "generate", "POST /api/ask"}
    root = spans["POST /api/ask"]
    assert root.attributes is not None
    assert root.attributes["groundtune.request_id"] == response.headers["x-request-id"]
    assert root.attributes["http.response.status_code"] == 200
    ends = []
    for name in ("retrieve", "prompt", "generate"):
        span: Any = spans[name]
        assert span.context.trace_id == int(caller, 16)
        assert span.parent.span_id == root.context.span_id
        assert root.start_time <= span.start_time <= span.end_time <= root.end_time
        ends.append(span.end_time)
    assert ends == sorted(ends)
    assert "latch" not in str([dict(span.attributes or {}) for span in spans.values()])


def test_an_ingestion_is_traced_file_by_file_and_without_names(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    workspace = small_workspace(tmp_path, ScriptedEngine())
    app = create_app(workspace, tracer=provider.get_tracer("test"))
    with TestClient(app, base_url=URL) as client:
        service = Service(client, workspace, ScriptedEngine())
        job = service.upload("sculpin.md", PUMP)
        service.upload("broken.pdf", b"%PDF-1.7 nothing")
    provider.shutdown()
    whole, broken = (s for s in exporter.get_finished_spans() if s.name == "ingest")
    assert dict(whole.attributes or {}) == {"groundtune.job_id": job["id"], "groundtune.files": 1}
    assert [dict(event.attributes or {}) for event in whole.events] == [
        {"groundtune.outcome": "added", "groundtune.chunks": 2}
    ]
    assert [dict(event.attributes or {})["groundtune.outcome"] for event in broken.events] == [
        "failed"
    ]
    assert "sculpin" not in whole.to_json() + broken.to_json()


class Collector(BaseHTTPRequestHandler):
    """Takes what exporters send, as an OpenTelemetry collector does."""

    spans: ClassVar[list[str]] = []

    def do_POST(self) -> None:  # as the standard library calls it
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            names = [a.value.string_value for a in resource.resource.attributes]
            for scope in resource.scope_spans:
                self.spans.extend(span.name for span in scope.spans if "groundtune" in names)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # as it is called there
        """Say nothing."""


def test_spans_reach_the_collector_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"ingest", "retrieve", "prompt", "generate", "POST /api/ask"}
    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{collector.server_port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        app = create_app(small_workspace(tmp_path, ScriptedEngine()), tracer=tracer_of(os.environ))
        try:
            with TestClient(app, base_url=URL) as client:
                Service(client, app.state.parts.workspace, ScriptedEngine()).upload("a.md", PUMP)
                client.post("/api/ask", json=ASK)
                until = time.monotonic() + WAIT_S
                while not names <= set(Collector.spans) and time.monotonic() < until:
                    time.sleep(0.05)
        finally:
            collector.shutdown()
            thread.join()
    assert names <= set(Collector.spans)


def test_nothing_is_traced_where_no_collector_is_named() -> None:
    assert tracer_of({}) is NO_TRACER
    assert tracer_of({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}) is NO_TRACER
