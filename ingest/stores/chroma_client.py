"""Chroma's client: for a folder, with the limits of a process that fit it, or for a server."""

import ctypes
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 60.0
"""Longest silence of a server."""
OPEN_FILES = 10_240
"""Chroma opens five files a graph. Where the process may open too few, it forgets graphs, and with
them vectors that it has not written yet. macOS allows no more."""
M_MMAP_THRESHOLD, LARGE = -3, 1 << 20
"""glibc (malloc.h) raises by itself the size from which memory is the system's again as soon as it
is freed; graphs that were let go then stay in pieces. 100,000 vectors: 239 MB instead of 163."""

M_PERTURB = -6
_ZEROED = threading.Lock()


def open_client(place: Path | str) -> Any:
    """Open a folder, which is made if need be, or the server at an `http://` address.

    A folder's client holds each graph that it was asked for until it is closed.
    """
    import chromadb
    from chromadb.api.shared_system_client import SharedSystemClient
    from chromadb.config import Settings

    settings = Settings(anonymized_telemetry=False)
    if isinstance(place, Path):
        place.mkdir(parents=True, exist_ok=True)
        _allow_open_files()
        try:
            return chromadb.PersistentClient(path=str(place), settings=settings)
        except Exception:
            # Chroma keeps what it failed to start, and would hand it out at the next opening.
            if str(place) not in SharedSystemClient._identifier_to_refcount:
                SharedSystemClient._identifier_to_system.pop(str(place), None)
            raise
    url = urlsplit(place)
    client = chromadb.HttpClient(
        host=url.hostname or "", port=url.port or 8000, ssl=url.scheme == "https", settings=settings
    )
    for session in _sessions(client):
        session.timeout = TIMEOUT_S  # it would wait for ever
    return client


def close_client(client: Any) -> None:
    """Let go of a folder with its graphs, or of the connections to a server."""
    client.close()
    if hasattr(client._server, "_session"):
        for session in _sessions(client):
            session.close()  # the client leaves them open


def map_large_blocks() -> None:
    """Let large blocks be the system's again as soon as they are freed; for whoever fills graphs.

    It costs others: PyTorch embeds a twentieth slower with it, OpenVINO does not.
    """
    _glibc("mallopt", M_MMAP_THRESHOLD, LARGE)


@contextmanager
def zeroed_memory() -> Iterator[None]:
    """Begin a graph in here, one at a time: what it gets of memory holds nothing.

    Chroma writes the room for the first 100 vectors to disk as it got it, that is, with what the
    process had there before, such as the words of documents that are deleted later on.
    """
    with _ZEROED:
        _glibc("mallopt", M_PERTURB, 0xFF)  # what is handed out is filled with the complement
        try:
            yield
        finally:
            _glibc("mallopt", M_PERTURB, 0)


def give_back_memory() -> None:
    """Give what was freed in smaller blocks back to the system."""
    _glibc("malloc_trim", 0)


def _sessions(client: Any) -> list[Any]:
    """Return the two connection pools of a server's client."""
    return [client._server._session, client._admin_client._server._session]


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _glibc(function: str, *arguments: int) -> None:
    if sys.platform.startswith("linux"):
        with suppress(AttributeError):  # another C library sees to its memory itself
            getattr(ctypes.CDLL(None), function)(*arguments)
