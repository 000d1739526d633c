"""A deletion is complete: not one file of the workspace holds a word of the document any more."""

from pathlib import Path
from typing import Any

import pytest

from assistant.local import LocalWorkspace
from ingest.files import Upload
from tests.assistant.api.conftest import PUMP, Serve, Service
from tests.fakes import ScriptedEngine, SmallWorkspace, small_workspace

SECRET = b"# Zyxwander\n\n## Valve\n\nThe quokkamarble valve is set to 7331 units.\n"
WORDS = [b"quokkamarbl", b"7331", b"zyxwand", b"Zyxwander", b"plan-nine.md"]
"""The full-text index keeps the stems of words, in small letters."""


def holding(home: Path) -> dict[str, list[bytes]]:
    """Return which files of the workspace hold which of the words, their names included."""
    found = {}
    for path in home.rglob("*"):
        if path.is_file():
            content = path.read_bytes() + path.name.encode()
            if words := [word for word in WORDS if word in content]:
                found[str(path.relative_to(home))] = words
    return found


def used(service: Service) -> str:
    """Ask from the document, rate the answer, and return the document's id."""
    assert service.upload("plan-nine.md", SECRET)["status"] == "done"
    service.upload("sculpin.md", PUMP)
    ask = {"question": "To how many units is the quokkamarble valve set?", "mode": "rag"}
    answer = service.client.post("/api/ask", json=ask).json()
    said = {"request_id": answer["request_id"], "rating": "up", "comment": "7331 is right"}
    assert service.client.post("/api/feedback", json=said).is_success
    [found] = [d["id"] for d in service.documents() if d["source"] == "plan-nine.md"]
    return str(found)


def ids_of(workspace: SmallWorkspace) -> set[str]:
    found: set[str] = workspace.index.vectors.ids()
    return found


def test_a_document_deleted_over_http_is_gone_from_every_file(serve: Serve) -> None:
    service = serve(ScriptedEngine("The quokkamarble valve is set to 7331 units."))
    document = used(service)
    home = service.workspace.home
    before = holding(home)
    assert any(name.startswith("state.sqlite") for name in before)
    assert any(name.startswith("uploads") for name in before)
    assert service.client.delete(f"/api/documents/{document}").is_success
    assert holding(home) == {}
    [other] = service.documents()
    chunks = service.client.get(f"/api/documents/{other['id']}").json()["chunk_list"]
    assert ids_of(service.workspace) == {chunk["id"] for chunk in chunks}


def test_a_document_deleted_by_the_command_is_gone_from_every_file(tmp_path: Path) -> None:
    workspace = small_workspace(tmp_path, ScriptedEngine())
    with workspace:
        local = LocalWorkspace(workspace)
        local.ingest([Upload("plan-nine.md", None, lambda: SECRET)], "default")
        [document] = local.documents()["documents"]
        assert holding(tmp_path)
        local.delete(document["id"])
        assert holding(tmp_path) == {}


@pytest.mark.parametrize("asked", ["/api/search", "/api/ask"])
def test_what_is_deleted_is_found_by_nobody(serve: Serve, asked: str) -> None:
    service = serve(ScriptedEngine("Fine."))
    document = used(service)
    service.client.delete(f"/api/documents/{document}")
    body: dict[str, Any] = {"/api/search": {"query": "quokkamarble valve"}}.get(
        asked, {"question": "quokkamarble valve?", "mode": "rag", "stream": True}
    )
    assert "7331" not in service.client.post(asked, json=body).text
