import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from assistant.api.app import create_app
from assistant.api.door import FAILURES_PER_MINUTE
from assistant.api.quota import FORGET_EVERY, Counts, Quota, Streams, renew
from tests.assistant.api.conftest import PUMP, URL, Serve, Service, events_of
from tests.fakes import ScriptedEngine, small_workspace

ASK = {"question": "How firmly do I tighten the latch screws of the Sculpin 14?", "mode": "rag"}
CHAT = {"model": "rag", "messages": [{"role": "user", "content": ASK["question"]}]}
KEYED = {"require_key": True}
OPEN = {"/healthz", "/readyz"}
NEEDS = {
    "ask": {
        "POST /api/ask",
        "POST /api/search",
        "POST /api/feedback",
        "GET /api/documents",
        "GET /api/documents/{document_id}",
        "GET /api/adapters",
        "GET /api/evaluations",
        "GET /evaluations/{evaluation_id}",
        "POST /v1/chat/completions",
        "GET /v1/models",
        "GET /v1/models/{model}",
    },
    "ingest": {
        "POST /api/documents",
        "DELETE /api/documents/{document_id}",
        "GET /api/jobs",
        "GET /api/jobs/{job_id}",
        "GET /api/jobs/{job_id}/events",
    },
    "admin": {
        "GET /api/feedback",
        "GET /metrics",
        "POST /api/documents/prune",
        "POST /api/evaluations",
        "POST /api/backup",
        "POST /api/adapters/{name}/promote",
        "POST /api/adapters/{name}/rollback",
    },
}


def routes_of(service: Service) -> set[str]:
    schema = service.client.get("/openapi.json").json()
    return {
        f"{method.upper()} {path}"
        for path, methods in schema["paths"].items()
        for method in methods
        if path not in OPEN
    }


def call(service: Service, route: str, headers: dict[str, str]) -> Any:
    method, path = route.split(" ")
    bodies = {"/api/ask": ASK, "/api/search": {"query": "x"}, "/v1/chat/completions": CHAT}
    bodies["/api/feedback"] = {"request_id": "0" * 32, "rating": "up"}
    bodies["/api/evaluations"] = {"questions": [{"id": "q", "question": "?"}]}
    json = bodies.get(path) if method == "POST" else None
    for name in ("document_id", "evaluation_id", "job_id", "name", "model"):
        path = path.replace(f"{{{name}}}", "nothing")
    return service.client.request(method, path, json=json, headers=headers)


def test_every_route_is_behind_a_role(serve: Serve) -> None:
    service = serve(security=KEYED)
    assert routes_of(service) == NEEDS["ask"] | NEEDS["ingest"] | NEEDS["admin"]
    keys = {role: service.key(role) for role in NEEDS}
    for needed, routes in NEEDS.items():
        for route in routes:
            assert call(service, route, {}).status_code == 401, route
            for role, key in keys.items():
                refused = call(service, route, key).status_code == 403
                assert refused == (role not in (needed, "admin")), (route, role)


def test_the_page_and_health_need_no_key_and_say_nothing(serve: Serve) -> None:
    client = serve(security=KEYED).client
    for path in ("/", "/docs", "/openapi.json", "/page/page.js", "/healthz", "/readyz"):
        assert client.get(path).status_code == 200


def test_on_this_machine_no_key_is_needed_and_any_placeholder_will_do(serve: Serve) -> None:
    client = serve().client
    assert client.get("/api/documents").status_code == 200
    for text in ("Bearer none", "Bearer sk-1234", "Basic eDp5"):
        headers = {"Authorization": text}
        assert client.get("/v1/models", headers=headers).status_code == 200


def test_a_key_binds_whoever_shows_it_even_on_this_machine(serve: Serve) -> None:
    service = serve()
    service.upload("sculpin.md", PUMP)
    key = service.key("ask", collections=["other"])
    assert service.client.get("/api/documents", headers=key).json() == {"documents": []}
    wrong = {"Authorization": key["Authorization"][:-1] + "!"}
    response = service.client.get("/api/documents", headers=wrong)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Real-IP"])
def test_what_comes_through_a_proxy_needs_a_key(serve: Serve, header: str) -> None:
    service = serve()
    headers = {header: "192.0.2.1"}
    response = service.client.get("/api/documents", headers=headers)
    assert response.status_code == 401
    assert "require_key" in response.json()["error"]["hint"]
    headers |= service.key("ask")
    assert service.client.get("/api/documents", headers=headers).status_code == 200


def test_a_key_is_refused_as_soon_as_it_is_revoked(serve: Serve) -> None:
    from assistant.keys import Keys

    service = serve()
    key = service.key("ask")
    assert service.client.get("/api/documents", headers=key).status_code == 200
    keys = Keys(service.workspace.registry.engine)
    keys.revoke(keys.list()[0].id)
    assert service.client.get("/api/documents", headers=key).status_code == 401


def test_a_bound_key_works_in_its_own_collection_without_naming_it(serve: Serve) -> None:
    service = serve(security=KEYED)
    key = service.key("ask", "ingest", collections=["pumps"])
    files = {"files": ("sculpin.md", PUMP)}
    accepted = service.client.post("/api/documents", files=files, headers=key).json()
    path = f"/api/jobs/{accepted['job_id']}/events"
    assert events_of(service.client.get(path, headers=key).text)[-1][0] == "done"
    [document] = service.client.get("/api/documents", headers=key).json()["documents"]
    assert document["collection"] == "pumps"
    assert service.client.post("/api/ask", json=ASK, headers=key).json()["citations"]
    assert service.client.post("/v1/chat/completions", json=CHAT, headers=key).is_success
    found = service.client.post("/api/search", json={"query": "hose"}, headers=key).json()
    assert found["hits"]


def test_each_key_has_its_own_number_of_requests(serve: Serve) -> None:
    service = serve(security={"requests_per_minute": 3})
    anna, bert = service.key("ask"), service.key("ask")
    codes = [service.client.get("/api/documents", headers=anna).status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]
    response = service.client.get("/v1/models", headers=anna)
    assert response.json()["error"]["type"] == "rate_limit_error"
    assert 0 < int(response.headers["retry-after"]) <= 20
    assert service.client.get("/api/documents", headers=bert).status_code == 200


def test_the_promotion_and_the_deletion_are_in_the_audit_log(serve: Serve) -> None:
    from assistant.audit import Audit

    service = serve()
    key = service.key("admin")
    keyed = key["Authorization"].split("_")[1]
    service.upload("sculpin.md", PUMP)
    [document] = service.documents()
    service.client.delete(f"/api/documents/{document['id']}", headers=key)
    lines = Audit(service.workspace.registry.engine).lines()
    assert [(line["action"], line["subject"], line["key"]) for line in lines] == [
        ("ingest", document["id"], ""),
        ("delete", document["id"], keyed),
    ]
    assert "sculpin" not in str(lines)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_requests_come_back_with_time() -> None:
    clock = Clock()
    quota = Quota(Counts(), "requests", 60, clock)
    assert [quota.spend("a") for _ in range(60)] == [0] * 60
    assert quota.spend("a") == 1
    assert quota.empty("a")
    assert quota.spend("b") == 0
    clock.now = 2.0
    assert [quota.spend("a") for _ in range(3)] == [0, 0, 1]


def test_a_quota_of_nothing_is_no_limit() -> None:
    assert not any(Quota(Counts(), "requests", 0).spend("a") for _ in range(1000))


def test_a_quota_forgets_names_that_did_not_come_back() -> None:
    clock, counts = Clock(), Counts()
    quota = Quota(counts, "requests", 60, clock)
    for number in range(FORGET_EVERY - 1):
        quota.spend(str(number))
    clock.now = 3600
    quota.spend("new")
    with counts.changing() as connection:
        assert connection.execute("SELECT name FROM spent").fetchall() == [("new",)]


def test_two_kinds_of_requests_are_counted_apart() -> None:
    counts = Counts()
    one, other = Quota(counts, "requests", 1), Quota(counts, "wrong keys", 1)
    assert (one.spend("a"), one.empty("a"), other.empty("a")) == (0, True, False)


def test_streams_are_counted_in_and_out() -> None:
    streams = Streams(Counts(), 2)
    assert [streams.begin("a") for _ in range(3)] == [True, True, False]
    assert streams.begin("b")
    streams.end("a")
    assert streams.begin("a")


def test_the_streams_of_a_process_that_died_are_closed(tmp_path: Path) -> None:
    counts = Counts(renew(tmp_path))
    streams = Streams(counts, 1)
    assert streams.begin("a")
    counts.forget(os.getpid())
    assert streams.begin("a")


def test_counts_that_cannot_be_kept_are_told_as_a_store_that_is_down(serve: Serve) -> None:
    service = serve()
    key = service.key("ask")
    app: Any = service.client.app
    app.state.counts.close()
    response = service.client.get("/api/documents", headers=key)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert response.json()["error"]["code"] == "store_unavailable"


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Service]]:
    """Two that serve one workspace together."""
    renew(tmp_path)
    with ExitStack() as stack:
        found = []
        for _ in range(2):
            engine = ScriptedEngine()
            sections = {"requests_per_minute": 5, "streams": 1}
            workspace = small_workspace(tmp_path, engine, security=sections)
            workspace.shared = True
            client = stack.enter_context(TestClient(create_app(workspace), base_url=URL))
            found.append(Service(client, workspace, engine))
        yield found


def test_a_key_has_its_requests_once_however_many_workers_there_are(
    workers: list[Service],
) -> None:
    key = workers[0].key("ask")
    codes = [
        workers[number % 2].client.get("/api/documents", headers=key).status_code
        for number in range(8)
    ]
    assert codes == [200] * 5 + [429] * 3


def test_wrong_keys_are_counted_over_all_workers(workers: list[Service]) -> None:
    wrong = {"Authorization": "Bearer gt_" + "0" * 12 + "_" + "A" * 43}
    began = time.monotonic()
    codes = [
        workers[number % 2].client.get("/api/documents", headers=wrong).status_code
        for number in range(60)
    ]
    looked_at, minutes = codes.count(401), (time.monotonic() - began) / 60
    assert codes[:FAILURES_PER_MINUTE] == [401] * FAILURES_PER_MINUTE
    assert looked_at <= FAILURES_PER_MINUTE * (1 + minutes)  # they come back with time
    assert looked_at + codes.count(429) == len(codes)


def test_a_stream_at_one_worker_counts_at_the_others(workers: list[Service]) -> None:
    key = workers[0].key("ask")
    name = key["Authorization"].split("_")[1]
    ask = {"question": "Why?", "mode": "base", "stream": True}
    elsewhere = Streams(Counts(workers[0].workspace.home / "limits.sqlite"), 1)
    assert elsewhere.begin(name)
    assert workers[1].client.post("/api/ask", json=ask, headers=key).status_code == 429
    elsewhere.end(name)
    assert workers[1].client.post("/api/ask", json=ask, headers=key).status_code == 200
