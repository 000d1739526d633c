"""Evaluations as they go over the wire."""

from typing import Any

from pydantic import Field

from assistant.api.wire import Body, Wire
from assistant.evaluations import ARMS, ArmName


class EvaluationBody(Body):
    """Questions that the arms are compared on."""

    questions: list[dict[str, Any]] = Field(min_length=1, max_length=2_000)
    """As lines of a file for `groundtune eval run`: `id`, `question`, and what else there is."""
    arms: list[ArmName] | None = Field(default=None, min_length=1, max_length=len(ARMS))
    """Which of the standard arms take part; if left out, all that this workspace can carry out."""
    collection: str = "default"
    limit: int | None = Field(default=None, ge=1)
    """So many of the questions, each kind in its share; all if left out."""
    adapter: str | None = None
    """For the tuned arms; if left out, the one in production, else the newest."""


class StartedReply(Wire):
    """An evaluation has begun; the job says how far it is, and at its end names the report."""

    job_id: str


class EvaluationReply(Wire):
    """A report in short."""

    id: str
    """Its page is at `/evaluations/{id}`."""
    title: str
    created: str
    verdict: str
    reasons: list[str]
    arms: list[str]
    questions: int
    adapter: str | None
    collection: str


class EvaluationsReply(Wire):
    """Reports, newest first."""

    evaluations: list[EvaluationReply]
