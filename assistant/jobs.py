"""Jobs: what goes on after the request that asked for it was answered.

What a job was given, and what became of each file, stands in the state database, so that whoever
starts next can go on where a process ended or died.
"""

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    exists,
    insert,
    select,
    update,
)

from assistant.access import Access
from ingest.errors import NotFoundError
from ingest.stores.tables import make_tables
from ingest.tally import FileResult

METADATA = MetaData()
JOBS = Table(
    "jobs",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("collection", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("current", Text),
    Column("result", Text),
    Column("error", Text),
    Column("created", Float, nullable=False),
    Column("finished", Float),
)
FILES = Table(
    "job_files",  # of jobs that have not ended
    METADATA,
    Column("job_id", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("source", Text, nullable=False),
    Column("origin", Text),  # the file that it is on the service's machine, if it is one
    Column("result", Text),  # a FileResult as JSON, once the file is through
)
ENDED = ("done", "failed")


@dataclass(frozen=True, slots=True)
class Job:
    """One ingestion or evaluation."""

    id: str
    collection: str
    status: str
    """`queued`, `running`, `done` or `failed`."""
    total: int
    """Files it was given, or answers that are wanted."""
    done: int
    """Files or answers it is through with, the failed ones too."""
    current: str | None
    """The file it is at."""
    result: dict[str, Any] | None
    """The tally, as `groundtune ingest --json` prints it; of an evaluation, `report`, its name."""
    error: str | None
    """Why it failed."""
    created: float
    """Seconds since 1970, UTC."""
    finished: float | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ENDED

    def body(self) -> dict[str, Any]:
        """Return the JSON body of `GET /api/jobs/{id}`."""
        return {
            "id": self.id,
            "collection": self.collection,
            "status": self.status,
            "progress": {"done": self.done, "total": self.total, "current": self.current},
            "result": self.result,
            "error": self.error,
            "created": self.created,
            "finished": self.finished,
        }


class JobFile(NamedTuple):
    """A file that a job was given."""

    number: int
    """Its place in the upload, from 0."""
    source: str
    origin: Path | None
    """The file that it is on this machine, if the sender said so."""
    result: FileResult | None
    """What became of it; None while it waits."""


class Jobs:
    """The jobs of a workspace, in its state database."""

    def __init__(self, engine: Engine, now: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._now = now
        make_tables(engine, METADATA)

    def add(self, collection: str, *, total: int) -> Job:
        """Queue a job of `total` files."""
        job_id = uuid.uuid4().hex
        row = {"id": job_id, "collection": collection, "status": "queued", "total": total}
        with self._engine.begin() as connection:
            connection.execute(insert(JOBS).values(**row, done=0, created=self._now()))
        return self.get(job_id)

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            NotFoundError: there is no such job.
        """
        with self._engine.connect() as connection:
            row = connection.execute(select(JOBS).where(JOBS.c.id == job_id)).mappings().first()
        if row is None:
            raise NotFoundError(f"There is no job {job_id!r}.")
        return _job(row)

    def latest(self, access: Access, *, last: int = 50) -> list[Job]:
        """Return the last jobs of the collections that `access` sees, newest first."""
        query = select(JOBS).order_by(JOBS.c.created.desc(), JOBS.c.id).limit(last)
        if access.collections is not None:
            query = query.where(JOBS.c.collection.in_(sorted(access.collections)))
        with self._engine.connect() as connection:
            return [_job(row) for row in connection.execute(query).mappings()]

    def submit(self, job_id: str, sources: Sequence[str], origins: Sequence[Path | None]) -> None:
        """Note the files of a job, which can be worked on from now on."""
        rows = [
            {
                "job_id": job_id,
                "number": number,
                "source": source,
                "origin": None if origin is None else str(origin),
            }
            for number, (source, origin) in enumerate(zip(sources, origins, strict=True))
        ]
        with self._engine.begin() as connection:
            connection.execute(insert(FILES), rows)

    def next(self) -> Job | None:
        """Return the oldest job that waits or was left unfinished; None if there is none."""
        given = exists().where(FILES.c.job_id == JOBS.c.id)
        query = select(JOBS.c.id).where(JOBS.c.status.not_in(ENDED), given)
        with self._engine.connect() as connection:
            job_id = connection.execute(query.order_by(JOBS.c.created, JOBS.c.id)).scalar()
        return None if job_id is None else self.get(job_id)

    def claim(self, job: Job) -> bool:
        """Begin a job, unless it has changed since it was looked at: then another one has it."""
        seen = (JOBS.c.id == job.id) & (JOBS.c.status == job.status) & (JOBS.c.done == job.done)
        with self._engine.begin() as connection:
            taken = connection.execute(update(JOBS).where(seen).values(status="running"))
            return taken.rowcount == 1

    def release(self, job_id: str) -> None:
        """Put a job that was begun back, for whoever starts next."""
        self._set(job_id, status="queued", current=None)

    def files(self, job_id: str) -> list[JobFile]:
        """Return the files of a job that has not ended, in their order."""
        query = select(FILES).where(FILES.c.job_id == job_id).order_by(FILES.c.number)
        with self._engine.connect() as connection:
            return [
                JobFile(
                    row.number,
                    row.source,
                    None if row.origin is None else Path(row.origin),
                    None if row.result is None else FileResult(**json.loads(row.result)),
                )
                for row in connection.execute(query)
            ]

    def through(self, job_id: str, source: str, result: FileResult, *, done: int) -> None:
        """Note what became of the file that was given as `source`, and that `done` are through."""
        this = (FILES.c.job_id == job_id) & (FILES.c.source == source)
        told = json.dumps(asdict(result), ensure_ascii=False)
        with self._engine.begin() as connection:
            connection.execute(update(FILES).where(this).values(result=told))
            _change(connection, job_id, status="running", done=done, current=source)

    def progress(
        self, job_id: str, *, done: int, current: str | None, total: int | None = None
    ) -> None:
        """Note how far a job is, and of how much, where that was not known at its start."""
        known = {} if total is None else {"total": total}
        self._set(job_id, status="running", done=done, current=current, **known)

    def finish(self, job_id: str, *, result: Mapping[str, Any], error: str | None = None) -> None:
        """Note what a job did; with an `error` it failed."""
        told = json.dumps(result, ensure_ascii=False)
        status = "done" if error is None else "failed"
        self._end(job_id, status=status, result=told, error=error)

    def fail(self, job_id: str, error: str) -> None:
        """Note that a job broke off."""
        self._end(job_id, status="failed", error=error)

    def forget(self, collection: str, source: str) -> None:
        """Take a document that was deleted out of what the jobs of its collection tell."""
        mine = (JOBS.c.collection == collection) & JOBS.c.status.in_(ENDED)
        query = select(JOBS.c.id, JOBS.c.result, JOBS.c.error).where(mine)
        with self._engine.begin() as connection:
            for job_id, told, error in connection.execute(query).all():
                result = json.loads(told or "{}")
                kept = {
                    key: [one for one in result[key] if one["source"] != source]
                    for key in ("failed", "files")
                    if key in result
                }
                changed: dict[str, Any] = {}
                if any(len(kept[key]) < len(result[key]) for key in kept):
                    changed["result"] = json.dumps(result | kept, ensure_ascii=False)
                if source in (error or ""):
                    changed["error"] = "It failed at a document that was deleted since."
                if changed:
                    connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(**changed))

    def unfinished(self) -> set[str]:
        """Return the ids of the jobs that whoever starts next goes on with."""
        with self._engine.connect() as connection:
            return set(connection.execute(select(FILES.c.job_id).distinct()).scalars())

    def interrupt(self) -> int:
        """Mark the jobs whose files had not all come when a process died; return how many."""
        given = exists().where(FILES.c.job_id == JOBS.c.id)
        change = update(JOBS).where(JOBS.c.status.not_in(ENDED), ~given)
        values = {"status": "failed", "error": "interrupted", "finished": self._now()}
        with self._engine.begin() as connection:
            return connection.execute(change.values(current=None, **values)).rowcount

    def _end(self, job_id: str, **values: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(delete(FILES).where(FILES.c.job_id == job_id))
            _change(connection, job_id, current=None, finished=self._now(), **values)

    def _set(self, job_id: str, **values: Any) -> None:
        with self._engine.begin() as connection:
            _change(connection, job_id, **values)


def _change(connection: Connection, job_id: str, **values: Any) -> None:
    connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(**values))


def _job(row: Mapping[Any, Any]) -> Job:
    result = None if row["result"] is None else json.loads(row["result"])
    return Job(**{**row, "result": result})
