"""`POST /api/search`."""

from typing import Any

from fastapi import APIRouter

from assistant.api.parts import PartsOf
from assistant.api.routes.ask import check_length
from assistant.api.wire import SearchBody, SearchReply
from assistant.bodies import hit_body

router = APIRouter(prefix="/api", tags=["search"])


@router.post("/search", response_model=SearchReply)
def search(body: SearchBody, parts: PartsOf) -> dict[str, Any]:
    """Find passages; the model is not asked."""
    check_length(body.query, parts)
    workspace = parts.workspace
    workspace.check_collection(body.collection)
    k = workspace.settings.retrieval.top_k if body.k is None else body.k
    hits = workspace.retriever.search(body.query, k=k, collection=body.collection)
    return {"hits": [hit_body(hit) for hit in hits]}
