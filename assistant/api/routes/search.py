"""`POST /api/search`."""

from typing import Any

from fastapi import APIRouter

from assistant.api.door import Asker
from assistant.api.parts import PartsOf
from assistant.api.routes.ask import check_length
from assistant.api.wire import SearchBody, SearchReply
from assistant.bodies import hit_body

router = APIRouter(prefix="/api", tags=["search"])


@router.post("/search", response_model=SearchReply)
def search(body: SearchBody, parts: PartsOf, access: Asker) -> dict[str, Any]:
    """Find passages; the model is not asked."""
    check_length(body.query, parts)
    workspace = parts.workspace
    collection = body.collection if "collection" in body.model_fields_set else access.home
    workspace.check_collection(collection, access)
    k = workspace.settings.retrieval.top_k if body.k is None else body.k
    hits = workspace.retriever.search(body.query, k=k, collection=collection)
    return {"hits": [hit_body(hit) for hit in hits]}
