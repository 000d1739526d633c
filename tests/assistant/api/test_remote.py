from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from assistant.api.app import create_app
from assistant.remote import RemoteWorkspace
from ingest.errors import EngineUnavailableError, NotFoundError, TooLargeError, UsageError
from ingest.files import Upload, find_files
from tests.assistant.api.conftest import PUMP, listening
from tests.fakes import ScriptedEngine, small_workspace


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service on a real socket."""
    home = tmp_path_factory.mktemp("home")
    engine = ScriptedEngine("The latch screws are tightened to 2.1 N.m.")
    app = create_app(small_workspace(home, engine, limits={"upload_mb": 1, "question_chars": 200}))
    with listening(app) as address:
        yield address


@pytest.fixture
def remote(url: str) -> Iterator[RemoteWorkspace]:
    with RemoteWorkspace(url) as workspace:
        yield workspace


def test_a_folder_is_ingested_through_the_server_and_keeps_its_paths(
    remote: RemoteWorkspace, tmp_path: Path
) -> None:
    for folder in ("manuals", "lists"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "sculpin.md").write_bytes(PUMP)
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 broken")
    seen: list[tuple[int, int]] = []
    tally = remote.ingest(
        find_files([str(tmp_path)]), "attic", lambda done, total: seen.append((done, total))
    )
    assert (tally["added"], tally["chunks"]) == (2, 4)
    assert [failure["source"] for failure in tally["failed"]] == ["broken.pdf"]
    assert seen[-1] == (3, 3)
    assert seen == sorted(seen)
    documents = remote.documents("attic")["documents"]
    assert [(d["source"], d["status"], d["chunks"]) for d in documents] == [
        ("broken.pdf", "failed", 0),
        ("lists/sculpin.md", "done", 2),
        ("manuals/sculpin.md", "done", 2),
    ]
    assert documents[0]["error"] == tally["failed"][0]["error"]
    body = remote.ask({"question": "Latch screws?", "mode": "rag", "collection": "attic"})
    assert body["citations"][0]["source"].endswith("sculpin.md")
    [hit] = remote.search("hose hours", k=1, collection="attic")["hits"]
    assert "400 hours" in hit["text"]
    for document in documents:
        assert bool(remote.document(document["id"])["text"]) == (document["status"] == "done")
        assert remote.delete(document["id"]) == {"deleted": document["id"]}
    assert remote.documents("attic") == {"documents": []}


@pytest.fixture
def shelf(remote: RemoteWorkspace, tmp_path: Path) -> Path:
    """A folder of two files, ingested through the server into a collection of its own."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for name in ("cat", "dog"):
        (shelf / f"{name}.md").write_text(f"# {name}\n\nThe {name} sat.", encoding="utf-8")
    assert remote.ingest(find_files([str(shelf)]), shelf.parent.name)["added"] == 2
    return shelf


def listed(remote: RemoteWorkspace, shelf: Path) -> dict[str, str]:
    """Return the documents of a shelf: their ids by their sources."""
    documents = remote.documents(shelf.parent.name)["documents"]
    return {document["source"]: document["id"] for document in documents}


def test_a_file_that_has_moved_keeps_its_id_through_the_server(
    remote: RemoteWorkspace, shelf: Path
) -> None:
    before = listed(remote, shelf)
    (shelf / "new").mkdir()
    (shelf / "dog.md").rename(shelf / "new" / "dog.md")
    tally = remote.ingest(find_files([str(shelf)]), shelf.parent.name)
    assert (tally["moved"], tally["unchanged"], tally["added"]) == (1, 1, 0)
    assert listed(remote, shelf) == {"cat.md": before["cat.md"], "new/dog.md": before["dog.md"]}


def test_a_file_of_a_folder_is_the_same_document_when_it_is_named_alone(
    remote: RemoteWorkspace, tmp_path: Path
) -> None:
    path = tmp_path / "docs" / "manuals" / "a.md"
    path.parent.mkdir(parents=True)
    path.write_text("# A\n\nThe collar is tightened to 3 N·m.", encoding="utf-8")
    assert remote.ingest(find_files([str(path.parent.parent)]), "default")["added"] == 1
    assert remote.ingest(find_files([str(path)]), "default")["unchanged"] == 1
    path.write_text("# A\n\nThe collar is tightened to 4 N·m.", encoding="utf-8")
    assert remote.ingest(find_files([str(path)]), "default")["updated"] == 1
    assert [d["source"] for d in remote.documents("default")["documents"]] == ["manuals/a.md"]


def test_what_is_gone_from_a_folder_is_pruned_through_the_server(
    remote: RemoteWorkspace, shelf: Path, tmp_path: Path
) -> None:
    collection = shelf.parent.name
    sent = Upload("sent.md", None, lambda: PUMP)
    elsewhere = tmp_path / "elsewhere.md"
    elsewhere.write_text("# Elsewhere\n\nIt lies elsewhere.", encoding="utf-8")
    remote.ingest([sent, *find_files([str(elsewhere)])], collection)
    (shelf / "cat.md").unlink()
    elsewhere.unlink()
    assert remote.prune([shelf], collection) == 1
    assert set(listed(remote, shelf)) == {"dog.md", "elsewhere.md", "sent.md"}
    assert remote.prune([shelf], collection) == 0
    assert remote.prune([shelf / "dog.md"], collection) == 0
    hits = remote.search("cat", k=9, collection=collection)["hits"]
    assert "cat.md" not in {hit["source"] for hit in hits}


def test_files_of_one_name_in_two_folders_are_two_documents(
    remote: RemoteWorkspace, tmp_path: Path
) -> None:
    paths = [tmp_path / folder / "same.md" for folder in "ab"]
    for path in paths:
        path.parent.mkdir()
        path.write_text(f"# Same\n\nIt lies in {path.parent.name}.", encoding="utf-8")
    for added in (2, 0):
        tally = remote.ingest(find_files([str(path) for path in paths]), "twins")
        assert (tally["added"], tally["unchanged"]) == (added, 2 - added)
    assert len(remote.documents("twins")["documents"]) == 2


def test_a_folder_that_the_server_does_not_see_is_not_pruned(
    remote: RemoteWorkspace, shelf: Path
) -> None:
    """Its files would all seem to be gone; so it is where the two see different disks."""
    with pytest.raises(UsageError, match="finds no folder '/nowhere'"):
        remote._call("POST", "/api/documents/prune", json={"folders": ["/nowhere"]})
    with pytest.raises(UsageError, match="finds no folder 'shelf'"):
        remote._call("POST", "/api/documents/prune", json={"folders": ["shelf"]})


def test_a_file_over_the_servers_limit_fails_alone(remote: RemoteWorkspace) -> None:
    big = Upload("big.md", None, lambda: b"a" * 3_000_000)
    small = Upload("small.md", None, lambda: PUMP)
    tally = remote.ingest([small, big], "default")
    assert tally["added"] == 1
    assert tally["failed"] == [
        {"source": "big.md", "error": "The request is larger than 1 MB."},
    ]


def test_a_file_that_is_gone_is_listed_as_failed(remote: RemoteWorkspace, tmp_path: Path) -> None:
    gone = Upload("gone.md", None, (tmp_path / "gone.md").read_bytes)
    assert remote.ingest([gone], "default")["failed"] == [
        {"source": "gone.md", "error": "No such file or directory"}
    ]


def test_the_servers_errors_are_ours_again(remote: RemoteWorkspace) -> None:
    with pytest.raises(NotFoundError, match="There is no document 'nope'") as caught:
        remote.document("nope")
    assert caught.value.hint == "groundtune documents list"
    with pytest.raises(TooLargeError, match="the limit is 200"):
        remote.search("word " * 100)
    with pytest.raises(UsageError, match="there is no such field"):
        remote.ask({"question": "x", "colour": "red"})


def test_a_server_that_is_gone_is_named() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with (
        RemoteWorkspace("http://127.0.0.1:1", httpx.MockTransport(refuse)) as remote,
        pytest.raises(EngineUnavailableError, match="http://127.0.0.1:1 does not answer"),
    ):
        remote.documents()


def test_an_answer_that_is_not_ours_is_told_by_its_status() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(404, text="<html>"))
    with (
        RemoteWorkspace("http://127.0.0.1:1", transport) as remote,
        pytest.raises(UsageError, match="status 404"),
    ):
        remote.documents()
