"""The intake: uploads go into the index job by job, in a thread of their own.

Everything that writes to the index while the service runs goes through here, so there is one
writer at a time; readers are never held up.
"""

import logging
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from assistant.jobs import Job, Jobs
from assistant.uploads import Uploads
from ingest.document import Record
from ingest.errors import GroundtuneError
from ingest.files import Upload
from ingest.index import Index
from ingest.pipeline import Pipeline
from ingest.tally import FileResult

log = logging.getLogger(__name__)


class Waiting(NamedTuple):
    """An uploaded file whose turn has not come."""

    source: str
    path: Path
    """Where its bytes wait."""
    origin: Path | None = None
    """The file that it is on this machine, if the sender said so."""


class Intake:
    """Queues uploads and works them off."""

    def __init__(self, index: Index, pipeline: Pipeline, jobs: Jobs, uploads: Uploads) -> None:
        self._index = index
        self._pipeline = pipeline
        self._jobs = jobs
        self._uploads = uploads
        self._queue: queue.Queue[tuple[Job, Sequence[Waiting]] | None] = queue.Queue()
        self._stopping = threading.Event()
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="intake", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether uploads are being worked off."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin; what an earlier process left unfinished is marked as such."""
        self._jobs.interrupt()
        self._uploads.forget_all()
        self._thread.start()

    def stop(self) -> None:
        """End after the files that are being read; what is queued counts as interrupted."""
        self._stopping.set()
        self._queue.put(None)
        self._thread.join()
        self._jobs.interrupt()
        self._uploads.forget_all()

    def submit(self, job: Job, files: Sequence[Waiting]) -> None:
        """Queue the files of a job."""
        self._queue.put((job, files))

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Let no job run inside the block; waits for the one that does."""
        with self._turn:
            yield

    def delete(self, document_id: str) -> Record:
        """Remove a document and its upload, a running job or not.

        Raises:
            NotFoundError: there is no such document.
        """
        record = self._index.delete(document_id)
        self._uploads.remove(record.collection, record.source)
        self._jobs.forget(record.collection, record.source)
        return record

    def _work(self) -> None:
        while (item := self._queue.get()) is not None and not self._stopping.is_set():
            job, files = item
            try:
                with self._turn:
                    self._run(job, files)
            except GroundtuneError as error:
                self._jobs.fail(job.id, error.message)
            except Exception:  # the edge of this thread: one broken job must not end the service
                log.exception("job %s broke off", job.id)
                self._jobs.fail(job.id, "Something went wrong on our side; the log has more.")
            finally:
                self._uploads.forget(job.id)

    def _run(self, job: Job, files: Sequence[Waiting]) -> None:
        waiting = {file.source: file.path for file in files if file.origin is None}
        unkept: list[FileResult] = []
        done = 0

        def handed_out() -> Iterator[Upload]:
            for file in files:
                if self._stopping.is_set():
                    return
                self._jobs.progress(job.id, done=done, current=file.source)
                yield Upload(file.source, file.origin, file.path.read_bytes)

        def through(result: FileResult) -> None:
            nonlocal done
            done += 1
            if result.outcome != "failed" and result.source in waiting:
                try:
                    self._uploads.keep(waiting[result.source], job.collection, result.source)
                except OSError as error:
                    why = f"It can be searched, but the file could not be kept: {error.strerror}."
                    unkept.append(FileResult(result.source, "failed", error=why))
            self._jobs.progress(job.id, done=done, current=result.source)

        tally = self._pipeline.run(handed_out(), collection=job.collection, on_file=through)
        if done < len(files):
            return  # stopped: `stop` marks the job
        for result in unkept:
            tally.note(result)
        error = None
        if len(tally.failed) == len(files):
            error = "; ".join(f"{f.source}: {f.error}" for f in tally.failed)
        self._jobs.finish(job.id, result=tally.body(), error=error)
