"""Errors become answers, in one place.

Our own shape is `{"error": {"code", "message", "hint"}}`. Under `/v1` it is OpenAI's,
`{"error": {"message", "type", "param", "code"}}`, so that its clients raise what they document.
"""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from assistant.api.connection import ClientGoneError
from assistant.logs import told
from ingest.errors import EngineError, GroundtuneError, RateError, TooLargeError

log = logging.getLogger(__name__)

CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
RETRY_AFTER_S = 5
OPENAI = "/v1/"
"""Where errors have OpenAI's shape."""
OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


def problem(code: str, message: str, hint: str = "") -> dict[str, Any]:
    """Return the body of an error."""
    return {"error": {"code": code, "message": message, "hint": hint}}


def openai_problem(
    status: int, code: str, message: str, param: str | None = None
) -> dict[str, Any]:
    """Return the body of an error as OpenAI's clients read it."""
    kind = "server_error" if status >= 500 else OPENAI_TYPES.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def refused(
    path: str,
    status: int,
    body: dict[str, Any],
    headers: Mapping[str, str] | None = None,
    param: str | None = None,
) -> JSONResponse:
    """Return an error as a request to `path` expects it; `body` is in our shape."""
    if path.startswith(OPENAI):
        error = body["error"]
        message = f"{error['message']} {error['hint']}".strip()
        body = openai_problem(status, error["code"], message, param)
    return JSONResponse(body, status, headers)


def problem_of(error: GroundtuneError) -> dict[str, Any]:
    """Return the body of one of our errors."""
    return problem(error.code, error.message, error.hint)


def unexpected(request_id: str) -> dict[str, Any]:
    """Return the body of an error that is our fault; the log has the rest under its id."""
    return problem(
        "internal",
        "Something went wrong on our side.",
        f"The server's log has more under request {request_id}.",
    )


def add_handlers(app: FastAPI) -> None:
    """Teach `app` to answer errors in our shape."""

    @app.exception_handler(GroundtuneError)
    async def ours(request: Request, error: GroundtuneError) -> JSONResponse:
        if error.http_status >= 500 and not isinstance(error, EngineError):  # those are told
            named = told(error.message, request_id=request.state.request_id, code=error.code)
            log.warning("a request failed", extra=named)
        headers = {"Retry-After": str(RETRY_AFTER_S)} if error.http_status == 503 else None
        if isinstance(error, RateError):
            headers = {"Retry-After": str(error.retry_after_s)}
        path = request.url.path
        if path.startswith(OPENAI):
            status, code = _as_openai(error)
            body = problem(code, error.message, error.hint)
            return refused(path, status, body, headers)
        return refused(path, error.http_status, problem_of(error), headers)

    @app.exception_handler(ClientGoneError)
    async def gone(_: Request, error: ClientGoneError) -> Response:
        return Response(status_code=499)  # nobody reads it

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        issues = error.errors()
        message = "; ".join(_line(issue) for issue in issues)
        body = problem("invalid_request", message, "See /docs for the fields.")
        path = request.url.path
        status = 400 if path.startswith(OPENAI) else 422
        return refused(path, status, body, param=_place(issues[0]) or None)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        body = problem(CODES.get(error.status_code, "http_error"), error.detail)
        return refused(request.url.path, error.status_code, body, error.headers)

    @app.exception_handler(SQLAlchemyError)
    async def state(request: Request, error: SQLAlchemyError) -> JSONResponse:
        named = told(request_id=request.state.request_id)
        log.error("the state database failed", exc_info=error, extra=named)
        body = problem("store_unavailable", "The state database could not be read or written.")
        return refused(request.url.path, 503, body, {"Retry-After": str(RETRY_AFTER_S)})


def _as_openai(error: GroundtuneError) -> tuple[int, str]:
    """Return the status and the code that clients of OpenAI know for an error of ours."""
    if isinstance(error, TooLargeError):
        return 400, "context_length_exceeded"
    return error.http_status, error.code


def _place(issue: dict[str, Any]) -> str:
    return ".".join(str(part) for part in issue["loc"] if part not in ("body", "query", "path"))


def _line(issue: dict[str, Any]) -> str:
    where = _place(issue)
    if issue["type"] == "extra_forbidden":
        return f"{where}: there is no such field"
    if issue["type"] == "json_invalid":
        return f"The body is not JSON: {issue['ctx']['error']}"
    message = issue["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else f"The body: {message}"
