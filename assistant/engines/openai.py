"""Any OpenAI-compatible server as the engine: vLLM, llama.cpp's own server, and others.

The server is sent finished prompt text, never messages: what a model reads is rendered and counted
here, by the same rules as in training, and the server's own count must agree. Each adapter is a
model name of its own there; vLLM answers with several of them at the same time.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from assistant.engines.engine import AdapterFile, Message, Piece, Request, Usage
from assistant.engines.openai_models import (
    OpenAIModels,
    base_of,
    base_url,
    denied,
    errors_of,
    headers_of,
    message_of,
    served_adapter,
)
from assistant.engines.queue import RequestQueue
from assistant.engines.server import (
    CONNECT_S,
    FRESH,
    PREFIX,
    RETRY_PAUSES_S,
    is_loopback,
    patience,
    room_for,
)
from assistant.engines.tokenizer import GgufTokenizer
from ingest.errors import EngineError, GroundtuneError, MissingModelError

# What the other engines sample with. A server's own defaults differ, and vLLM takes them from the
# model's folder; a penalty for repeated tokens would change even greedy answers. vLLM and llama.cpp
# call it by different names, and each passes over what it does not know.
SAMPLING = {
    "top_k": 40,
    "top_p": 0.95,
    "min_p": 0.05,
    "repetition_penalty": 1.0,
    "repeat_penalty": 1.0,
}
DONE = "[DONE]"
FAILURES = (ValueError, TypeError, LookupError, AttributeError)
"""What reading an answer of another shape raises."""


@dataclass(slots=True)
class _Ending:
    """What the stream has said so far of its end."""

    reason: str | None = None
    counts: Mapping[str, Any] | None = None


class OpenAIEngine:
    """One base model on an OpenAI-compatible server, with its adapters beside it by name."""

    def __init__(
        self,
        model: Path,
        *,
        name: str,
        context_tokens: int,
        parallel: int,
        waiting: int,
        url: str = "",
        served_name: str = "",
        api_key: str = "",
        timeout_s: float = 120.0,
        prefix: str = PREFIX,
    ) -> None:
        """Answer through the server at `url`; nothing is sent before the first request.

        Args:
            model: the base model's GGUF file, for its tokenizer and chat template.
            name: what answers call the model.
            context_tokens: window of each request, prompt and answer together.
            parallel: requests that the server works on at the same time; more wait here.
            waiting: requests that may wait; more are refused.
            url: empty takes port 8001 of this machine.
            served_name: what the server calls the base model; empty takes the first it lists.
            api_key: sent as bearer token; empty sends none.
            timeout_s: longest silence of the server.
            prefix: of every adapter's name on the server.

        Raises:
            ConfigError: `model` is not a GGUF model with a chat template.
        """
        self.name = name
        self.context_tokens = context_tokens
        self.url = base_url(url)
        self.queue = RequestQueue(parallel, waiting)
        self._base = served_name
        self._served_name = served_name
        self._prefix = prefix
        self._timeout_s = timeout_s
        self.api_key = api_key
        self._errors = errors_of(self.url)
        self._tokenizer = GgufTokenizer(model)
        self._models = OpenAIModels(self.url, api_key=api_key, timeout=min(timeout_s, CONNECT_S))
        self._client = httpx.AsyncClient(
            base_url=self.url,
            timeout=patience(timeout_s),
            headers=headers_of(api_key),
            trust_env=not is_loopback(self.url),
            limits=FRESH,
        )

    async def prompt_tokens(self, messages: Sequence[Message]) -> list[int]:
        """Return the ids of the prompt that `messages` become, the chat template applied."""
        return (await asyncio.to_thread(self._tokenizer.prompt, messages)).tokens

    async def check(self) -> None:
        """Raise unless the server is there and serves the base model with a large enough window.

        Raises:
            EngineUnavailableError: no such server.
            MissingModelError: it does not serve the model.
            EngineError: its window is too small, or it wants another key.
        """
        await asyncio.to_thread(self._find_base)

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        """Yield text pieces; the last piece carries the usage.

        Raises:
            EngineError: the server failed, or read another prompt than was sent.
            EngineUnavailableError: it is not there, is silent, or too many wait for it already.
            MissingModelError: the server does not have the model or the adapter.
        """
        prompt = await asyncio.to_thread(self._tokenizer.prompt, request.messages)
        room = room_for(len(prompt.tokens), self.context_tokens)
        async with self.queue.turn():
            if not self._base:
                await self.check()
            body = self.body(request, prompt.text, room)
            ending = _Ending()
            async with aclosing(self._chunks(body, request.adapter)) as chunks:
                async for chunk in chunks:
                    if text := self._read(chunk, ending, request.adapter):
                        yield Piece(text)
            yield Piece(usage=self._usage(ending, len(prompt.tokens)))

    def model_of(self, adapter: AdapterFile | None) -> str:
        """Return what the server calls the base model, or the base with `adapter`."""
        return self._base if adapter is None else served_adapter(adapter.name, self._prefix)

    def render(self, messages: Sequence[Message]) -> str:
        """Return the prompt text that the server is sent for `messages`."""
        return self._tokenizer.render(messages)

    def body(self, request: Request, prompt: str, room: int) -> dict[str, Any]:
        """Return what the server is asked for `request`; `room` is in tokens."""
        body: dict[str, Any] = {
            **SAMPLING,
            "model": self.model_of(request.adapter),
            "prompt": prompt,
            "max_tokens": min(request.max_tokens, room),
            "temperature": request.temperature,
            "seed": request.seed,
            "stop": [*request.stop, *self._tokenizer.end_tokens],
            # vLLM does not show the text of control tokens, so it cannot stop at it.
            "stop_token_ids": self._tokenizer.end_ids,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.schema is not None:
            schema = {key: value for key, value in request.schema.items() if key != "$schema"}
            # The first is read by vLLM (and is the standard's way), the second by llama.cpp.
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema, "strict": True},
            }
            body["json_schema"] = schema
        return body

    def close(self) -> None:
        """Let go of the tokenizer and the connections."""
        self._tokenizer.close()
        self._models.close()

    def _find_base(self) -> None:
        models = self._models.list()
        if self._served_name:
            base = next((model for model in models if model.name == self._served_name), None)
            if base is None:
                raise self._missing(None)
        else:
            base = base_of(models, self.url)
        if 0 < base.context_tokens < self.context_tokens:
            raise EngineError(
                f"The server at {self.url} reads {base.context_tokens} tokens, and "
                f"engine.context_tokens is {self.context_tokens}.",
                hint="Lower engine.context_tokens, or start vLLM with a larger --max-model-len.",
            )
        self._base = base.name

    async def _chunks(
        self, body: dict[str, Any], adapter: AdapterFile | None
    ) -> AsyncGenerator[dict[str, Any]]:
        """Yield the server's chunks up to its mark of the end.

        Raises:
            EngineError: anything else came, or nothing; what was yielded is not an answer.
        """
        begun = False
        try:
            response = await self._open(body)
            try:
                if response.status_code != 200:
                    await response.aread()
                    raise self._refusal(response, adapter)
                async with aclosing(_events(response)) as events:
                    async for event in events:
                        if event == DONE:
                            return
                        begun = True
                        yield json.loads(event)
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            raise self._errors.lost(error, begun=begun, timeout_s=self._timeout_s) from None
        except ValueError as error:
            raise self._errors.garbage(error) from None
        raise self._errors.unfinished()

    async def _open(self, body: dict[str, Any]) -> httpx.Response:
        """Connect; a refused connection has cost the server nothing, so it is tried again.

        Nothing else is: a request that the server has taken may be at work there.
        """
        request = self._client.build_request("POST", "/v1/completions", json=body)
        for pause in (*RETRY_PAUSES_S, None):
            try:
                return await self._client.send(request, stream=True)
            except httpx.ConnectError:
                if pause is None:
                    raise
                await asyncio.sleep(pause)
        raise AssertionError("the last pause ends the loop")

    def _read(self, chunk: dict[str, Any], ending: _Ending, adapter: AdapterFile | None) -> str:
        """Return the text of a chunk, and keep in `ending` what it says of the end."""
        try:
            if "error" in chunk:
                said = message_of(json.dumps(chunk), self.api_key)
                raise self._errors.out_of_memory(said) or self._errors.broke_off(said)
            # llama.cpp answers with its one model, whatever was asked for.
            if adapter is not None and chunk["model"] != self.model_of(adapter):
                raise self._missing(adapter)
            ending.counts = chunk.get("usage") or ending.counts
            text = ""
            for choice in chunk["choices"]:
                ending.reason = choice.get("finish_reason") or ending.reason
                text += choice["text"]
            return text
        except FAILURES as error:
            raise self._errors.garbage(error) from None

    def _usage(self, ending: _Ending, sent: int) -> Usage:
        if ending.reason is None or ending.counts is None:
            raise self._errors.unfinished()
        read, written = (ending.counts.get(f"{k}_tokens") for k in ("prompt", "completion"))
        if read != sent:
            raise self._errors.miscounted(
                read, sent, "Serve the model that engine.model names, with its own tokenizer."
            )
        if ending.reason not in ("stop", "length"):
            raise self._errors.odd_ending(ending.reason)
        return Usage(sent, int(written or 0), ending.reason)

    def _refusal(self, response: httpx.Response, adapter: AdapterFile | None) -> GroundtuneError:
        message = message_of(response.text, self.api_key)
        if response.status_code == 404:
            if "error" not in response.text:
                return self._errors.garbage(ValueError(message))
            missing = self._missing(adapter)
            self._base = self._served_name  # it may have come back with another model
            return missing
        return denied(self._errors, response.status_code, message)

    def _missing(self, adapter: AdapterFile | None) -> MissingModelError:
        if adapter is None:
            return MissingModelError(
                f"The server at {self.url} has no model {self._base or self._served_name}.",
                hint="Set engine.served_name to what it calls the base model, or leave it out.",
            )
        return MissingModelError(
            f"The server at {self.url} has no model {self.model_of(adapter)}, which is the adapter "
            f"{adapter.name}.",
            hint=f"Put it there with: groundtune adapters deploy {adapter.name} --engine openai",
        )


async def _events(response: httpx.Response) -> AsyncGenerator[str]:
    """Yield what stands behind `data:` in each line of a stream.

    Raises:
        ValueError: a line is of another kind.
    """
    rest = b""
    # Not by the client's own lines: these also end at U+2028, which may stand in an answer.
    async for part in response.aiter_bytes():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if event := _event(line):
                yield event
    if event := _event(rest):
        yield event


def _event(line: bytes) -> str:
    text = line.decode().strip("\r ")
    if not text or text.startswith(":"):  # a line that only keeps the connection open
        return ""
    if not text.startswith("data:"):
        raise ValueError(text[:200])
    return text.removeprefix("data:").strip()
