"""`/api/evaluations`, and the reports themselves at `/evaluations/{id}`."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from assistant.api.door import Admin, Asker
from assistant.api.evaluations_wire import EvaluationBody, EvaluationsReply, StartedReply
from assistant.api.parts import PartsOf
from assistant.evaluations import Order

router = APIRouter(tags=["evaluations"])

APART = "base-uri 'none'; form-action 'none'; sandbox allow-scripts; default-src 'none'"
"""A page with words from everywhere: nobody's origin, no network, no forms."""


@router.get("/api/evaluations", response_model=EvaluationsReply)
def evaluations(parts: PartsOf, access: Asker) -> dict[str, Any]:
    """List the reports about collections that the caller sees, newest first."""
    return {"evaluations": parts.reports.list(access)}


@router.post("/api/evaluations", status_code=202, response_model=StartedReply)
async def start(
    body: EvaluationBody, parts: PartsOf, access: Admin, request: Request
) -> dict[str, Any]:
    """Compare arms on questions, in the background; the job's result names the report."""
    named = body.collection if "collection" in body.model_fields_set else access.home
    await asyncio.to_thread(parts.workspace.check_collection, named, access)
    arms = None if body.arms is None else list(dict.fromkeys(body.arms))
    order = Order(body.questions, arms, named, body.limit, body.adapter)
    loop = asyncio.get_running_loop()
    job = await asyncio.to_thread(parts.evaluations.start, order, loop)
    await asyncio.to_thread(
        parts.audit.note,
        "evaluate",
        job.id,
        key=access.key,
        collection=named,
        request_id=request.state.request_id,
    )
    return {"job_id": job.id}


@router.get("/evaluations/{evaluation_id}", responses={200: {"content": {"text/html": {}}}})
def report(evaluation_id: str, parts: PartsOf, access: Asker) -> HTMLResponse:
    """Show a report. Its own script runs, in a sandbox from which nothing can be reached."""
    page = parts.reports.page(evaluation_id, access)
    scripts = " ".join(page.scripts) or "'none'"
    policy = f"{APART}; style-src 'unsafe-inline'; script-src {scripts}; frame-ancestors 'none'"
    return HTMLResponse(page.html, headers={"Content-Security-Policy": policy})
