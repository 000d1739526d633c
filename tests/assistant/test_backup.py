"""A workspace goes into a file while it is served, and comes out of it as it was."""

import io
import json
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from assistant.api.app import create_app
from assistant.backup import write_backup
from assistant.config import Settings
from assistant.keys import Keys
from assistant.remote import RemoteWorkspace
from assistant.restore import restore
from assistant.workspace import Workspace
from ingest.errors import ConflictError, UsageError
from ingest.files import Upload
from tests import chroma_server
from tests.assistant.api.conftest import PUMP, running, tuned
from tests.fakes import ScriptedEngine, small_workspace

ASK = {"question": "How firmly do I tighten the latch screws of the Sculpin 14?", "mode": "rag"}


def text(number: int) -> bytes:
    return f"# Part {number}\n\nThe part {number} is tightened to {number}.5 N.m.\n".encode()


def filled(home: Path, **sections: dict[str, object]) -> Workspace:
    """Return a workspace with documents in two collections, an adapter and a key."""
    workspace = small_workspace(home, ScriptedEngine("To 2.1 N.m."), **sections)
    for collection in ("default", "other"):
        uploads = [Upload(f"{n}.md", None, lambda n=n: text(n)) for n in range(5)]
        workspace.pipeline.run(uploads, collection=collection)
    tuned(workspace, "house:v1")
    Keys(workspace.registry.engine).create("anna", roles=["ask"], collections=None)
    return workspace


def state(workspace: Workspace) -> dict[str, Any]:
    """Return every document, and every passage with its vector."""
    registry, vectors = workspace.registry, workspace.index.vectors
    chunks = {
        chunk.id: (chunk, vectors.rows([chunk.id], collection=collection)[0].tobytes())
        for collection in registry.sizes()
        for page in registry.pages(collection, size=100)
        for chunk in page
    }
    keys = [key.name for key in Keys(registry.engine).list()]
    return {"documents": registry.documents(), "chunks": chunks, "keys": keys}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("packed")
    with filled(folder / "home") as workspace:
        write_backup(workspace, folder / "backup.tar.gz")
    return (folder / "backup.tar.gz").read_bytes()


@pytest.fixture
def archive(tmp_path: Path, packed: bytes) -> Path:
    path = tmp_path / "backup.tar.gz"
    path.write_bytes(packed)
    return path


def test_a_restored_workspace_equals_the_original_chunk_by_chunk(tmp_path: Path) -> None:
    path = tmp_path / "backup.tar.gz"
    with filled(tmp_path / "home") as workspace:
        before = state(workspace)
        packed = write_backup(workspace, path)
    assert packed.chunks == len(before["chunks"]) == 10
    assert path.stat().st_mode & 0o777 == 0o600
    home = tmp_path / "again"
    home.mkdir()
    result = restore(path, Settings(home=home), force=False)
    assert (result["documents"], result["vectors"]) == (10, 10)
    with small_workspace(home, ScriptedEngine("To 2.1 N.m.")) as workspace:
        assert state(workspace) == before
        found = workspace.retriever.search("part 3 tightened", k=1)
        assert "3.5" in found[0].chunk.text
        assert [adapter.reference for adapter in workspace.adapters.list()] == ["house:v1"]
    assert {path.name for path in home.iterdir()} == {"state.sqlite", "vectors", "adapters"}


def test_a_workspace_is_backed_up_while_it_is_asked_and_filled(tmp_path: Path) -> None:
    path = tmp_path / "backup.tar.gz"
    app = create_app(filled(tmp_path / "home"))
    with running(app) as (url, _), RemoteWorkspace(url) as remote, RemoteWorkspace(url) as other:
        done = threading.Event()
        coming: list[int] = []

        def fill() -> None:
            while not done.is_set():
                content = text(100 + len(coming))
                upload = Upload(f"{100 + len(coming)}.md", None, lambda content=content: content)
                coming.append(other.ingest([upload], "default")["added"])

        thread = threading.Thread(target=fill)
        thread.start()
        for _ in range(3):
            assert remote.ask(ASK)["answer"]
            remote.backup(path)
        while not coming and thread.is_alive():
            time.sleep(0.05)
        packed = remote.backup(path)
        done.set()
        thread.join()
        assert coming
        assert set(coming) == {1}
        kept = len(remote.documents()["documents"])
    assert 10 < packed["documents"] <= kept
    home = tmp_path / "again"
    home.mkdir()
    restore(path, Settings(home=home), force=False)
    with small_workspace(home, ScriptedEngine()) as workspace:
        restored = state(workspace)  # every passage has its vector
        assert len(restored["documents"]) == packed["documents"]
        uploads = {path.name for path in (home / "uploads").rglob("*.md")}
    came = {record.source for record in restored["documents"] if record.source.startswith("1")}
    assert came - {"1.md"} <= uploads
    assert not list((tmp_path / "home").glob(".backup*"))


def test_jobs_that_wait_go_into_the_backup_and_on_after_it(tmp_path: Path) -> None:
    from assistant.jobs import Jobs
    from assistant.uploads import Uploads

    path = tmp_path / "backup.tar.gz"
    with filled(tmp_path / "home") as workspace:
        jobs, uploads = Jobs(workspace.registry.engine), Uploads(workspace.home / "uploads")
        job = jobs.add("default", total=1)
        uploads.receive(io.BytesIO(PUMP), job.id, 0, max_bytes=1000)
        jobs.submit(job.id, ["sculpin.md"], [None])
        write_backup(workspace, path)
    home = tmp_path / "again"
    home.mkdir()
    restore(path, Settings(home=home), force=False)
    app = create_app(small_workspace(home, ScriptedEngine()))
    with running(app) as (url, _), RemoteWorkspace(url) as remote:
        httpx.get(f"{url}/api/jobs/{job.id}/events", timeout=120)
        sources = {document["source"] for document in remote.documents()["documents"]}
    assert "sculpin.md" in sources


def test_a_workspace_that_holds_something_is_replaced_only_by_force(
    tmp_path: Path, archive: Path
) -> None:
    home = tmp_path / "home"
    with small_workspace(home, ScriptedEngine()) as workspace:
        workspace.pipeline.run([Upload("mine.md", None, lambda: PUMP)], collection="default")
    with pytest.raises(ConflictError, match="holds something already") as caught:
        restore(archive, Settings(home=home), force=False)
    assert "--force" in caught.value.hint
    with small_workspace(home, ScriptedEngine()) as workspace:
        assert [record.source for record in workspace.registry.documents()] == ["mine.md"]
    restore(archive, Settings(home=home), force=True)
    with small_workspace(home, ScriptedEngine()) as workspace:
        assert len(state(workspace)["chunks"]) == 10


Change = Callable[[dict[str, bytes]], object]


def changed(archive: Path, change: Change) -> Path:
    """Return a copy of an archive in which `change` was made to its files, by name."""
    with tarfile.open(archive) as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]
    change(files)
    target = archive.with_name("changed.tar.gz")
    with tarfile.open(target, "w:gz") as tar:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            if name == "link":
                about.type, about.linkname, about.size = tarfile.SYMTYPE, "/etc/passwd", 0
            tar.addfile(about, io.BytesIO(content))
    return target


def newer(key: str) -> Change:
    def change(files: dict[str, bytes]) -> None:
        head = json.loads(files["backup.json"]) | {key: 99}
        files["backup.json"] = json.dumps(head).encode()

    return change


def first(name: str) -> Change:
    """Add a file before the checksums."""

    def change(files: dict[str, bytes]) -> None:
        sums = files.pop("checksums.json")
        files[name] = b"x"
        files["checksums.json"] = sums

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (newer("format"), "newer version"),
        (newer("schema"), "newer version"),
        (first("../outside"), "does not belong"),
        (first("/tmp/outside"), "does not belong"),
        (first("files/../../outside"), "does not belong"),
        (first("files/owner.json"), "does not belong"),
        (first("files/vectors/x"), "does not belong"),
        (first("link"), "does not belong"),
        (first("files/more"), "does not have its checksum"),
        (lambda files: files.pop("checksums.json"), "its end is missing"),
        (lambda files: files.pop("vectors/0.npy"), "does not have its checksum"),
        (lambda f: f.update({"vectors/0.npy": f["vectors/0.npy"][:-1] + b"?"}), "checksum"),
        (lambda files: files.pop("backup.json"), "is not a backup"),
        (lambda files: files.update({"backup.json": b"{}"}), "damaged"),
    ],
)
def test_an_archive_that_is_not_whole_replaces_nothing(
    tmp_path: Path, archive: Path, change: Change, message: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "state.sqlite").write_bytes(b"mine")
    with pytest.raises(UsageError, match=message):
        restore(changed(archive, change), Settings(home=home), force=True)
    assert [path.name for path in home.iterdir()] == ["state.sqlite"]
    assert (home / "state.sqlite").read_bytes() == b"mine"
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"\x1f\x8b\x08 torn"])
def test_a_file_that_is_no_archive_is_named(tmp_path: Path, content: bytes) -> None:
    path, home = tmp_path / "x.tar.gz", tmp_path / "home"
    home.mkdir()
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.tar\.gz is damaged"):
        restore(path, Settings(home=home), force=False)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        restore(tmp_path / "nothing", Settings(home=home), force=False)


def test_an_archive_that_was_cut_off_is_damaged(tmp_path: Path, archive: Path) -> None:
    whole = archive.read_bytes()
    home = tmp_path / "home"
    home.mkdir()
    for eighths in range(1, 8):
        archive.write_bytes(whole[: len(whole) * eighths // 8])
        with pytest.raises(UsageError, match="damaged"):
            restore(archive, Settings(home=home), force=False)
    assert not list(home.iterdir())


@pytest.mark.parametrize("at", ["moved aside", "moved in"])
def test_a_restore_that_was_killed_is_taken_back_by_the_next(
    tmp_path: Path, archive: Path, at: str
) -> None:
    home = tmp_path / "home"
    with small_workspace(home, ScriptedEngine()) as workspace:
        workspace.pipeline.run([Upload("mine.md", None, lambda: PUMP)], collection="default")
    old = home / ".replaced"
    old.mkdir()
    (home / "vectors").rename(old / "vectors")
    if at == "moved in":
        (home / "state.sqlite").rename(old / "state.sqlite")
        (old / "moved").touch()
        (home / "state.sqlite").write_bytes(b"half of the new one")
    with pytest.raises(ConflictError, match="holds something"):
        restore(archive, Settings(home=home), force=False)
    with small_workspace(home, ScriptedEngine()) as workspace:
        assert [record.source for record in workspace.registry.documents()] == ["mine.md"]
        assert len(state(workspace)["chunks"]) == 2


def test_vectors_on_a_server_come_along(tmp_path: Path) -> None:
    path = tmp_path / "backup.tar.gz"
    with chroma_server.started(tmp_path / "server") as url:
        store: dict[str, object] = {"vectors": f"chroma:{url}"}
        with filled(tmp_path / "home", store=store) as workspace:
            before = state(workspace)
            write_backup(workspace, path)
            workspace.index.delete(before["documents"][0].id)
        home = tmp_path / "again"
        home.mkdir()
        settings = Settings.model_validate({"home": home, "store": store})
        with pytest.raises(ConflictError, match="another workspace may use"):
            restore(path, settings, force=False)
        restore(path, settings, force=True)
        with small_workspace(home, ScriptedEngine(), store=store) as workspace:
            assert state(workspace) == before
    folder = tmp_path / "folder"
    folder.mkdir()
    restore(path, Settings(home=folder), force=False)
    with small_workspace(folder, ScriptedEngine()) as workspace:
        after = state(workspace)
    assert after["documents"] == before["documents"]
    for chunk_id, (chunk, row) in before["chunks"].items():
        found, vector = after["chunks"][chunk_id]
        assert found == chunk
        assert np.allclose(np.frombuffer(vector, np.float32), np.frombuffer(row, np.float32))


def test_postgresql_is_left_to_its_own_backup(tmp_path: Path, archive: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    store = {"state": "postgresql://127.0.0.1:9/x"}
    workspace = small_workspace(home, ScriptedEngine(), store=store)
    with pytest.raises(UsageError, match="its own backup") as caught:
        write_backup(workspace, tmp_path / "x")
    assert "pg_dump" in caught.value.hint
    with pytest.raises(UsageError, match="into SQLite") as caught:
        restore(archive, workspace.settings, force=False)
    assert "index copy" in caught.value.hint


def test_one_backup_at_a_time(tmp_path: Path) -> None:
    from filelock import FileLock

    with filled(tmp_path / "home") as workspace:
        lock = FileLock(workspace.home / "backup.lock")
        with lock, pytest.raises(ConflictError, match="being made already"):
            write_backup(workspace, tmp_path / "x")
        write_backup(workspace, tmp_path / "x")
