"""`/healthz` and `/readyz`."""

import asyncio
import logging
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from assistant.api.parts import Parts, PartsOf
from assistant.api.wire import ReadyReply
from ingest.errors import GroundtuneError

log = logging.getLogger(__name__)
router = APIRouter(tags=["health"])

DOWN = (GroundtuneError, SQLAlchemyError, OSError, RuntimeError, ValueError)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@router.get("/readyz", response_model=ReadyReply, responses={503: {"model": ReadyReply}})
async def readyz(parts: PartsOf, request: Request) -> Any:
    """Try each part; 503 when one is down. Why it is, only this machine is told."""
    states = await asyncio.to_thread(_stores, parts)
    states["engine"] = await _engine(parts)
    states["intake"] = "ok" if parts.intake.alive else "stopped"
    ready = all(state == "ok" for state in states.values())
    if not request.state.private:
        states = {part: "ok" if state == "ok" else "down" for part, state in states.items()}
    return JSONResponse({"ready": ready, "parts": states}, 200 if ready else 503)


def _stores(parts: Parts) -> dict[str, str]:
    index = parts.workspace.index
    states = {}
    try:
        index.registry.pending()
        states["state"] = "ok"
    except DOWN as error:
        states["state"] = _down("state", error)
    try:
        index.embedder.embed(["ready?"])
        states["embedding"] = "ok"
    except DOWN as error:
        states["embedding"] = _down("embedding", error)
    try:
        index.check()
        states["vectors"] = "ok"
    except DOWN as error:
        states["vectors"] = _down("vectors", error)
    return states


async def _engine(parts: Parts) -> str:
    try:
        await parts.workspace.engine.check()
    except (GroundtuneError, OSError) as error:
        return _down("engine", error)
    return "ok"


def _down(part: str, error: Exception) -> str:
    log.warning("%s is down: %s", part, error)
    return error.message if isinstance(error, GroundtuneError) else "down; the log has more"
