"""`POST /api/search`."""

from typing import Any

from fastapi import APIRouter

from assistant.api.parts import PartsOf
from assistant.api.routes.ask import check_length
from assistant.api.wire import SearchBody, SearchReply
from assistant.bodies import findings_body

router = APIRouter(prefix="/api", tags=["search"])


@router.post("/search", response_model=SearchReply, response_model_exclude_unset=True)
def search(body: SearchBody, parts: PartsOf) -> dict[str, Any]:
    """Find passages; the model is not asked."""
    check_length(body.query, parts)
    workspace = parts.workspace
    workspace.check_collection(body.collection)
    k = workspace.settings.retrieval.top_k if body.k is None else body.k
    found = workspace.retriever.find(
        body.query,
        k=k,
        collection=body.collection,
        filters=body.filters,
        include_superseded=body.include_superseded,
    )
    weight = workspace.settings.retrieval.dense_weight
    return findings_body(found, explain=body.explain, dense_weight=weight)
