import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fastapi.testclient import TestClient

from assistant.api.app import create_app
from tests.fakes import ScriptedEngine, SmallWorkspace, small_workspace

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
        for _ in range(500):
            job: dict[str, Any] = self.client.get(f"/api/jobs/{job_id}").json()
            if job["status"] in ("done", "failed"):
                return job
            time.sleep(0.01)
        raise AssertionError("the job does not end")

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
