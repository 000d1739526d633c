"""`POST /api/ask`."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse

from assistant.access import Access
from assistant.answer import Answer, Ask, Event, Finished, Found, Said
from assistant.api.connection import while_connected
from assistant.api.door import Asker
from assistant.api.errors import problem_of, unexpected
from assistant.api.parts import Parts, PartsOf
from assistant.api.sse import event, stream
from assistant.api.wire import AskBody, AskReply
from assistant.bodies import evidence_body
from assistant.logs import told
from ingest.errors import EngineError, GroundtuneError, TooLargeError

log = logging.getLogger(__name__)
router = APIRouter(prefix="/api", tags=["ask"])


@router.post(
    "/ask",
    response_model=AskReply,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def ask(body: AskBody, parts: PartsOf, access: Asker, request: Request) -> Any:
    """Answer a question; with `stream`, as server-sent events.

    The events are `evidence`, any number of `text`, and `done` with the whole body; or `error` as
    the last one, and then there is no answer.
    """
    named = body.collection if "collection" in body.model_fields_set else access.home
    question = replace(body.ask(request.state.request_id), collection=named)
    await asyncio.to_thread(check, question, parts, access)
    if not body.stream:
        answer = await while_connected(request, answered(question, parts, access))
        return JSONResponse(answer.body())
    request.state.turnstile.enter()
    return await _streamed(answering(question, parts, access), request)


def check(ask: Ask, parts: Parts, access: Access) -> None:
    """Refuse a question that is too long, or that asks about nothing its asker can see."""
    check_length(ask.question, parts)
    if ask.mode in ("rag", "combined") or not access.sees(ask.collection):
        parts.workspace.check_collection(ask.collection, access)


async def answering(ask: Ask, parts: Parts, access: Access) -> AsyncIterator[Event]:
    """Yield the events of an answer, which is remembered before its end is told."""
    async with aclosing(parts.workspace.assistant.stream(ask)) as events:  # type: ignore[type-var]
        with parts.observer.answering(ask.request_id):
            async for item in events:
                if isinstance(item, Finished):
                    await asyncio.to_thread(parts.feedback.remember, ask, item.answer, access)
                    parts.observer.answered(item.answer)
                yield item


async def answered(ask: Ask, parts: Parts, access: Access) -> Answer:
    """Return the whole answer, which is remembered."""
    async for item in answering(ask, parts, access):
        if isinstance(item, Finished):
            return item.answer
    raise EngineError("The answer ended before it was finished.")


def check_length(question: str, parts: Parts) -> None:
    """Refuse a question or query over the limit."""
    limit = parts.workspace.settings.limits.question_chars
    if len(question) > limit:
        raise TooLargeError(
            f"The question has {len(question)} characters; the limit is {limit}.",
            hint="Ask a shorter one, or raise limits.question_chars.",
        )


async def _streamed(events: AsyncIterator[Event], request: Request) -> StreamingResponse:
    # What is wrong with the request, or keeps the model from beginning, shows before the first
    # event: then it is an ordinary error.
    first = await while_connected(request, first_of(events))
    rest = bounded(request, events)
    return stream(_written(first, rest, request.state.request_id))


async def first_of(events: AsyncIterator[Event]) -> Event:
    """Return the first event; until it, whatever goes wrong is an ordinary error."""
    return await anext(events)


async def bounded(request: Request, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
    """Yield what is left of a stream, until the service has to end."""
    async with aclosing(events):  # type: ignore[type-var]  # it is a generator
        async for event in request.app.state.goodbye.bounded(events):
            yield event


async def _written(
    first: Event, events: AsyncIterator[Event], request_id: str
) -> AsyncIterator[str]:
    async with aclosing(events):  # type: ignore[type-var]  # it is a generator
        try:
            yield _event(first)
            async for following in events:
                yield _event(following)
        except GroundtuneError as error:
            yield event("error", problem_of(error))
        except Exception:  # the edge of a stream: the status is sent, so the error is an event
            log.exception("a streamed answer broke off", extra=told(request_id=request_id))
            yield event("error", unexpected(request_id))


def _event(item: Event) -> str:
    if isinstance(item, Found):
        return event("evidence", {"evidence": [evidence_body(e) for e in item.evidence]})
    if isinstance(item, Said):
        return event("text", {"text": item.text})
    return event("done", item.answer.body())
