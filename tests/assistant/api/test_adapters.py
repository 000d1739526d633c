import asyncio
import json
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from assistant.api.app import create_app
from assistant.audit import Audit
from assistant.engines.engine import Piece, Request, Usage
from tests.assistant.api.conftest import Serve, Service, events_of, running
from tests.fakes import ScriptedEngine, small_workspace


def version(service: Service, name: str, *, passed: bool | None) -> Path:
    """Put a finished version into the workspace; `passed` is None where nobody compared it."""
    folder = service.workspace.adapters.folder / "house" / name
    folder.mkdir(parents=True)
    body = {"passed": passed, "prompts": 40, "failures": [] if passed else ["41.0% agree"]}
    manifest = {
        "prompt_fingerprint": service.workspace.prompt_fingerprint,
        "base_sha256": service.workspace.base_sha256,
        "created": name,
        "parity": None if passed is None else {"embedded": body},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def post(service: Service, path: str, status: int = 200) -> dict[str, Any]:
    response = service.client.post(f"/api/adapters/{path}")
    assert response.status_code == status, response.text
    found: dict[str, Any] = response.json()
    return found


def aliases(service: Service) -> dict[str, list[str]]:
    listed = service.client.get("/api/adapters").json()["adapters"]
    return {adapter["version"]: adapter["aliases"] for adapter in listed}


def test_the_newest_version_is_promoted_and_taken_back(serve: Serve) -> None:
    service = serve()
    version(service, "v1", passed=True)
    body = post(service, "house/promote")
    assert body == {"name": "house", "production": "v1", "previous": ""}
    version(service, "v2", passed=True)
    body = post(service, "house/promote")
    assert body == {"name": "house", "production": "v2", "previous": "v1"}
    assert aliases(service) == {"v1": ["previous"], "v2": ["production"]}
    assert post(service, "house/rollback")["production"] == "v1"
    assert aliases(service) == {"v1": ["production"], "v2": ["previous"]}
    told = [line["action"] for line in Audit(service.workspace.registry.engine).lines()]
    assert told == ["promote", "promote", "rollback"]


def test_what_was_not_compared_or_failed_is_not_promoted(serve: Serve) -> None:
    service = serve()
    version(service, "v1", passed=None)
    error = post(service, "house/promote", 409)["error"]
    assert "Nobody has checked" in error["message"]
    assert error["hint"] == "groundtune adapters parity house:v1 --engine embedded"
    version(service, "v2", passed=False)
    assert "41.0% agree" in post(service, "house:v2/promote", 409)["error"]["message"]
    assert aliases(service) == {"v1": [], "v2": []}


def test_an_adapter_for_another_model_is_not_promoted(serve: Serve) -> None:
    service = serve()
    path = version(service, "v1", passed=True) / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8")) | {"base_sha256": "other"}
    path.write_text(json.dumps(manifest), encoding="utf-8")
    assert "another base model" in post(service, "house/promote", 409)["error"]["message"]


def test_another_engine_does_not_serve_what_is_in_production_before_it_was_compared(
    serve: Serve,
) -> None:
    service = serve()
    path = version(service, "v1", passed=True) / "manifest.json"
    post(service, "house/promote")
    asked = {"question": "Why?", "mode": "finetuned"}
    assert service.client.post("/api/ask", json=asked).json()["adapter"] == "house:v1"
    # As it is after engine.kind was changed: it passed where it was promoted, and not here.
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["parity"] = {"ollama": manifest["parity"]["embedded"]}
    path.write_text(json.dumps(manifest), encoding="utf-8")
    for stream in (False, True):
        response = service.client.post("/api/ask", json={**asked, "stream": stream})
        assert response.status_code == 409
        assert "not found to serve on embedded" in response.json()["error"]["message"]
        assert response.json()["error"]["hint"].endswith("parity house:v1 --engine embedded")


def test_versions_change_under_load_and_no_request_fails(tmp_path: Path) -> None:
    class Slow(ScriptedEngine):
        """Says which version answers, and takes its time."""

        async def stream(self, request: Request) -> AsyncIterator[Piece]:
            assert request.adapter is not None
            for word in request.adapter.name, "answers.":
                yield Piece(f"{word} ")
                await asyncio.sleep(0.01)
            yield Piece(usage=Usage(1, 2, "stop"))

    engine = Slow()
    workspace = small_workspace(tmp_path, engine)
    with running(create_app(workspace)) as (url, _):
        client = httpx.Client(base_url=url, timeout=120)
        service = Service(client, workspace, engine)  # type: ignore[arg-type]  # the same calls
        version(service, "v1", passed=True)
        post(service, "house/promote")
        version(service, "v2", passed=True)
        switching = threading.Event()
        ended = threading.Event()

        def asked(number: int) -> list[tuple[bool, dict[str, Any]]]:
            answers = []
            body = {"question": "Who?", "mode": "finetuned", "stream": bool(number % 2)}
            while not ended.is_set():
                began_after = switching.is_set()
                response = client.post("/api/ask", json=body)
                assert response.status_code == 200
                said = events_of(response.text)[-1] if number % 2 else ("done", response.json())
                assert said[0] == "done"
                answers.append((began_after, said[1]))
            return answers

        with ThreadPoolExecutor(8) as pool:
            crowd = [pool.submit(asked, number) for number in range(8)]
            assert post(service, "house/promote")["production"] == "v2"
            for production in ["v1", "v2"] * 4:
                assert post(service, "house/rollback")["production"] == production
            switching.set()  # whoever asks from now on is answered by v2
            mine = client.post("/api/ask", json={"question": "Who?", "mode": "finetuned"}).json()
            ended.set()
            answers = [answer for future in crowd for answer in future.result()]
            answers.append((True, mine))
        client.close()
    assert {answer["adapter"] for _, answer in answers} <= {"house:v1", "house:v2"}
    # Nobody is answered by another version than the one that the answer names.
    assert all(answer["answer"].startswith(answer["adapter"]) for _, answer in answers)
    assert {answer["adapter"] for after, answer in answers if after} == {"house:v2"}


def test_there_is_nothing_to_go_back_to_at_first(serve: Serve) -> None:
    service = serve()
    post(service, "house/rollback", 404)
    version(service, "v1", passed=True)
    assert "no previous version" in post(service, "house/rollback", 404)["error"]["message"]


def test_the_request_after_a_rollback_is_answered_by_the_former_version(serve: Serve) -> None:
    service = serve()
    asked = {"question": "Why?", "mode": "finetuned"}
    for name in ("v1", "v2"):
        version(service, name, passed=True)
        post(service, "house/promote")
        assert service.client.post("/api/ask", json=asked).json()["adapter"] == f"house:{name}"
    post(service, "house/rollback")
    assert service.client.post("/api/ask", json=asked).json()["adapter"] == "house:v1"
    served = service.engine.requests[-1].adapter
    assert served is not None
    assert served.name == "house:v1"
