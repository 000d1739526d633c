"""Uploaded files: their names made safe, their bytes kept for as long as their document lives."""

import contextlib
import re
import shutil
import unicodedata
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ingest.errors import TooLargeError, UsageError

COLLECTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_BYTES = 255  # what common file systems allow
PIECE_BYTES = 1 << 20


def check_collection_name(name: str) -> str:
    """Return `name` if it can name a collection, which is a folder of uploads too.

    Raises:
        UsageError: it cannot.
    """
    if not COLLECTION.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a collection.",
            hint="Use up to 64 letters, digits, '.', '_', '-', beginning with a letter or digit.",
        )
    return name


def base_name(name: str) -> str:
    r"""Return the last part of a file name as a browser sends it: `C:\\x\\a.md` -> `a.md`.

    Raises:
        UsageError: nothing is left of it.
    """
    return _safe_part(name.replace("\\", "/").rsplit("/", 1)[-1], name)


def relative_source(source: str) -> str:
    """Return a path like `manuals/pump.md` if it stays inside the folder it is relative to.

    Raises:
        UsageError: it is absolute, climbs up, or holds a part that is not a name.
    """
    if source.startswith("/") or "\\" in source:
        raise UsageError(f"{source!r} is not a relative path.", hint="Send one like manuals/a.md.")
    return "/".join(_safe_part(part, source) for part in source.split("/"))


def _safe_part(part: str, whole: str) -> str:
    part = unicodedata.normalize("NFC", part).strip()
    control = any(unicodedata.category(c).startswith("C") for c in part)
    if part in ("", ".", "..") or control or len(part.encode()) > NAME_BYTES:
        raise UsageError(f"{whole!r} cannot name a document.", hint="Rename the file.")
    return part


class Uploads:
    """The folder that holds the bytes of uploaded documents: `<collection>/<source>`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._incoming = folder / ".incoming"  # no collection begins with a dot

    def waiting(self, job: str, number: int) -> Path:
        """Return where a file of a job waits for its turn."""
        return self._incoming / job / str(number)

    def receive(self, file: BinaryIO, job: str, number: int, *, max_bytes: int) -> Path:
        """Copy an upload to where it waits for its turn.

        Raises:
            TooLargeError: it has more than `max_bytes`.
        """
        target = self.waiting(job, number)
        target.parent.mkdir(parents=True, exist_ok=True)
        size = 0
        with target.open("wb") as sink:
            while piece := file.read(PIECE_BYTES):
                size += len(piece)
                if size > max_bytes:
                    raise TooLargeError(
                        f"The file is larger than {max_bytes / 1_000_000:g} MB.",
                        hint="Split it, or raise limits.upload_mb.",
                    )
                sink.write(piece)
        return target

    def keep(self, waiting: Path, collection: str, source: str) -> None:
        """Move a file that was ingested to its place, over an earlier version of it.

        One that no longer waits was moved before a process died.
        """
        target = self._place(collection, source)
        if target is None or (target.exists() and not waiting.exists()):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        waiting.replace(target)

    def remove(self, collection: str, source: str) -> None:
        """Remove the bytes of a document; one that was not uploaded has none."""
        target = self._place(collection, source)
        if target is None:
            return
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            target.unlink()
        for folder in target.parents:
            if folder == self.folder or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()

    def forget(self, job: str) -> None:
        """Remove what is left waiting for a job."""
        shutil.rmtree(self._incoming / job, ignore_errors=True)

    def forget_others(self, jobs: Collection[str]) -> None:
        """Remove what waits for other jobs than these."""
        for folder in self._incoming.iterdir() if self._incoming.is_dir() else ():
            if folder.name not in jobs:
                shutil.rmtree(folder, ignore_errors=True)

    def content(self, job: str, number: int, collection: str, source: str) -> bytes:
        """Return the bytes of a file of a job, whether it was moved to its place already or not.

        Raises:
            OSError: they are gone.
        """
        with contextlib.suppress(FileNotFoundError):
            return self.waiting(job, number).read_bytes()
        place = self._place(collection, source)
        return b"" if place is None else place.read_bytes()

    def _place(self, collection: str, source: str) -> Path | None:
        """Return where a document's bytes lie; None for one that cannot have been uploaded."""
        parts = PurePosixPath(source).parts
        if not COLLECTION.fullmatch(collection) or ".." in parts or source.startswith("/"):
            return None
        return self.folder / collection / Path(*parts)
