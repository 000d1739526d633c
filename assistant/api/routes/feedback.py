"""`/api/feedback`."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from assistant.api.door import Admin, Asker
from assistant.api.feedback_wire import FeedbackBody, FeedbackReply, OpinionsReply
from assistant.api.parts import PartsOf

router = APIRouter(prefix="/api/feedback", tags=["feedback"])


@router.post("", response_model=FeedbackReply)
def rate(body: FeedbackBody, parts: PartsOf, access: Asker) -> dict[str, Any]:
    """Say whether an answer was good, and what it should have been; a later word replaces it."""
    parts.feedback.rate(body.opinion(), access)
    return {"request_id": body.request_id, "rating": body.rating}


@router.get("", response_model=OpinionsReply)
def opinions(
    parts: PartsOf, access: Admin, last: Annotated[int, Query(ge=1, le=1000)] = 100
) -> dict[str, Any]:
    """List what was said, newest first, with the question, answer and evidence it is about."""
    return {"feedback": parts.feedback.list(access, last=last)}
