"""Jobs: what goes on after the request that asked for it was answered."""

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    insert,
    select,
    update,
)

from assistant.access import Access
from ingest.errors import NotFoundError

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


class Jobs:
    """The jobs of a workspace, in its state database."""

    def __init__(self, engine: Engine, now: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._now = now
        METADATA.create_all(engine)

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

    def list(self, access: Access, *, last: int = 50) -> list[Job]:
        """Return the last jobs of the collections that `access` sees, newest first."""
        query = select(JOBS).order_by(JOBS.c.created.desc(), JOBS.c.id).limit(last)
        if access.collections is not None:
            query = query.where(JOBS.c.collection.in_(sorted(access.collections)))
        with self._engine.connect() as connection:
            return [_job(row) for row in connection.execute(query).mappings()]

    def progress(self, job_id: str, *, done: int, current: str | None) -> None:
        """Note how far a job is."""
        self._set(job_id, status="running", done=done, current=current)

    def finish(self, job_id: str, *, result: Mapping[str, Any], error: str | None = None) -> None:
        """Note what a job did; with an `error` it failed."""
        self._set(
            job_id,
            status="done" if error is None else "failed",
            current=None,
            result=json.dumps(result, ensure_ascii=False),
            error=error,
            finished=self._now(),
        )

    def fail(self, job_id: str, error: str) -> None:
        """Note that a job broke off."""
        self._set(job_id, status="failed", current=None, error=error, finished=self._now())

    def forget(self, collection: str, source: str) -> None:
        """Take a document that was deleted out of what the jobs of its collection tell."""
        mine = (JOBS.c.collection == collection) & JOBS.c.status.in_(ENDED)
        with self._engine.begin() as connection:
            for job_id, told in connection.execute(select(JOBS.c.id, JOBS.c.result).where(mine)):
                result = json.loads(told or "{}")
                kept = {
                    key: [one for one in result[key] if one["source"] != source]
                    for key in ("failed", "files")
                    if key in result
                }
                if any(len(kept[key]) < len(result[key]) for key in kept):
                    change = update(JOBS).where(JOBS.c.id == job_id)
                    connection.execute(change.values(result=json.dumps(result | kept)))

    def interrupt(self) -> int:
        """Mark the jobs that a process left unfinished when it died; return how many."""
        change = update(JOBS).where(JOBS.c.status.not_in(ENDED))
        values = {"status": "failed", "error": "interrupted", "finished": self._now()}
        with self._engine.begin() as connection:
            return connection.execute(change.values(current=None, **values)).rowcount

    def _set(self, job_id: str, **values: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(**values))


def _job(row: Mapping[Any, Any]) -> Job:
    result = None if row["result"] is None else json.loads(row["result"])
    return Job(**{**row, "result": result})
