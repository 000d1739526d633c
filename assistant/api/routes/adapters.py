"""`/api/adapters`."""

from typing import Any

from fastapi import APIRouter

from assistant.api.parts import PartsOf
from assistant.api.wire import AdaptersReply
from assistant.bodies import adapter_body

router = APIRouter(prefix="/api/adapters", tags=["adapters"])


@router.get("", response_model=AdaptersReply)
def adapters(parts: PartsOf) -> dict[str, Any]:
    """List the tuned adapters."""
    return {"adapters": [adapter_body(adapter) for adapter in parts.workspace.adapters.list()]}
