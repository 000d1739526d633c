import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from assistant.api.app import create_app
from assistant.evaluations import Order
from assistant.keys import Keys
from assistant.workspace import Workspace
from eval.served import evaluate_served
from ingest.files import Upload
from tests.assistant.api.conftest import PUMP, URL, WAIT_S, Serve, Service
from tests.fakes import ScriptedEngine, small_workspace

HASH = "'sha256-LzxQ27u5shpu/QQ+wJrDaZ7bi3vhDYFX4FDCBIZo0eY='"
ORDER = {
    "questions": [
        {"id": "a", "question": "How tight are the latch screws?", "facts": [["2.1 N.m"]]},
        {"id": "b", "question": "When is the hose of the Sculpin 14 replaced?"},
    ],
    "arms": ["base", "rag"],
}


def written(home: Path, name: str, collection: str = "default", policy: str = HASH) -> None:
    """Put a report into a workspace."""
    folder = home / "reports" / name
    folder.mkdir(parents=True)
    report = {
        "title": "What it is worth",
        "created": "2026-03-01 12:00 UTC",
        "advice": {"title": "Retrieval pays", "reasons": ["It does."]},
        "summary": {"arms": ["base", "rag"]},
        "manifest": {"questions": 2, "adapter": None, "recipe": {"collection": collection}},
    }
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    meta = f'<meta http-equiv="Content-Security-Policy" content="script-src {policy}">'
    (folder / "report.html").write_text(f"<!doctype html>{meta}<p>Report</p>", encoding="utf-8")


def listed(service: Service, headers: Mapping[str, str]) -> list[str]:
    found = service.client.get("/api/evaluations", headers=headers).json()["evaluations"]
    return [report["id"] for report in found]


def test_reports_are_listed_newest_first_and_those_of_own_collections_alone(serve: Serve) -> None:
    service = serve(security={"require_key": True})
    home = service.workspace.home
    written(home, "20260301T120000Z-aa")
    written(home, "20260302T120000Z-bb", "pumps")
    (home / "reports" / "broken").mkdir()
    (home / "reports" / "broken" / "report.json").write_text("{", encoding="utf-8")
    assert listed(service, service.key("ask")) == ["20260302T120000Z-bb", "20260301T120000Z-aa"]
    key = service.key("ask", collections=["pumps"])
    assert listed(service, key) == ["20260302T120000Z-bb"]
    foreign = service.client.get("/evaluations/20260301T120000Z-aa", headers=key)
    unknown = service.client.get("/evaluations/nothing", headers=key)
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.text.replace("20260301T120000Z-aa", "nothing") == unknown.text


@pytest.mark.parametrize("name", ["..", "%2e%2e", "..%2Freports%2Fa", "a%2F..%2Fa", ".a", "a b"])
def test_a_report_is_a_folder_of_reports_and_nothing_else(serve: Serve, name: str) -> None:
    service = serve()
    written(service.workspace.home, "a")
    written(service.workspace.home / "reports", "b")
    response = service.client.get(f"/evaluations/{name}")
    assert response.status_code == 404 or response.url.path == "/"


def test_a_report_runs_its_own_script_in_a_sandbox_and_no_other(serve: Serve) -> None:
    service = serve()
    written(service.workspace.home, "own")
    written(service.workspace.home, "loose", policy="'unsafe-inline' https: 'self'")
    headers = service.client.get("/evaluations/own").headers
    assert headers["content-type"].startswith("text/html")
    policy = headers["content-security-policy"].split("; ")
    assert f"script-src {HASH}" in policy
    assert {"sandbox allow-scripts", "default-src 'none'", "frame-ancestors 'none'"} <= {*policy}
    assert headers["x-frame-options"] == "DENY"
    loose = service.client.get("/evaluations/loose").headers["content-security-policy"]
    assert "script-src 'none'" in loose


def test_the_frame_for_reports_has_no_origin_and_no_network(serve: Serve) -> None:
    headers = serve().client.get("/page/frame.html").headers
    policy = headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none';")
    assert "frame-ancestors 'self'" in policy
    assert headers["x-frame-options"] == "SAMEORIGIN"


@contextmanager
def serving(home: Path, evaluate: Callable[..., Mapping[str, Any]]) -> Iterator[Service]:
    engine = ScriptedEngine("The latch screws are tightened to 2.1 N.m.")
    workspace = small_workspace(home, engine)
    workspace.pipeline.run([Upload("sculpin.md", None, lambda: PUMP)], collection="default")
    with TestClient(create_app(workspace, evaluate=lambda: evaluate), base_url=URL) as client:
        yield Service(client, workspace, engine)


def test_an_evaluation_runs_beside_the_service_and_ends_in_a_report(tmp_path: Path) -> None:
    with serving(tmp_path / "home", evaluate_served) as service:
        started = service.client.post("/api/evaluations", json=ORDER)
        assert started.status_code == 202, started.text
        job_id = started.json()["job_id"]
        service.ended(job_id)
        job = service.client.get(f"/api/jobs/{job_id}").json()
        assert job["status"] == "done", job
        assert job["progress"]["done"] == job["progress"]["total"] == 4
        assert listed(service, {}) == [job["result"]["report"]]
        page = service.client.get(f"/evaluations/{job['result']['report']}")
        assert "How tight are the latch screws?" in page.text
        assert "script-src 'sha256-" in page.headers["content-security-policy"]
        newest = service.client.get("/api/jobs").json()["jobs"][0]
        assert newest == job


def test_questions_that_are_wrong_fail_the_job_and_are_named(tmp_path: Path) -> None:
    with serving(tmp_path / "home", evaluate_served) as service:
        wrong = {"questions": [{"id": "a"}, {"id": "b", "question": "?", "documents": ["no.md"]}]}
        job = service.ended(service.client.post("/api/evaluations", json=wrong).json()["job_id"])
        assert job["status"] == "failed"
        assert "questions:1: question" in job["error"]
        assert "/tmp" not in job["error"]


class Waits:
    """Evaluates until it is told that the service ends."""

    def __init__(self) -> None:
        self.begun = threading.Event()

    def __call__(
        self, workspace: Workspace, order: Order, *, loop: Any, on_answer: Callable[..., None]
    ) -> Mapping[str, Any]:
        while True:
            on_answer(1, 4)
            self.begun.set()
            time.sleep(0.01)


def test_one_evaluation_runs_at_a_time_and_ends_with_the_service(tmp_path: Path) -> None:
    waits = Waits()
    with serving(tmp_path / "home", waits) as service:
        first = service.client.post("/api/evaluations", json=ORDER)
        assert waits.begun.wait(WAIT_S)
        second = service.client.post("/api/evaluations", json=ORDER)
        assert (first.status_code, second.status_code) == (202, 409)
        assert service.client.get("/healthz").status_code == 200
    with serving(tmp_path / "home", waits) as service:
        job = service.client.get(f"/api/jobs/{first.json()['job_id']}").json()
        assert (job["status"], job["error"]) == ("failed", "interrupted")


def test_one_evaluation_runs_at_a_time_whichever_worker_began_it(tmp_path: Path) -> None:
    waits = Waits()
    with serving(tmp_path, waits) as one, serving(tmp_path, waits) as other:
        first = one.client.post("/api/evaluations", json=ORDER)
        assert waits.begun.wait(WAIT_S)
        refused = other.client.post("/api/evaluations", json=ORDER)
        assert (first.status_code, refused.status_code) == (202, 409)
        assert "running already" in refused.json()["error"]["message"]
    with serving(tmp_path, waits) as later:
        assert later.client.post("/api/evaluations", json=ORDER).status_code == 202


def test_an_admin_of_one_collection_evaluates_no_other(tmp_path: Path) -> None:
    with serving(tmp_path / "home", Waits()) as service:
        keys = Keys(service.workspace.registry.engine)
        _, text = keys.create("someone", roles=["admin"], collections=["pumps"])
        headers = {"Authorization": f"Bearer {text}"}
        order = {**ORDER, "collection": "default"}
        refused = service.client.post("/api/evaluations", json=order, headers=headers)
        assert refused.status_code == 404
        assert service.client.get("/api/jobs", headers=headers).json() == {"jobs": []}


def test_jobs_are_listed_newest_first_and_those_of_own_collections_alone(serve: Serve) -> None:
    service = serve()
    service.upload("a.md", PUMP)
    service.upload("b.md", PUMP, collection="pumps")
    jobs = service.client.get("/api/jobs").json()["jobs"]
    assert [job["collection"] for job in jobs] == ["pumps", "default"]
    key = service.key("ingest", collections=["pumps"])
    jobs = service.client.get("/api/jobs", headers=key).json()["jobs"]
    assert [job["collection"] for job in jobs] == ["pumps"]


def test_a_service_without_evaluation_says_what_to_do(serve: Serve) -> None:
    service = serve()
    service.upload("a.md", PUMP)
    refused = service.client.post("/api/evaluations", json=ORDER)
    assert refused.status_code == 400
    assert "groundtune eval run" in refused.json()["error"]["hint"]
