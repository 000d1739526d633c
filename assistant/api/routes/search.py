"""`POST /api/search`."""

from typing import Any

from fastapi import APIRouter

from assistant.api.door import Asker
from assistant.api.parts import PartsOf
from assistant.api.routes.ask import check_length
from assistant.api.wire import SearchBody, SearchReply
from assistant.bodies import findings_body

router = APIRouter(prefix="/api", tags=["search"])


@router.post("/search", response_model=SearchReply, response_model_exclude_unset=True)
def search(body: SearchBody, parts: PartsOf, access: Asker) -> dict[str, Any]:
    """Find passages; the model is not asked."""
    check_length(body.query, parts)
    workspace = parts.workspace
    collection = body.collection if "collection" in body.model_fields_set else access.home
    workspace.check_collection(collection, access)
    k = workspace.settings.retrieval.top_k if body.k is None else body.k
    found = workspace.retriever.find(
        body.query,
        k=k,
        collection=collection,
        filters=body.filters,
        include_superseded=body.include_superseded,
    )
    weight = workspace.settings.retrieval.dense_weight
    return findings_body(found, explain=body.explain, dense_weight=weight)
