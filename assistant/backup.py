"""Backup: a whole workspace in one file, taken while it is served.

The state database is copied by SQLite's own online backup, the vectors are read out of their store,
whichever it is, for exactly the passages that the copy lists, and every other file is linked before
it is packed, so that whatever replaces it meanwhile leaves the backup alone. Checksums of all come
last: an archive that has them is whole.

    backup.json       what wrote it, and when
    state.sqlite
    vectors/N.json    collection and ids, in the order of the rows
    vectors/N.npy     float32, shape (len(ids), dimension)
    files/...         everything else: uploads, adapters, data sets, reports, calibrations
    checksums.json    path -> SHA-256
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout

from assistant import __version__
from assistant.intake import LOCK
from assistant.stores import state_path
from assistant.workspace import Workspace
from ingest.errors import ConflictError, StoreError, UsageError
from ingest.registry import Registry
from ingest.schema import VERSION
from ingest.stores.vectors import Vectors

FORMAT = 1
HEAD, SUMS, STATE, VECTORS, FILES = (
    "backup.json",
    "checksums.json",
    "state.sqlite",
    "vectors",
    "files",
)
WORK = ".backup"
"""Where a backup is put together, inside the workspace: links do not leave a file system."""
OTHERS = {
    *(VECTORS, "qdrant", "cache", "owner.json", WORK, ".restore", ".replaced"),
    *("limits.sqlite", "limits.sqlite-shm", "limits.sqlite-wal"),
}
"""What is not packed as it is: stores, which are read through their programs, and what is made
anew."""
PAGE = 512
PIECE = 1 << 20
ATTEMPTS = 5
JOB_S = 60.0
"""Longest wait for a job that is being worked on."""


class Packed(NamedTuple):
    """What a backup holds."""

    documents: int
    chunks: int
    files: int

    def body(self) -> dict[str, int]:
        """Return it as JSON."""
        return self._asdict()


def write_backup(workspace: Workspace, target: Path) -> Packed:
    """Write a workspace into the file `target`, while others read it and ask it.

    Documents that come wait meanwhile; one that is deleted makes the copy begin again.

    Raises:
        ConflictError: another backup is being made, or a job goes on for a minute.
        UsageError: the state is in PostgreSQL.
        StoreError: a store is down, or documents are deleted all the time.
    """
    if workspace.settings.store.state != "sqlite":
        raise UsageError(
            "The state of this workspace is in PostgreSQL, which has its own backup.",
            hint="pg_dump, and a copy of the workspace's folder while nothing is ingested.",
        )
    folder = workspace.home / WORK
    with _alone(workspace.home):
        shutil.rmtree(folder, ignore_errors=True)  # a killed one left it
        try:
            with _no_ingestion(workspace.home):
                packed = _snapshot(workspace, folder)
            _pack(folder, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return packed


def clear(home: Path) -> None:
    """Remove what backups that were killed left; before anybody else works on the workspace."""
    for path in home.glob(f"{WORK}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    try:
        with FileLock(home / "backup.lock", timeout=0):
            yield
    except Timeout:
        raise ConflictError("A backup is being made already.", hint="Wait for it.") from None


@contextlib.contextmanager
def _no_ingestion(home: Path) -> Iterator[None]:
    lock = FileLock(home / LOCK)
    try:
        lock.acquire(timeout=JOB_S)
    except Timeout:
        raise ConflictError(
            f"Documents have been coming in for {JOB_S:g} seconds.", hint="Try again after them."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _snapshot(workspace: Workspace, folder: Path) -> Packed:
    """Put what is to be packed into `folder`."""
    workspace.index  # noqa: B018  # its vectors are whole
    for attempt in range(ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        (folder / VECTORS).mkdir(parents=True)
        _copy_state(state_path(workspace.home), folder / STATE)
        registry = Registry(folder / STATE)
        try:
            documents, sizes = len(registry.documents()), registry.sizes()
            _copy_vectors(registry, workspace.vectors, folder / VECTORS)
            break
        except StoreError:
            # A document that was deleted after the copy of the state has no vectors any more.
            if attempt == ATTEMPTS - 1:
                raise
        finally:
            registry.close()
    for leftover in folder.glob(f"{STATE}-*"):
        leftover.unlink()
    files = _link_files(workspace.home, folder / FILES)
    head = {
        "format": FORMAT,
        "schema": VERSION,
        "groundtune": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "documents": documents,
        "chunks": sum(sizes.values()),
    }
    (folder / HEAD).write_text(json.dumps(head, indent=1), encoding="utf-8")
    return Packed(documents, sum(sizes.values()), files)


def _copy_state(source: Path, target: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(source, timeout=60)) as live,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # all of it in the one file


def _copy_vectors(registry: Registry, vectors: Vectors, folder: Path) -> None:
    for number, (collection, size) in enumerate(sorted(registry.sizes().items())):
        ids: list[str] = []
        rows: Any = None
        for chunks in registry.pages(collection, size=PAGE):
            page = [chunk.id for chunk in chunks]
            found = vectors.rows(page, collection=collection)
            if rows is None:
                path, shape = folder / f"{number}.npy", (size, found.shape[1])
                rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
            rows[len(ids) : len(ids) + len(page)] = found
            ids += page
        rows.flush()
        listed = {"collection": collection, "ids": ids}
        (folder / f"{number}.json").write_text(json.dumps(listed), encoding="utf-8")


def _link_files(home: Path, target: Path) -> int:
    """Link every other file of the workspace below `target`; return how many there are."""
    count = 0
    for top in sorted(home.iterdir()):
        made_anew = top.name in OTHERS or top.name.startswith((WORK, STATE))
        if made_anew or top.suffix == ".lock":
            continue
        for file in [top] if top.is_file() else sorted(top.rglob("*")):
            if file.is_symlink() or not file.is_file():
                continue
            place = target / file.relative_to(home)
            place.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # it was deleted in this moment
                _link(file, place)
                count += 1
    return count


def _link(file: Path, place: Path) -> None:
    try:
        os.link(file, place)
    except FileNotFoundError:
        raise
    except OSError:  # this file system has no links
        shutil.copyfile(file, place)


def _pack(folder: Path, target: Path) -> None:
    sums: dict[str, str] = {}
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with (
        os.fdopen(descriptor, "wb") as raw,
        tarfile.open(fileobj=raw, mode="w:gz", compresslevel=1) as tar,
    ):
        head, *others = [folder / HEAD, *sorted(p for p in folder.rglob("*") if p.is_file())]
        for file in [head, *(path for path in others if path != head)]:
            name = file.relative_to(folder).as_posix()
            with file.open("rb") as content:
                sums[name] = _add(tar, name, content, file.stat().st_size)
        told = json.dumps(sums, indent=1).encode()
        _add(tar, SUMS, io.BytesIO(told), len(told))


def _add(tar: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> str:
    about = tarfile.TarInfo(name)
    about.size = size
    hashing = _Hashing(content)
    tar.addfile(about, hashing)
    return hashing.digest()


class _Hashing(io.RawIOBase):
    """A file that takes a checksum of what is read from it."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        piece = self._content.read(size)
        self._hash.update(piece)
        return piece

    def digest(self) -> str:
        """Return the checksum of what was read."""
        return self._hash.hexdigest()


def unpack(archive: Path, folder: Path) -> dict[str, Any]:
    """Unpack an archive into `folder`, check it, and return its `backup.json`.

    Raises:
        UsageError: no such file, no backup, one of a newer version, or damaged; says which.
    """
    try:
        with tarfile.open(archive, mode="r:gz") as tar:
            head: dict[str, Any] = {}
            sums: dict[str, str] = {}
            for member in tar:
                name = _checked_name(member, archive)
                found = tar.extractfile(member)
                if found is None:
                    raise _damaged(archive, f"{name} is no file")
                if not head:
                    head = _head(name, found, archive)
                elif name == SUMS:
                    break
                else:
                    sums[name] = _extract(found, folder / name)
            else:
                raise _damaged(archive, "its end is missing")
            listed: dict[str, str] = json.load(found)
    except OSError as error:
        if error.strerror is None:  # gzip's own
            raise _damaged(archive, str(error)) from None
        if error.filename and Path(error.filename) != archive:
            raise StoreError(f"{error.filename} cannot be written: {error.strerror}.") from None
        raise UsageError(f"{archive} cannot be read: {error.strerror}.") from None
    except (tarfile.TarError, EOFError, ValueError, KeyError, TypeError) as error:
        raise _damaged(archive, str(error)) from None
    listed.pop(HEAD, None)
    if wrong := sorted(name for name in listed.keys() | sums if listed.get(name) != sums.get(name)):
        raise _damaged(archive, f"{wrong[0]} does not have its checksum")
    return head


def _head(name: str, found: IO[bytes], archive: Path) -> dict[str, Any]:
    if name != HEAD:
        raise UsageError(f"{archive} is not a backup.", hint="groundtune backup FILE makes one.")
    head: dict[str, Any] = json.load(found)
    if head["format"] > FORMAT or head["schema"] > VERSION:
        raise UsageError(
            f"{archive} was written by a newer version (groundtune {head['groundtune']}).",
            hint="Upgrade: pip install --upgrade groundtune",
        )
    return head


def _checked_name(member: tarfile.TarInfo, archive: Path) -> str:
    """Return where a member goes, if it stays inside."""
    path = PurePosixPath(member.name)
    inside = not path.is_absolute() and ".." not in path.parts and "\\" not in member.name
    known = path.parts[:1] and path.parts[0] in (HEAD, SUMS, STATE, VECTORS, FILES)
    kept = path.parts[:1] != (FILES,) or (len(path.parts) > 1 and path.parts[1] not in OTHERS)
    if not (member.isreg() and inside and known and kept):
        raise _damaged(archive, f"{member.name!r} does not belong into a backup")
    return path.as_posix()


def _extract(found: IO[bytes], place: Path) -> str:
    place.parent.mkdir(parents=True, exist_ok=True)
    hashing = _Hashing(found)
    with place.open("wb") as target:
        while piece := hashing.read(PIECE):
            target.write(piece)
    return hashing.digest()


def _damaged(archive: Path, why: str) -> UsageError:
    return UsageError(f"{archive} is damaged: {why}.", hint="Take another backup.")


def fill(folder: Path, registry: Registry, vectors: Vectors) -> int:
    """Store the vectors that were unpacked into `folder`; return how many.

    Raises:
        StoreError: the store failed, or an archive's passages and vectors do not fit together.
    """
    stored = 0
    for path in sorted(folder.glob("*.json")):
        listed: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rows = np.load(path.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
        collection, places = listed["collection"], {c: n for n, c in enumerate(listed["ids"])}
        stray = vectors.ids(collection)
        for chunks in registry.pages(collection, size=PAGE):
            missing = [chunk for chunk in chunks if chunk.id not in stray]
            stray.difference_update(chunk.id for chunk in chunks)
            if missing:
                vectors.add(missing, np.asarray(rows[[places[c.id] for c in missing]]))
        vectors.remove(sorted(stray), collection=collection)
        stored += vectors.count(collection)
    if stored != sum(registry.sizes().values()):
        raise StoreError(
            f"{vectors.place} holds {stored} vectors of {sum(registry.sizes().values())} passages."
        )
    return stored
