"""Errors become answers: one shape, `{"error": {"code", "message", "hint"}}`, in one place."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from assistant.api.connection import ClientGoneError
from ingest.errors import GroundtuneError

log = logging.getLogger(__name__)

CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
RETRY_AFTER_S = 5


def problem(code: str, message: str, hint: str = "") -> dict[str, Any]:
    """Return the body of an error."""
    return {"error": {"code": code, "message": message, "hint": hint}}


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
        if error.http_status >= 500:
            log.warning("%s %s: %s", request.method, request.url.path, error.message)
        headers = {"Retry-After": str(RETRY_AFTER_S)} if error.http_status == 503 else None
        return JSONResponse(problem_of(error), error.http_status, headers)

    @app.exception_handler(ClientGoneError)
    async def gone(_: Request, error: ClientGoneError) -> Response:
        return Response(status_code=499)  # nobody reads it

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        message = "; ".join(_line(issue) for issue in error.errors())
        return JSONResponse(problem("invalid_request", message, "See /docs for the fields."), 422)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        code = CODES.get(error.status_code, "http_error")
        return JSONResponse(problem(code, error.detail), error.status_code, error.headers)

    @app.exception_handler(SQLAlchemyError)
    async def state(request: Request, error: SQLAlchemyError) -> JSONResponse:
        log.error("%s %s", request.method, request.url.path, exc_info=error)
        body = problem("store_unavailable", "The state database could not be read or written.")
        return JSONResponse(body, 503, {"Retry-After": str(RETRY_AFTER_S)})


def _line(issue: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in issue["loc"] if part not in ("body", "query", "path"))
    if issue["type"] == "extra_forbidden":
        return f"{where}: there is no such field"
    if issue["type"] == "json_invalid":
        return f"The body is not JSON: {issue['ctx']['error']}"
    return f"{where}: {issue['msg']}" if where else f"The body: {issue['msg']}"
