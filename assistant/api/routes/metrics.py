"""`/metrics`."""

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from assistant.api.door import Admin
from assistant.api.parts import PartsOf
from ingest.errors import ForbiddenError

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(parts: PartsOf, access: Admin) -> Response:
    """Show counts and times for Prometheus; they are of all collections together."""
    if access.collections is not None:
        raise ForbiddenError(
            "The counts are of all collections, and this key is bound to some.",
            hint="groundtune keys create NAME --role admin",
        )
    return Response(parts.observer.metrics.text(), media_type=CONTENT_TYPE_LATEST)
