"""`/api/jobs`."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from assistant.access import Access
from assistant.api.documents_wire import JobReply, JobsReply
from assistant.api.door import Ingester
from assistant.api.errors import problem
from assistant.api.goodbye import Goodbye
from assistant.api.parts import PartsOf
from assistant.api.sse import event, stream
from assistant.jobs import Job, Jobs
from ingest.errors import NotFoundError

POLL_S = 0.2
GOES_ON = "The job goes on when it starts again."

router = APIRouter(prefix="/api/jobs", tags=["jobs"])


@router.get("", response_model=JobsReply)
def jobs(
    parts: PartsOf, access: Ingester, last: Annotated[int, Query(ge=1, le=200)] = 20
) -> dict[str, Any]:
    """List the last jobs, newest first."""
    return {"jobs": [job.body() for job in parts.jobs.latest(access, last=last)]}


@router.get("/{job_id}", response_model=JobReply)
def job(job_id: str, parts: PartsOf, access: Ingester) -> dict[str, Any]:
    """Show how far a job is."""
    return _seen(parts.jobs, job_id, access).body()


@router.get("/{job_id}/events", responses={200: {"content": {"text/event-stream": {}}}})
async def events(
    job_id: str, parts: PartsOf, access: Ingester, request: Request
) -> StreamingResponse:
    """Follow a job: `progress` whenever it moves, and `done` or `failed` as the last event.

    Where the service ends first, the last event is `error`, and the job goes on at the next start.
    """
    first = await asyncio.to_thread(_seen, parts.jobs, job_id, access)
    request.state.turnstile.enter()
    return stream(_followed(parts.jobs, first, request.app.state.goodbye))


def _seen(jobs: Jobs, job_id: str, access: Access) -> Job:
    """Return a job; one of somebody else's is as unknown as one that never was."""
    job = jobs.get(job_id)
    if not access.sees(job.collection):
        raise NotFoundError(f"There is no job {job_id!r}.")
    return job


async def _followed(jobs: Jobs, job: Job, goodbye: Goodbye) -> AsyncIterator[str]:
    shown: Job | None = None
    while not job.ended and not goodbye.begun:
        if job != shown:
            yield event("progress", job.body())
            shown = job
        await goodbye.pause(POLL_S)
        job = await asyncio.to_thread(jobs.get, job.id)
    if job.ended:
        yield event(job.status, job.body())
    else:
        yield event("error", problem("stopping", "The service is stopping.", GOES_ON))
