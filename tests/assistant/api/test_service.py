import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from assistant.api.app import create_app
from assistant.api.routes.page import FOLDER
from ingest.errors import EngineUnavailableError
from tests import chroma_server
from tests.assistant.api.conftest import PUMP, Serve
from tests.fakes import ScriptedEngine, small_workspace


class AbsentEngine(ScriptedEngine):
    """Is not there."""

    async def check(self) -> None:
        raise EngineUnavailableError("Nobody is there.")


def test_a_service_that_started_is_ready(serve: Serve) -> None:
    client = serve().client
    assert client.get("/healthz").json() == {"status": "ok"}
    response = client.get("/readyz")
    assert response.status_code == 200
    assert set(response.json()["parts"].values()) == {"ok"}


def test_readiness_names_the_part_that_is_down(serve: Serve) -> None:
    response = serve(AbsentEngine()).client.get("/readyz")
    assert response.status_code == 503
    parts = response.json()["parts"]
    assert parts.pop("engine") == "Nobody is there."
    assert set(parts.values()) == {"ok"}


def test_readiness_names_a_vector_store_that_lost_its_data(serve: Serve) -> None:
    service = serve()
    service.upload("pump.md", PUMP)
    vectors = service.workspace.index.vectors
    vectors.remove(sorted(vectors.ids()))
    response = service.client.get("/readyz")
    assert response.status_code == 503
    parts = response.json()["parts"]
    assert "holds 0 vectors of the 2 passages in collection 'default'" in parts.pop("vectors")
    assert set(parts.values()) == {"ok"}


def test_a_vector_store_that_goes_down_is_named_and_search_says_so(
    serve: Serve, tmp_path: Path
) -> None:
    with chroma_server.started(tmp_path / "chroma") as url:
        service = serve(store={"vectors": f"chroma:{url}"})
        service.upload("pump.md", PUMP)
        assert service.client.get("/readyz").status_code == 200
    response = service.client.get("/readyz")
    assert response.status_code == 503
    parts = response.json()["parts"]
    assert f"The Chroma server at {url} does not do its work" in parts.pop("vectors")
    assert set(parts.values()) == {"ok"}
    found = service.client.post("/api/search", json={"query": "latch screws"})
    assert found.status_code == 503
    assert found.json()["error"]["code"] == "store_unavailable"
    assert "chroma run" in found.json()["error"]["hint"]


def test_without_adapters_the_list_is_empty(serve: Serve) -> None:
    assert serve().client.get("/api/adapters").json() == {"adapters": []}


def test_a_request_for_another_host_name_is_refused(serve: Serve) -> None:
    client = serve().client
    for host in ("evil.example", "evil.example:8000", "localhost.evil.example", ""):
        response = client.get("/api/documents", headers={"host": host})
        assert response.status_code == 421
        assert response.json()["error"]["code"] == "wrong_host"
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST"):
        assert client.get("/api/documents", headers={"host": host}).status_code == 200


def test_a_foreign_page_cannot_post_a_form(serve: Serve) -> None:
    client = serve().client
    files = {"files": ("a.md", PUMP)}
    for origin in ("https://evil.example", "null", "http://127.0.0.1:9999"):
        response = client.post("/api/documents", files=files, headers={"origin": origin})
        assert response.status_code == 403
    own = {"origin": "http://127.0.0.1:8000"}
    assert client.post("/api/documents", files=files, headers=own).status_code == 202


@pytest.mark.parametrize("path", ["/", "/docs", "/page/page.css", "/page/page.js", "/nothing"])
def test_every_answer_carries_the_security_headers(serve: Serve, path: str) -> None:
    headers = serve().client.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_the_page_loads_nothing_from_elsewhere_and_runs_nothing_inline(serve: Serve) -> None:
    client = serve().client
    for path in ("/", "/docs"):
        page = client.get(path)
        assert page.headers["content-type"].startswith("text/html")
        assert "<script>" not in page.text
        assert "style=" not in page.text
        assert not re.search(r"\son\w+=", page.text)
        for wanted in re.findall(r'(?:src|href)="([^"#][^"]*)"', page.text):
            assert client.get(wanted).status_code == 200, wanted
    for file in FOLDER.iterdir():
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"(https?:)?//[\w.-]+\.\w", text.replace("http://www.w3.org", ""))
        assert "innerHTML" not in text


def test_unknown_paths_and_methods_have_the_same_error_shape(serve: Serve) -> None:
    client = serve().client
    assert client.get("/nothing").json()["error"]["code"] == "not_found"
    assert client.put("/api/ask").json()["error"]["code"] == "method_not_allowed"


def test_the_openapi_description_lists_every_route(serve: Serve) -> None:
    paths = serve().client.get("/openapi.json").json()["paths"]
    assert {"/api/ask", "/api/search", "/api/documents", "/api/jobs/{job_id}"} <= set(paths)
    assert "multipart/form-data" in paths["/api/documents"]["post"]["requestBody"]["content"]


def test_readiness_costs_no_generation(serve: Serve) -> None:
    service = serve()
    service.client.get("/readyz")
    assert service.engine.requests == []


def test_the_engine_is_closed_with_the_service(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    with TestClient(create_app(small_workspace(tmp_path, engine))):
        assert not engine.closed
    assert engine.closed
