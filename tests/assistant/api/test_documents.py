from pathlib import Path

import pytest

from tests.assistant.api.conftest import PUMP, Serve, events_of


def test_an_upload_can_be_asked_about_when_its_job_is_done(serve: Serve) -> None:
    service = serve()
    response = service.client.post("/api/documents", files={"files": ("sculpin.md", PUMP)})
    assert response.status_code == 202
    accepted = response.json()
    job = service.ended(accepted["job_id"])
    assert (job["status"], job["result"]["added"], job["result"]["failed"]) == ("done", 1, [])
    assert job["progress"] == {"done": 1, "total": 1, "current": None}
    [document] = service.documents()
    assert document["id"] == accepted["documents"][0]["id"]
    assert document["chunks"] == 2
    full = service.client.get(f"/api/documents/{document['id']}").json()
    assert "400 hours" in full["text"]
    assert len(full["chunk_list"]) == 2
    ask = {"question": "When is the hose of the Sculpin 14 pump replaced?", "mode": "rag"}
    assert service.client.post("/api/ask", json=ask).status_code == 200
    assert "400 hours" in service.engine.requests[-1].messages[-1].content


def test_a_job_can_be_followed_to_its_end(serve: Serve) -> None:
    service = serve()
    job_id = service.upload("sculpin.md", PUMP)["id"]
    events = events_of(service.client.get(f"/api/jobs/{job_id}/events").text)
    assert events[-1][0] == "done"
    assert events[-1][1] == service.client.get(f"/api/jobs/{job_id}").json()


def test_uploading_again_replaces_the_document(serve: Serve) -> None:
    service = serve()
    service.upload("sculpin.md", PUMP)
    assert service.upload("sculpin.md", PUMP)["result"]["unchanged"] == 1
    assert service.upload("sculpin.md", PUMP + b"\nNew.\n")["result"]["updated"] == 1
    [document] = service.documents()
    kept = service.workspace.home / "uploads" / "default" / "sculpin.md"
    assert kept.read_bytes().endswith(b"New.\n")
    assert document["source"] == "sculpin.md"


def test_a_deleted_document_leaves_nothing_behind(serve: Serve) -> None:
    service = serve()
    service.upload("sculpin.md", PUMP)
    uploads = service.workspace.home / "uploads"
    assert (uploads / "default" / "sculpin.md").exists()
    [document] = service.documents()
    path = f"/api/documents/{document['id']}"
    assert service.client.delete(path).json() == {"deleted": document["id"]}
    assert service.client.get(path).status_code == 404
    assert service.client.delete(path).status_code == 404
    assert service.documents() == []
    assert service.workspace.index.vectors.ids() == set()
    assert [p for p in uploads.rglob("*") if p.is_file()] == []


def test_one_unreadable_file_does_not_hold_up_the_others(serve: Serve) -> None:
    service = serve()
    files = [("files", ("a.md", PUMP)), ("files", ("b.pdf", b"%PDF-1.4 broken"))]
    job = service.ended(service.client.post("/api/documents", files=files).json()["job_id"])
    assert job["status"] == "done"
    assert job["result"]["added"] == 1
    assert [failure["source"] for failure in job["result"]["failed"]] == ["b.pdf"]
    assert not (service.workspace.home / "uploads" / "default" / "b.pdf").exists()


def test_a_job_of_which_nothing_could_be_read_has_failed(serve: Serve) -> None:
    job = serve().upload("b.md", b"\xff\xfe\x00binary")
    assert job["status"] == "failed"
    assert job["error"].startswith("b.md: ")


@pytest.mark.parametrize(
    ("sent", "source"),
    [
        ("../../../evil.md", "evil.md"),
        ("/etc/evil.md", "evil.md"),
        (r"C:\fakepath\evil.md", "evil.md"),
        ("..\\..\\evil.md", "evil.md"),
    ],
)
def test_a_file_name_cannot_leave_the_uploads(
    serve: Serve, tmp_path: Path, sent: str, source: str
) -> None:
    service = serve()
    service.upload(sent, PUMP)
    assert [document["source"] for document in service.documents()] == [source]
    assert (service.workspace.home / "uploads" / "default" / source).exists()
    assert list(tmp_path.glob("*.md")) == []


@pytest.mark.parametrize("name", ["..", "a/..", "a\x01b.md", "   "])
def test_a_name_that_cannot_be_a_file_is_refused(serve: Serve, name: str) -> None:
    response = serve().client.post(
        "/api/documents", files={"files": ("a.md", PUMP)}, data={"source": name}
    )
    assert response.status_code == 400
    assert "cannot name a document" in response.json()["error"]["message"]


@pytest.mark.parametrize("collection", ["..", "../x", ".incoming", "a/b", ""])
def test_a_collection_cannot_leave_the_uploads(serve: Serve, collection: str) -> None:
    response = serve().client.post(
        "/api/documents", files={"files": ("a.md", PUMP)}, data={"collection": collection}
    )
    assert response.status_code == 400
    assert "cannot name a collection" in response.json()["error"]["message"]


def test_a_program_may_give_relative_paths(serve: Serve) -> None:
    service = serve()
    service.upload("a.md", PUMP, source="manuals/a.md", collection="attic")
    [document] = service.documents()
    assert (document["source"], document["collection"]) == ("manuals/a.md", "attic")
    assert service.client.get("/api/documents?collection=default").json() == {"documents": []}


def test_only_an_admin_says_where_a_file_lies(serve: Serve, tmp_path: Path) -> None:
    """What becomes of it would tell anybody else which paths are there."""
    service = serve()
    path = tmp_path / "pump.md"
    path.write_bytes(PUMP)
    form = {"source": "a.md", "path": str(path)}
    files = {"files": ("a.md", PUMP)}
    refused = service.client.post(
        "/api/documents", files=files, data=form, headers=service.key("ingest")
    )
    assert (refused.status_code, service.documents()) == (403, [])
    assert service.upload("a.md", PUMP, **form)["result"]["added"] == 1
    assert not (service.workspace.home / "uploads" / "default" / "a.md").exists()
    [record] = service.workspace.registry.documents()
    assert record.path == path


def test_a_path_that_is_not_on_this_machine_makes_an_upload_of_it(serve: Serve) -> None:
    service = serve()
    service.upload("a.md", PUMP, source="a.md", path="/nowhere/a.md")
    [record] = service.workspace.registry.documents()
    assert record.path is None
    assert (service.workspace.home / "uploads" / "default" / "a.md").exists()
    response = service.client.post(
        "/api/documents", files={"files": ("a.md", PUMP)}, data={"path": ["/a.md", "/b.md"]}
    )
    assert response.status_code == 400
    assert "1 files and 2 paths" in response.json()["error"]["message"]


def test_an_uploaded_document_is_told_where_its_file_lies(serve: Serve, tmp_path: Path) -> None:
    service = serve()
    service.upload("a.md", PUMP)
    path = tmp_path / "a.md"
    path.write_bytes(PUMP)
    job = service.upload("a.md", PUMP, source="a.md", path=str(path))
    assert job["result"]["unchanged"] == 1
    [record] = service.workspace.registry.documents()
    assert record.path == path


def test_an_upload_over_the_limit_is_refused_and_not_kept(serve: Serve) -> None:
    service = serve(limits={"upload_mb": 1})
    for content in (b"a" * 3_000_000, b"a" * 1_050_000):
        response = service.client.post("/api/documents", files={"files": ("a.md", content)})
        assert response.status_code == 413
        assert "larger than 1 MB" in response.json()["error"]["message"]
    assert service.documents() == []
    uploads = service.workspace.home / "uploads"
    assert [p for p in uploads.rglob("*") if p.is_file()] == []


def test_an_upload_that_hides_its_length_is_cut_off_at_the_limit(serve: Serve) -> None:
    service = serve(limits={"upload_mb": 1})
    headers = {"content-type": "multipart/form-data; boundary=x"}
    head = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.md"\r\n\r\n'
    pieces = (piece for piece in [head, *[b"a" * 100_000] * 30, b"\r\n--x--\r\n"])
    response = service.client.post("/api/documents", content=pieces, headers=headers)
    assert response.status_code == 413


def test_an_upload_without_a_file_says_how_to_send_one(serve: Serve) -> None:
    response = serve().client.post("/api/documents", data={"collection": "default"})
    assert response.status_code == 400
    assert "-F files=@" in response.json()["error"]["hint"]


def test_two_files_of_one_name_are_refused(serve: Serve) -> None:
    files = [("files", ("a.md", PUMP)), ("files", ("b/a.md", PUMP))]
    response = serve().client.post("/api/documents", files=files)
    assert response.status_code == 400
    assert "Two files are called 'a.md'" in response.json()["error"]["message"]


def test_a_job_that_a_dead_process_left_is_shown_as_interrupted(serve: Serve) -> None:
    from assistant.jobs import Jobs
    from ingest.registry import Registry

    service = serve()  # only to learn where its home is
    registry = Registry(service.workspace.home / "state.sqlite")
    jobs = Jobs(registry.engine, now=lambda: 1.0)
    job = jobs.add("default", total=2)
    jobs.progress(job.id, done=1, current="b.md")
    registry.close()
    again = serve()
    body = again.client.get(f"/api/jobs/{job.id}").json()
    assert (body["status"], body["error"]) == ("failed", "interrupted")
    assert body["progress"]["done"] == 1


def test_an_unknown_job_is_a_404(serve: Serve) -> None:
    client = serve().client
    assert client.get("/api/jobs/nope").status_code == 404
    assert client.get("/api/jobs/nope/events").status_code == 404
