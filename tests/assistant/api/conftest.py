import json
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from assistant.api.app import create_app
from assistant.api.protocol import HurriedProtocol
from assistant.api.server import Server
from assistant.keys import Keys
from tests.fakes import ScriptedEngine, SmallWorkspace, small_workspace

WAIT_S = 120
URL = "http://127.0.0.1:8000"
PUMP = b"""# Sculpin 14

## Cover

The two latch screws of the Sculpin 14 cover are tightened to 2.1 N.m.

## Hose

The hose of the Sculpin 14 pump is replaced after 400 hours.
"""


class Service(NamedTuple):
    client: TestClient
    workspace: SmallWorkspace
    engine: ScriptedEngine

    def upload(self, name: str, content: bytes, **form: Any) -> dict[str, Any]:
        """Upload one file and return its job when it has ended."""
        response = self.client.post("/api/documents", files={"files": (name, content)}, data=form)
        assert response.status_code == 202, response.text
        return self.ended(response.json()["job_id"])

    def ended(self, job_id: str) -> dict[str, Any]:
        """Return a job once it has ended; its last event says so."""
        _, job = events_of(self.client.get(f"/api/jobs/{job_id}/events").text)[-1]
        assert job["status"] in ("done", "failed")
        return job

    def key(self, *roles: str, collections: Collection[str] | None = None) -> dict[str, str]:
        """Make a key; return the headers that show it."""
        keys = Keys(self.workspace.registry.engine)
        _, text = keys.create("someone", roles=roles, collections=collections)
        return {"Authorization": f"Bearer {text}"}

    def documents(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.get("/api/documents").json()["documents"]
        return found


Serve = Callable[..., Service]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(engine: ScriptedEngine | None = None, **sections: dict[str, object]) -> Service:
            engine = engine or ScriptedEngine("The latch screws are tightened to 2.1 N.m.")
            workspace = small_workspace(tmp_path / "home", engine, **sections)
            client = TestClient(create_app(workspace), base_url=URL, raise_server_exceptions=False)
            return Service(stack.enter_context(client), workspace, engine)

        yield start


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the events of a server-sent stream."""
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


@contextmanager
def running(
    app: FastAPI, protocol: type[HurriedProtocol] = HurriedProtocol, *, grace_s: float = 1
) -> Iterator[tuple[str, Server]]:
    """Serve an app on a real socket; yields its address and what can be told to end."""
    config = uvicorn.Config(app, http=protocol, log_level="error", timeout_graceful_shutdown=WAIT_S)
    ready = threading.Event()
    server = Server(config, ready.set, grace_s)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert ready.wait(WAIT_S)
            yield f"http://127.0.0.1:{port}", server
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def listening(app: FastAPI, protocol: type[HurriedProtocol] = HurriedProtocol) -> Iterator[str]:
    """Serve an app on a real socket; yields its address."""
    with running(app, protocol) as (url, _):
        yield url


def tuned(workspace: SmallWorkspace, reference: str) -> None:
    """Put an adapter that fits into the workspace."""
    folder = workspace.adapters.folder.joinpath(*reference.split(":"))
    folder.mkdir(parents=True)
    manifest = {
        "prompt_fingerprint": workspace.prompt_fingerprint,
        "base_sha256": workspace.base_sha256,
        "created": "2026-03-01T12:00:00+00:00",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
