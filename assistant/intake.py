"""The intake: uploads go into the index job by job, in a thread of their own.

Everything that is read into the index while the service runs goes through here, so there is one
ingestion at a time, in all processes that serve a workspace together: who works on a job holds
`intake.lock`. A job that is found unfinished by the holder of the lock is one that nobody works on
any more. Readers are never held up.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from opentelemetry.trace import NoOpTracer, Span, Tracer

from assistant.jobs import Job, JobFile, Jobs
from assistant.pauses import loading
from assistant.uploads import Uploads
from ingest import cut
from ingest.document import Record
from ingest.errors import GroundtuneError
from ingest.files import Upload
from ingest.index import Index
from ingest.pipeline import Pipeline
from ingest.tally import FileResult, Tally

log = logging.getLogger(__name__)

LOCK = "intake.lock"
LOOK_S = 0.5
"""Between two looks for a job that another process took in or left."""
FAULT_S = 5.0
"""Between two looks while the state database fails."""


def recover(jobs: Jobs, uploads: Uploads) -> None:
    """Put right what a process left behind; before any process begins."""
    jobs.interrupt()
    uploads.forget_others(jobs.unfinished())


class Intake:
    """Works off the uploads of a workspace."""

    def __init__(
        self,
        index: Index,
        pipeline: Pipeline,
        jobs: Jobs,
        uploads: Uploads,
        home: Path,
        tracer: Tracer | None = None,
    ) -> None:
        self._index = index
        self._pipeline = pipeline
        self._jobs = jobs
        self._uploads = uploads
        self._tracer = tracer or NoOpTracer()
        self._lock = FileLock(home / LOCK, thread_local=False)
        self._awake = threading.Event()
        self._stopping = threading.Event()
        self._loaded = False
        self._thread = threading.Thread(target=self._work, name="intake", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether uploads are being worked off."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin, with what an earlier process left unfinished."""
        self._thread.start()

    def stop(self) -> None:
        """End after the files that are being read; the rest waits for the next start."""
        self._stopping.set()
        self._awake.set()
        self._thread.join()

    def submit(self, job: Job, sources: Sequence[str], origins: Sequence[Path | None]) -> None:
        """Queue a job whose files have come, with what they are called and where they lie."""
        self._jobs.submit(job.id, sources, origins)
        self._awake.set()

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Let no job run inside the block, in any process; waits for the one that does."""
        # A lock of its own: one lock object lets every thread of its process in at once.
        with FileLock(self._lock.lock_file, thread_local=False):
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
        while not self._stopping.is_set():
            self._awake.clear()
            try:
                worked = self._next()
            except Exception:  # the edge of this thread: a broken store must not end the service
                log.exception("the jobs cannot be read")
                self._stopping.wait(FAULT_S)
                worked = False
            if not worked:
                self._awake.wait(LOOK_S)

    def _next(self) -> bool:
        """Work on the next job, if there is one and nobody else is at work."""
        if self._jobs.next() is None:
            return False
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        try:
            job = self._jobs.next()
            if job is None or not self._jobs.claim(job):
                return False
            self._try(job)
            return True
        finally:
            self._lock.release()

    def _try(self, job: Job) -> None:
        try:
            if job.status == "running":
                self._index.repair()  # whoever worked on it died at it
            with self._tracer.start_as_current_span("ingest") as span:
                span.set_attribute("groundtune.job_id", job.id)
                span.set_attribute("groundtune.files", job.total)
                self._run(job, span)
        except GroundtuneError as error:
            self._jobs.fail(job.id, error.message)
        except Exception:  # the edge of a job: one that is broken must not hold up the others
            log.exception("job %s broke off", job.id)
            self._jobs.fail(job.id, "Something went wrong on our side; the log has more.")
        if self._jobs.get(job.id).ended:
            self._uploads.forget(job.id)

    def _run(self, job: Job, span: Span) -> None:
        if not self._loaded:
            with loading():
                cut.load()
            self._loaded = True
        files = self._jobs.files(job.id)
        results = {file.source: file.result for file in files if file.result is not None}
        left = [file for file in files if file.result is None]
        by_source = {file.source: file for file in left}

        def through(name: str, result: FileResult) -> None:
            results[name] = self._kept(job, by_source[name], result)
            told = {"groundtune.outcome": result.outcome, "groundtune.chunks": result.chunks}
            span.add_event("file", told)
            self._jobs.through(job.id, name, results[name], done=len(results))

        tally = self._pipeline.run(
            self._handed_out(job, left, lambda: len(results)),
            collection=job.collection,
            on_file=through,
        )
        if len(results) < len(files):
            self._jobs.release(job.id)
            return
        whole = Tally(seconds=tally.seconds)
        for file in files:
            whole.note(results[file.source])
        error = None
        if len(whole.failed) == len(files):
            error = "; ".join(f"{f.source}: {f.error}" for f in whole.failed)
        self._jobs.finish(job.id, result=whole.body(), error=error)

    def _handed_out(
        self, job: Job, files: Sequence[JobFile], done: Callable[[], int]
    ) -> Iterator[Upload]:
        for file in files:
            if self._stopping.is_set():
                return
            self._jobs.progress(job.id, done=done(), current=file.source)

            def content(file: JobFile = file) -> bytes:
                return self._uploads.content(job.id, file.number, job.collection, file.source)

            yield Upload(file.source, file.origin, content)

    def _kept(self, job: Job, file: JobFile, result: FileResult) -> FileResult:
        """Move an ingested upload to its place; where that fails, so has the file."""
        if result.outcome == "failed" or file.origin is not None:
            return result
        try:
            waiting = self._uploads.waiting(job.id, file.number)
            self._uploads.keep(waiting, job.collection, result.source)
        except OSError as error:
            why = f"It can be searched, but the file could not be kept: {error.strerror}."
            return FileResult(result.source, "failed", error=why)
        return result
