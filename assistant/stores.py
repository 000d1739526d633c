"""Which class stands behind `store.vectors` and `store.state`."""

from pathlib import Path

from ingest.registry import Registry
from ingest.stores.apart import ApartVectors, wait_for_last_write
from ingest.stores.chroma import ChromaVectors
from ingest.stores.qdrant import QdrantVectors
from ingest.stores.vectors import Vectors


def state_path(home: Path) -> Path:
    """Return where a workspace keeps its SQLite file."""
    return home / "state.sqlite"


def open_registry(spec: str, home: Path) -> Registry:
    """Open the registry that `spec` names, as the configuration writes it.

    Raises:
        StoreError: it is down, cannot be written, or was written by a newer version.
        MissingExtraError: a package is not installed.
    """
    return Registry(state_path(home) if spec == "sqlite" else spec)


def open_vectors(spec: str, home: Path, *, index: str, model: str, apart: bool = False) -> Vectors:
    """Open the vector store that `spec` names, as the configuration writes it.

    Args:
        spec: the store.
        home: the workspace, for a store that is a folder.
        index: tells the index from others in the same store.
        model: the fingerprint of the model that makes the vectors.
        apart: whether a Chroma folder is kept by a process of its own, so that this one goes on
            while it is written to.

    Raises:
        StoreError: it is down or cannot be written.
        MissingExtraError: a package is not installed.
    """
    kind, _, url = spec.rstrip("/").partition(":")
    if kind == "chroma" and not url:
        folder = home / "vectors"
        if apart:
            return ApartVectors(folder, index=index, model=model)
        wait_for_last_write(folder)
        return ChromaVectors(folder, index=index, model=model)
    if kind == "chroma":
        return ChromaVectors(url, index=index, model=model)
    return QdrantVectors(url or home / "qdrant", index=index, model=model)
