"""Ingestion: which files there are, which of them changed, and what became of each."""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal, NamedTuple

from ingest.chunk import Chunker
from ingest.errors import DocumentError, NotFoundError
from ingest.index import Index
from ingest.read import SUFFIXES, read_document

Outcome = Literal["added", "updated", "unchanged"]


class Upload(NamedTuple):
    """A file to ingest."""

    source: str
    """What citations call it: the path relative to the ingested folder."""
    path: Path | None
    """Where it lies; None if it came in another way."""
    content: Callable[[], bytes]
    """Reads it, when its turn has come."""


class Failure(NamedTuple):
    """A file that could not be ingested."""

    source: str
    error: str


@dataclass(slots=True)
class Tally:
    """What an ingestion did."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    failed: list[Failure] = field(default_factory=list)
    chunks: int = 0
    """Of the documents that were added or updated."""
    seconds: float = 0.0

    def body(self) -> dict[str, object]:
        """Return what `groundtune ingest --json` prints."""
        return {
            "added": self.added,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "deleted": self.deleted,
            "failed": [{"source": f.source, "error": f.error} for f in self.failed],
            "chunks": self.chunks,
            "seconds": round(self.seconds, 2),
        }


def find_files(arguments: Sequence[str]) -> list[Upload]:
    """Return the files that `arguments` name: files, folders (searched through) and globs.

    A file inside a folder argument is called by its path from that folder, any other by its name.

    Raises:
        NotFoundError: an argument names nothing.
    """
    found: dict[Path, Upload] = {}
    for argument in arguments:
        uploads = list(_expand(argument))
        if not uploads and not Path(argument).is_dir():
            raise NotFoundError(f"There is no file or folder {argument!r}.")
        for upload in uploads:
            if upload.path is not None:
                found.setdefault(upload.path, upload)
    return list(found.values())


def _expand(argument: str) -> Iterator[Upload]:
    root = Path(argument)
    if root.is_dir():
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(folder) / name
                if path.suffix.lower() in SUFFIXES and not name.startswith("."):
                    yield _upload(path, path.relative_to(root).as_posix())
    elif root.is_file():
        yield _upload(root, root.name)
    elif any(mark in argument for mark in "*?["):
        base = Path(root.anchor) if root.is_absolute() else Path()
        pattern = PurePath(argument).relative_to(root.anchor) if root.is_absolute() else root
        for path in sorted(base.glob(str(pattern))):
            if path.is_file():
                yield _upload(path, path.name)


def _upload(path: Path, source: str) -> Upload:
    return Upload(source, path.absolute(), path.read_bytes)


class Pipeline:
    """Takes files into an index, one after the other; each is whole or not there."""

    def __init__(self, index: Index, chunker: Chunker, *, max_file_mb: int) -> None:
        self._index = index
        self._chunker = chunker
        self._max_file_mb = max_file_mb

    def run(
        self,
        uploads: Iterable[Upload],
        *,
        collection: str,
        on_file: Callable[[Upload], None] = lambda upload: None,
    ) -> Tally:
        """Ingest `uploads`; what cannot be read is listed and the rest goes on.

        `on_file` is called before each file. An interruption leaves the files before it ingested.
        """
        started = time.monotonic()
        self._index.repair()
        tally = Tally()
        for upload in uploads:
            on_file(upload)
            try:
                outcome, chunks = self._ingest(upload, collection)
            except DocumentError as error:
                tally.failed.append(Failure(upload.source, error.message))
                continue
            except OSError as error:
                tally.failed.append(Failure(upload.source, error.strerror or str(error)))
                continue
            tally.chunks += chunks
            setattr(tally, outcome, getattr(tally, outcome) + 1)
        tally.seconds = time.monotonic() - started
        return tally

    def prune(self, folders: Sequence[Path], *, collection: str) -> int:
        """Remove the documents whose files are gone from `folders`; return how many."""
        gone = 0
        for folder in folders:
            root = folder.absolute()
            for record in self._index.registry.documents(collection):
                path = record.path
                if path is not None and path.is_relative_to(root) and not path.exists():
                    self._index.delete(record.id)
                    gone += 1
        return gone

    def _ingest(self, upload: Upload, collection: str) -> tuple[Outcome, int]:
        if upload.path is not None and upload.path.stat().st_size > self._max_file_mb * 1_000_000:
            raise DocumentError(f"The file is larger than {self._max_file_mb} MB.")
        content = upload.content()
        known = self._index.registry.find(collection, source=upload.source, path=upload.path)
        if known is not None and known.sha256 == hashlib.sha256(content).hexdigest():
            return "unchanged", 0
        document = read_document(
            content,
            source=upload.source if known is None else known.source,
            collection=collection,
            path=upload.path or (None if known is None else known.path),
            document_id=known.id if known is not None else new_id(collection, upload),
        )
        chunks = self._chunker.chunk(document)
        self._index.put(document, chunks)
        return ("added" if known is None else "updated"), len(chunks)


def new_id(collection: str, upload: Upload) -> str:
    """Return the id that a file gets when it is ingested for the first time."""
    place = upload.source if upload.path is None else str(upload.path)
    return hashlib.sha256(f"{collection}\x00{place}".encode()).hexdigest()[:16]
