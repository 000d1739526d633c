"""`/v1`: the same assistant for clients of OpenAI's chat completions."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse

from assistant.adapter import AUTO, Adapter
from assistant.answer import MODES, Answer, Ask, Event, Finished, Said
from assistant.api.connection import while_connected
from assistant.api.door import Asker
from assistant.api.errors import openai_problem, unexpected
from assistant.api.openai_wire import ChatBody, ChatReply, ModelReply, ModelsReply
from assistant.api.parts import Parts, PartsOf
from assistant.api.routes.ask import answered, answering, bounded, check, first_of
from assistant.api.sse import HEADERS
from assistant.logs import told
from ingest.errors import GroundtuneError, NotFoundError

log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1", tags=["openai"])

OWNER = "groundtune"


@router.get("/models", response_model=ModelsReply)
def models(parts: PartsOf, access: Asker) -> dict[str, Any]:
    """List what `model` can be: an arm, or a tuned arm with its adapter."""
    return {"object": "list", "data": _models(parts)}


@router.get("/models/{model}", response_model=ModelReply)
def model(model: str, parts: PartsOf, access: Asker) -> dict[str, Any]:
    """Show one of them."""
    for listed in _models(parts):
        if listed["id"] == model:
            return listed
    raise NotFoundError(f"There is no model {model!r}.", hint="GET /v1/models lists them.")


@router.post(
    "/chat/completions",
    response_model=ChatReply,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def chat(body: ChatBody, parts: PartsOf, access: Asker, request: Request) -> Any:
    """Answer the last message of a conversation; with `stream`, in chunks.

    The answer's markers are in `annotations`, all else that we know of it in `groundtune`.
    """
    ask = body.ask(body.collection or access.home, request.state.request_id)
    await asyncio.to_thread(check, ask, parts, access)
    reply = _Reply(body, ask, str(request.base_url))
    if not body.stream:
        return JSONResponse(
            reply.whole(await while_connected(request, answered(ask, parts, access)))
        )
    request.state.turnstile.enter()
    events = answering(ask, parts, access)
    first = await while_connected(request, first_of(events))
    chunks = _chunks(first, bounded(request, events), reply)
    return StreamingResponse(chunks, media_type="text/event-stream", headers=HEADERS)


async def _chunks(
    first: Event, events: AsyncIterator[Event], reply: "_Reply"
) -> AsyncIterator[str]:
    async with aclosing(events):  # type: ignore[type-var]  # it is a generator
        try:
            yield _data(reply.chunk({"role": "assistant", "content": ""}))
            for chunk in reply.chunks(first):
                yield _data(chunk)
            async for event in events:
                for chunk in reply.chunks(event):
                    yield _data(chunk)
        except GroundtuneError as failed:
            yield _data(openai_problem(failed.http_status, failed.code, failed.message))
        except Exception:  # the edge of a stream: the status is sent, so the error is a chunk
            named = told(request_id=reply.ask.request_id)
            log.exception("a streamed answer broke off", extra=named)
            error = unexpected(reply.ask.request_id)["error"]
            yield _data(openai_problem(500, error["code"], f"{error['message']} {error['hint']}"))
        else:
            yield "data: [DONE]\n\n"


class _Reply:
    """An answer in OpenAI's words, whole or in chunks."""

    def __init__(self, body: ChatBody, ask: Ask, base_url: str) -> None:
        self.ask = ask
        self._model = body.model
        self._usage = body.stream_options is not None and body.stream_options.include_usage
        self._created = int(time.time())
        self._base_url = base_url
        self._held: bool | None = None

    def whole(self, answer: Answer) -> dict[str, Any]:
        """Return the answer in one piece."""
        message = {
            "role": "assistant",
            "content": answer.answer,
            "refusal": None,
            "annotations": self._annotations(answer),
        }
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": _reason(answer),
        }
        return {
            **self._head("chat.completion"),
            "choices": [choice],
            "usage": _usage(answer),
            "groundtune": self._grounding(answer),
        }

    def chunks(self, event: Event) -> list[dict[str, Any]]:
        """Return what an event of the answer becomes.

        An answer in JSON comes whole at the end, because its citations are only then filled in.
        """
        if isinstance(event, Said):
            if self._held is None:
                self._held = event.text.startswith("{")
            return [] if self._held else [self.chunk({"content": event.text})]
        if not isinstance(event, Finished):
            return []
        answer = event.answer
        found = [self.chunk({"content": answer.answer})] if self._held else []
        last = self.chunk({"annotations": self._annotations(answer)}, _reason(answer))
        found.append(last | {"groundtune": self._grounding(answer)})
        if self._usage:
            head = self._head("chat.completion.chunk")
            found.append({**head, "choices": [], "usage": _usage(answer)})
        return found

    def chunk(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        """Return one chunk."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        chunk = {**self._head("chat.completion.chunk"), "choices": [choice]}
        return {**chunk, "usage": None} if self._usage else chunk

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.ask.request_id}",
            "object": kind,
            "created": self._created,
            "model": self._model,
        }

    def _annotations(self, answer: Answer) -> list[dict[str, Any]]:
        """Return one annotation a citation, where its marker stands; in JSON, on the whole."""
        notes = []
        for citation in answer.citations:
            marker = f"[{citation.marker}]"
            at = answer.answer.rfind(marker)
            span = (at, at + len(marker)) if at >= 0 else (0, len(answer.answer))
            place = {
                "start_index": span[0],
                "end_index": span[1],
                "title": citation.title or citation.source,
                "url": f"{self._base_url}api/documents/{citation.document_id}",
            }
            notes.append({"type": "url_citation", "url_citation": place})
        return notes

    def _grounding(self, answer: Answer) -> dict[str, Any]:
        body = answer.body()
        kept = (
            "request_id mode adapter choice abstained citations support markers_removed "
            "evidence_dropped history_dropped timings_ms"
        )
        system = "none" if not self.ask.system else "left_out" if answer.adapter else "added"
        return {**{key: body[key] for key in kept.split()}, "system": system}


def _models(parts: Parts) -> list[dict[str, Any]]:
    adapters = parts.workspace.adapters.list()
    listed = [_model(mode, 0) for mode in MODES if adapters or mode in ("base", "rag")]
    if adapters:
        listed += [_model(f"{mode}:{AUTO}", 0) for mode in MODES[2:]]
    for adapter in adapters:
        created = _created(adapter)
        listed += [_model(f"{mode}:{adapter.reference}", created) for mode in MODES[2:]]
    return listed


def _model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": OWNER}


def _created(adapter: Adapter) -> int:
    """Return when an adapter was made, in seconds since 1970; 0 where its manifest has no time."""
    try:
        return int(datetime.fromisoformat(str(adapter.manifest.get("created"))).timestamp())
    except ValueError:
        return 0


def _reason(answer: Answer) -> str:
    return "length" if answer.finish_reason == "length" else "stop"


def _usage(answer: Answer) -> dict[str, int]:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
    }


def _data(chunk: dict[str, Any]) -> str:
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"
