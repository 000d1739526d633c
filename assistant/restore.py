"""Restore: a backup becomes a workspace again, in one moment or not at all."""

import shutil
from pathlib import Path
from typing import Any

from assistant.backup import FILES, STATE, VECTORS, fill, unpack
from assistant.config import Settings
from assistant.ownership import LOCK, NOTE
from assistant.stores import open_registry, open_vectors
from ingest.embedding_model import remembered
from ingest.errors import ConflictError, StoreError, UsageError

WORK = ".restore"
OLD = ".replaced"
MOVED, DONE = "moved", "done"
"""Marks in it: all that was there has been moved aside; all that is new is in its place."""
KEPT = {LOCK, NOTE, WORK, OLD, "intake.lock", "backup.lock"}
"""Of this process, not of the workspace that it replaces."""


def restore(archive: Path, settings: Settings, *, force: bool) -> dict[str, Any]:
    """Put what is in `archive` where the settings say, instead of what is there.

    Nothing is replaced before all of the archive was unpacked, checked and read back.

    Args:
        archive: what `backup` wrote.
        settings: say where the workspace is, and where its vectors go.
        force: replace a workspace that holds something.

    Raises:
        ConflictError: the workspace holds something, and `force` is off.
        UsageError: the archive is none, damaged or newer; the state is to be in PostgreSQL.
        StoreError: something cannot be written, or a store is down.
    """
    home = settings.home
    if settings.store.state != "sqlite":
        raise UsageError(
            "A backup is restored into SQLite.",
            hint="Restore with store.state = sqlite, then: groundtune index copy "
            "sqlite postgresql://...",
        )
    work, old = home / WORK, home / OLD
    _go_back(home, old)
    if not force and (found := _contents(home)):
        raise ConflictError(
            f"The workspace {home} holds something already ({found[0].name}).",
            hint="--force replaces it; GROUNDTUNE_HOME=FOLDER restores beside it.",
        )
    try:
        shutil.rmtree(work, ignore_errors=True)
        head = unpack(archive, work)
        vectors = _store(work, settings, force)
        _swap(home, work, old)
    except OSError as error:
        raise StoreError(f"The workspace {home} cannot be written: {error.strerror}.") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    return {
        "restored": str(home),
        "created": head["created"],
        "documents": head["documents"],
        "chunks": head["chunks"],
        "vectors": vectors,
    }


def _store(work: Path, settings: Settings, force: bool) -> int:
    """Put the unpacked vectors into their store; one that is a folder is made beside the rest."""
    registry = open_registry("sqlite", work)
    try:
        model = remembered(registry)
        packed = work / "packed"
        (work / VECTORS).rename(packed)
        if model is None:
            return 0
        spec = settings.store.vectors
        vectors = open_vectors(spec, work, index=registry.index_id, model=model.fingerprint)
        try:
            if vectors.collections() and not force:
                raise ConflictError(
                    f"{vectors.place} holds vectors of this index already, which another workspace "
                    "may use.",
                    hint="--force replaces them; store.vectors names another store.",
                )
            return fill(packed, registry, vectors)
        finally:
            vectors.close()
    finally:
        registry.close()


def _contents(home: Path) -> list[Path]:
    return sorted(path for path in home.iterdir() if path.name not in KEPT)


def _swap(home: Path, work: Path, old: Path) -> None:
    """Move the old workspace aside and the new one in; where that fails, the old one back."""
    old.mkdir()
    try:
        for path in _contents(home):
            path.rename(old / path.name)
        (old / MOVED).touch()
        for path in [work / STATE, *_folders(work)]:
            if path.exists():
                path.rename(home / path.name)
        (old / DONE).touch()
    except OSError:
        _go_back(home, old)
        raise


def _folders(work: Path) -> list[Path]:
    files = work / FILES
    packed = sorted(files.iterdir()) if files.is_dir() else []
    return [work / VECTORS, work / "qdrant", *packed]


def _go_back(home: Path, old: Path) -> None:
    """Bring back what a restore that did not end had moved aside."""
    if old.is_dir() and not (old / DONE).exists():
        if (old / MOVED).exists():  # then all that is here came with the restore
            for path in _contents(home):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            (old / MOVED).unlink()
        for path in sorted(old.iterdir()):
            path.rename(home / path.name)
    shutil.rmtree(old, ignore_errors=True)
