"""Ingestion: which files changed, and what became of each."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from ingest.document import Failed, Record
from ingest.errors import DocumentError
from ingest.files import Upload
from ingest.index import Index
from ingest.known import Known, Verdict
from ingest.path import is_folder, is_gone
from ingest.prepare import Batch, Preparation, Work
from ingest.tally import FileResult, Tally

OnFile = Callable[[str, FileResult], None]
"""Gets the source that a file was handed in as, and what became of it. The two differ where a known
file is handed in from another folder: its document keeps its source."""


class Pipeline:
    """Takes files into an index; each is whole or not there."""

    def __init__(self, index: Index, preparation: Preparation, *, max_file_mb: int) -> None:
        self._index = index
        self._preparation = preparation
        self._max_file_mb = max_file_mb

    def run(
        self,
        uploads: Iterable[Upload],
        *,
        collection: str,
        on_file: OnFile = lambda name, result: None,
    ) -> Tally:
        """Ingest `uploads`; what cannot be read is listed and noted, and the rest goes on.

        `on_file` is called when a file is through, not always in their order. An interruption
        leaves those ingested that were through.

        Raises:
            StoreError: the index cannot be written; nothing that was in it is lost.
        """
        started = time.monotonic()
        self._index.repair()
        run = _Run(self._index, collection, self._max_file_mb, on_file)
        with closing(self._preparation.prepare(run.sift(uploads))) as batches:
            for batch in batches:
                run.store(batch)
        run.tally.seconds = time.monotonic() - started
        return run.tally

    def gone(self, folders: Sequence[Path], *, collection: str) -> list[Record]:
        """Return the documents whose files are gone from `folders`."""
        roots = [folder.absolute() for folder in folders]
        return [
            record
            for record in self._index.registry.documents(collection)
            if record.path is not None
            and any(record.path.is_relative_to(root) for root in roots)
            and is_gone(record.path)
        ]


class _Run:
    """One ingestion: what is known when it starts, and what it has done so far."""

    def __init__(
        self,
        index: Index,
        collection: str,
        max_file_mb: int,
        on_file: OnFile,
    ) -> None:
        self.tally = Tally()
        self._index = index
        self._collection = collection
        self._max_file_mb = max_file_mb
        self._on_file = on_file
        self._names: dict[str, str] = {}  # of the files that are read, by their documents
        self._known = Known(collection, index.registry.entries(collection))

    def sift(self, uploads: Iterable[Upload]) -> Iterator[Work]:
        """Yield the files that have to be read; be through with the others on the way."""
        for upload in uploads:
            sha256 = ""
            try:
                content = self._content(upload)
                sha256 = hashlib.sha256(content).hexdigest()
                verdict = self._known.judge(upload, sha256)
            except DocumentError as error:
                self._fail(upload, sha256, error.message)
            except OSError as error:
                self._fail(upload, sha256, error.strerror or str(error))
            else:
                if verdict is None:
                    twice = "Another file of this run has the same name."
                    self._through(upload.source, FileResult(upload.source, "failed", error=twice))
                elif verdict.read:
                    self._names[verdict.id] = upload.source
                    yield self._work(verdict, content, sha256)
                else:
                    if verdict.placed:
                        self._index.move(verdict.id, source=verdict.source, path=verdict.path)
                    self._through(upload.source, FileResult(verdict.source, verdict.outcome))

    def store(self, batch: Batch) -> None:
        """Store what was prepared."""
        if batch.chunks:
            self._index.stage(batch.chunks, batch.rows)
        if batch.done:
            self._index.put([(done.document, done.chunks) for done in batch.done])
        for failed in batch.failed:
            self._index.fail(failed)
            result = FileResult(failed.source, "failed", error=failed.error)
            self._through(self._names.pop(failed.id), result)
        for done in batch.done:
            result = FileResult(done.document.source, done.outcome, len(done.chunks))
            self._through(self._names.pop(done.document.id), result)

    def _content(self, upload: Upload) -> bytes:
        limit = self._max_file_mb * 1_000_000
        if upload.path is not None and upload.path.stat().st_size > limit:
            raise DocumentError(f"The file is larger than {self._max_file_mb} MB.")
        return upload.content()

    def _work(self, verdict: Verdict, content: bytes, sha256: str) -> Work:
        stored = frozenset[str]()
        if verdict.outcome != "added":
            stored = frozenset(self._index.registry.chunk_ids(verdict.id))
        return Work(
            verdict.outcome,
            content,
            sha256,
            verdict.id,
            self._collection,
            verdict.source,
            verdict.path,
            stored,
        )

    def _fail(self, upload: Upload, sha256: str, error: str) -> None:
        """Note that not even the bytes of a file could be had; a folder is told of, no more."""
        source, path = upload.source, upload.path
        if path is None or not is_folder(path):
            document_id = self._known.id_of(upload)
            self._index.fail(Failed(document_id, self._collection, source, path, sha256, error))
        self._through(source, FileResult(source, "failed", error=error))

    def _through(self, name: str, result: FileResult) -> None:
        self.tally.note(result)
        self._on_file(name, result)
