"""Server-sent events."""

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import StreamingResponse

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Proxies that buffer would turn a stream into one late answer."""


def event(name: str, data: dict[str, Any]) -> str:
    """Return one event; JSON holds no line break, so one `data` line is enough."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def stream(events: AsyncIterator[str]) -> StreamingResponse:
    """Return a response that sends `events` as they come."""
    return StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)
