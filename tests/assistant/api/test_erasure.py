"""A deletion is complete: not one file of the workspace holds a word of the document any more."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from assistant.local import LocalWorkspace
from ingest.files import Upload
from tests.assistant.api.conftest import PUMP, Serve, Service
from tests.fakes import ScriptedEngine, SmallWorkspace, small_workspace

SECRET = b"# Zyxwander\n\n## Valve\n\nThe quokkamarble valve is set to 7331 units.\n"
WORDS = [b"quokkamarbl", b"7331 units", b"zyxwand", b"Zyxwander", b"plan-nine.md"]
"""The full-text index keeps the stems of words, in small letters."""


def holding(home: Path) -> dict[str, list[bytes]]:
    """Return which files of the workspace hold which of the words, their names included.

    That is every byte of every file: rows and pages that SQLite has freed, its write-ahead log, the
    tables behind the full text, Chroma's files, uploads, and what waits to be read.
    """
    found = {}
    for path in home.rglob("*"):
        if path.is_file():
            content = path.read_bytes() + path.name.encode()
            if words := [word for word in WORDS if word in content]:
                found[str(path.relative_to(home))] = words
    return found


def used(service: Service) -> str:
    """Ask from the document, go on from the answer, rate both; return the document's id."""
    assert service.upload("plan-nine.md", SECRET)["status"] == "done"
    service.upload("sculpin.md", PUMP)
    ask = {"question": "To how many units is the quokkamarble valve set?", "mode": "rag"}
    first = service.client.post("/api/ask", json=ask).json()
    turn = {"question": ask["question"], "answer": first["answer"]}
    more = {"question": "And the hose?", "mode": "rag", "filters": {"source": "sculpin.md"}}
    then = service.client.post("/api/ask", json={**more, "history": [turn]}).json()
    assert {hit["source"] for hit in then["citations"]} <= {"sculpin.md"}
    for answer in (first, then):
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
    assert "state.sqlite-wal" in holding(home)
    with service.workspace.registry.engine.connect() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(PASSIVE)"))
    before = holding(home)
    assert set(before["state.sqlite"]) == set(WORDS)  # the stems stand in the full text alone
    assert "uploads/default/plan-nine.md" in before
    assert service.client.delete(f"/api/documents/{document}").is_success
    assert holding(home) == {}
    [other] = service.documents()
    chunks = service.client.get(f"/api/documents/{other['id']}").json()["chunk_list"]
    assert ids_of(service.workspace) == {chunk["id"] for chunk in chunks}


def test_free_pages_hold_nothing_of_what_was_deleted(serve: Serve) -> None:
    service = serve(ScriptedEngine("Fine."))
    long = SECRET * 2000  # more than the pages that later rows fill again
    assert service.upload("plan-nine.md", long)["status"] == "done"
    [document] = service.documents()
    assert service.client.delete(f"/api/documents/{document['id']}").is_success
    with service.workspace.registry.engine.connect() as connection:
        assert connection.execute(text("PRAGMA freelist_count")).scalar_one() > 50
    assert holding(service.workspace.home) == {}


def test_the_name_of_a_file_that_could_not_be_read_goes_with_it(serve: Serve) -> None:
    service = serve()
    job = service.upload("plan-nine.md", b"%PDF-1.7 nothing")
    assert job["status"] == "failed"
    [document] = service.documents()
    assert holding(service.workspace.home)
    assert service.client.delete(f"/api/documents/{document['id']}").is_success
    assert holding(service.workspace.home) == {}
    assert "deleted" in service.client.get(f"/api/jobs/{job['id']}").json()["error"]


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
    assert "7331 units" not in service.client.post(asked, json=body).text
