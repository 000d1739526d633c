"""`/api/jobs`."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from assistant.api.parts import PartsOf
from assistant.api.sse import event, stream
from assistant.api.wire import JobReply
from assistant.jobs import Job, Jobs

POLL_S = 0.2

router = APIRouter(prefix="/api/jobs", tags=["jobs"])


@router.get("/{job_id}", response_model=JobReply)
def job(job_id: str, parts: PartsOf) -> dict[str, Any]:
    """Show how far a job is."""
    return parts.jobs.get(job_id).body()


@router.get("/{job_id}/events", responses={200: {"content": {"text/event-stream": {}}}})
async def events(job_id: str, parts: PartsOf) -> StreamingResponse:
    """Follow a job: `progress` whenever it moves, and `done` or `failed` as the last event."""
    first = await asyncio.to_thread(parts.jobs.get, job_id)
    return stream(_followed(parts.jobs, first))


async def _followed(jobs: Jobs, job: Job) -> AsyncIterator[str]:
    shown: Job | None = None
    while not job.ended:
        if job != shown:
            yield event("progress", job.body())
            shown = job
        await asyncio.sleep(POLL_S)
        job = await asyncio.to_thread(jobs.get, job.id)
    yield event(job.status, job.body())
