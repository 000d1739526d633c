"""Errors as the OpenAPI document describes them."""

from typing import Any

from pydantic import BaseModel

STATUSES = (400, 401, 403, 404, 408, 409, 413, 415, 421, 422, 429, 431, 500, 502, 503)


class Problem(BaseModel):
    """What went wrong."""

    code: str
    message: str
    hint: str


class ErrorReply(BaseModel):
    """An error."""

    error: Problem


class OpenAIProblem(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIErrorReply(BaseModel):
    """An error as OpenAI's clients read it."""

    error: OpenAIProblem


ERRORS: dict[int | str, dict[str, Any]] = {s: {"model": ErrorReply} for s in STATUSES}
OPENAI_ERRORS: dict[int | str, dict[str, Any]] = {s: {"model": OpenAIErrorReply} for s in STATUSES}
"""What every route may answer, for its description."""
