"""Which files there are to ingest, and their bytes."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import NamedTuple

from ingest.errors import DocumentError, NotFoundError
from ingest.path import is_printable, printable
from ingest.suffixes import SUFFIXES

ATTEMPTS = 3  # a file that somebody is writing is usually whole a moment later


class Upload(NamedTuple):
    """A file to ingest."""

    source: str
    """What citations call it: the path relative to the ingested folder."""
    path: Path | None
    """Where it lies; None if it came in another way."""
    content: Callable[[], bytes]
    """Reads it, when its turn has come."""


def find_files(
    arguments: Sequence[str], *, on_other: Callable[[Path], None] = lambda path: None
) -> list[Upload]:
    """Return the files that `arguments` name: files, folders (searched through) and globs.

    A file inside a folder argument is called by its path from that folder, any other by its name.
    A folder that may not be searched is among them, and fails as a file does. `on_other` gets what
    a folder holds and is not searched for: files with other suffixes, and links to folders.

    Raises:
        NotFoundError: an argument names nothing.
    """
    found: dict[Path, Upload] = {}
    for argument in arguments:
        uploads = list(_expand(argument, on_other))
        if not uploads and not Path(argument).is_dir():
            raise NotFoundError(f"There is no file or folder {argument!r}.")
        for upload in uploads:
            if upload.path is not None:
                found.setdefault(upload.path, upload)
    return list(found.values())


def read_file(path: Path) -> bytes:
    """Return a file's bytes as they were at one moment.

    Raises:
        DocumentError: its name is not text, it is no regular file, or keeps changing while it is
            read.
        OSError: it is gone, or may not be read.
    """
    if not is_printable(path):
        raise DocumentError("The file's name is not UTF-8. Rename it.")
    for _ in range(ATTEMPTS):
        before = path.stat()
        if not stat.S_ISREG(before.st_mode):  # to open a pipe would be to wait for its other end
            raise DocumentError("It is not a regular file.")
        with path.open("rb") as file:
            content = file.read()
            after = os.fstat(file.fileno())
        if (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns):
            return content
    raise DocumentError("The file changed while it was read.", hint="Ingest it again.")


def _expand(argument: str, on_other: Callable[[Path], None]) -> Iterator[Upload]:
    root = Path(argument)
    try:
        there = root.exists()
    except OSError as error:  # the folder that it lies in may not be searched
        yield Upload(printable(root.name), root.absolute(), partial(_raise, error))
        return
    if root.is_dir():
        yield from _searched(root, on_other)
    elif there:
        yield _upload(root, root.name)
    elif any(mark in argument for mark in "*?["):
        base = Path(root.anchor) if root.is_absolute() else Path()
        pattern = PurePath(argument).relative_to(root.anchor) if root.is_absolute() else root
        for path in sorted(base.glob(str(pattern))):
            if path.is_file():
                yield _upload(path, path.name)


def _searched(root: Path, on_other: Callable[[Path], None]) -> Iterator[Upload]:
    root = root.absolute()
    closed: list[OSError] = []
    for place, folders, names in os.walk(root, onerror=closed.append):
        folder = Path(place)
        inside = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if (folder / name).is_symlink():  # not followed, so it ends
                on_other(folder / name)
        for name in sorted(name for name in names if not name.startswith(".")):
            if os.path.splitext(name)[1].lower() in SUFFIXES:
                yield _upload(folder / name, inside + name)
            else:
                on_other(folder / name)
    for error in closed:
        path = Path(error.filename)
        source = root.name if path == root else path.relative_to(root).as_posix()
        yield Upload(printable(source), path, partial(_raise, error))


def _raise(error: OSError) -> bytes:
    raise error


def _upload(path: Path, source: str) -> Upload:
    absolute = path.absolute()
    return Upload(printable(source), absolute, lambda: read_file(absolute))
