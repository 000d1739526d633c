"""An Ollama server as the engine.

The server is sent finished prompt text, never messages: what a model reads is rendered and counted
here, from the same GGUF file and by the same rules as in training, and the server's own count must
agree. Each adapter is a model of its own there, made by `groundtune adapters deploy`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import ollama

from assistant.engines.engine import AdapterFile, Message, Piece, Request, Usage
from assistant.engines.ollama_models import (
    OllamaModels,
    base_name,
    base_url,
    errors_of,
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
from ingest.errors import GroundtuneError, MissingModelError

# What the embedded engine samples with; the server's own defaults differ, and its penalty for
# repeated tokens would change even greedy answers.
SAMPLING = {"repeat_penalty": 1.0, "top_k": 40, "top_p": 0.95, "min_p": 0.05}
# The client raises the last three for lines that are no JSON, or JSON of another shape.
FAILURES = (httpx.TransportError, ollama.ResponseError, ValueError, TypeError, AttributeError)

Chunks = AsyncGenerator[ollama.GenerateResponse, None]


class OllamaEngine:
    """One base model on an Ollama server, with its adapters beside it as models of their own."""

    def __init__(
        self,
        model: Path,
        *,
        name: str,
        base_sha256: str,
        context_tokens: int,
        parallel: int,
        waiting: int,
        url: str = "",
        timeout_s: float = 120.0,
        threads: int = 0,
        prefix: str = PREFIX,
    ) -> None:
        """Answer through the server at `url`; nothing is sent before the first request.

        Args:
            model: the base model's GGUF file, for its tokenizer and chat template.
            name: what answers call the model.
            base_sha256: of `model`; the server's model is named after it.
            context_tokens: window of each request, prompt and answer together.
            parallel: requests that the server works on at the same time; more wait here.
            waiting: requests that may wait; more are refused.
            url: empty takes the server on this machine.
            timeout_s: longest silence of the server, the loading of the model included.
            threads: processor threads of the server; 0 leaves them to it.
            prefix: of every name on the server.

        Raises:
            ConfigError: `model` is not a GGUF model with a chat template.
        """
        self.name = name
        self.context_tokens = context_tokens
        self.url = base_url(url)
        self.queue = RequestQueue(parallel, waiting)
        self._base = base_name(base_sha256, prefix)
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._errors = errors_of(self.url)
        self._threads = {"num_thread": threads} if threads else {}
        self._tokenizer = GgufTokenizer(model)
        self._models = OllamaModels(self.url, timeout=min(timeout_s, CONNECT_S))
        self._checked = False
        self._client = ollama.AsyncClient(
            self.url,
            timeout=patience(timeout_s),
            trust_env=not is_loopback(self.url),
            limits=FRESH,
        )

    async def prompt_tokens(self, messages: Sequence[Message]) -> list[int]:
        """Return the ids of the prompt that `messages` become, the chat template applied."""
        return (await asyncio.to_thread(self._tokenizer.prompt, messages)).tokens

    async def check(self) -> None:
        """Raise unless the server is there, new enough, and has the base model.

        Raises:
            EngineUnavailableError: no such server.
            MissingModelError: it does not have the model.
        """
        await asyncio.to_thread(self._models.version)
        if not await asyncio.to_thread(self._models.exists, self._base):
            raise self._missing(self._base, None)

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        """Yield text pieces; the last piece carries the usage.

        Raises:
            EngineError: the server failed, or read another prompt than was sent.
            EngineUnavailableError: it is not there, is silent, or too many wait for it already.
            MissingModelError: the server does not have the model or the adapter.
        """
        prompt = await asyncio.to_thread(self._tokenizer.prompt, request.messages)
        room = room_for(len(prompt.tokens), self.context_tokens)
        model = self.model_of(request.adapter)
        async with self.queue.turn(model):
            if not self._checked:
                await asyncio.to_thread(self._models.version)
                self._checked = True
            body = self.body(request, prompt.text, room)
            async with aclosing(self._chunks(model, request.adapter, body)) as chunks:
                async for chunk in chunks:
                    if chunk.response:
                        yield Piece(chunk.response)
                    if chunk.done:
                        yield Piece(usage=self._usage(chunk, len(prompt.tokens)))
                        return

    def model_of(self, adapter: AdapterFile | None) -> str:
        """Return what the server calls the base model, or the base with `adapter`."""
        return self._base if adapter is None else self._prefix + adapter.name

    def render(self, messages: Sequence[Message]) -> str:
        """Return the prompt text that the server is sent for `messages`."""
        return self._tokenizer.render(messages)

    def body(self, request: Request, prompt: str, room: int) -> dict[str, Any]:
        """Return what the server is asked for `request`; `room` is in tokens."""
        schema = request.schema
        return {
            "prompt": prompt,
            "raw": True,
            "think": False,  # what a model thinks aloud is part of its answer, as in training
            "format": None if schema is None else {k: schema[k] for k in schema if k != "$schema"},
            "options": {
                **SAMPLING,
                **self._threads,
                "num_ctx": self.context_tokens,
                # Past the window the server would drop the start of the prompt and go on.
                "num_predict": min(request.max_tokens, room),
                "temperature": request.temperature,
                "seed": request.seed,
                "stop": [*request.stop, *self._tokenizer.end_tokens],
            },
        }

    def close(self) -> None:
        """Let go of the tokenizer and the connections; the models stay on the server."""
        self._tokenizer.close()
        self._models.close()

    async def _chunks(
        self, model: str, adapter: AdapterFile | None, body: dict[str, Any]
    ) -> Chunks:
        """Yield the server's chunks up to the one that says `done`.

        Raises:
            EngineError: anything else came, or nothing; what was yielded is not an answer.
        """
        begun = False
        try:
            async with aclosing(await self._open(model, body)) as chunks:
                async for chunk in chunks:
                    begun = True
                    yield chunk
                    if chunk.done:
                        return
        except FAILURES as error:
            raise self._failure(error, model, adapter, begun=begun) from None
        raise self._errors.unfinished(
            "Its log says why. It also does so when a model repeats one token over and over."
        )

    async def _open(self, model: str, body: dict[str, Any]) -> Chunks:
        """Connect; a refused connection has cost the server nothing, so it is tried again.

        Nothing else is: a request that the server has taken may be at work there.
        """
        for pause in (*RETRY_PAUSES_S, None):
            chunks: Any = await self._client.generate(model, stream=True, **body)
            try:
                first = await anext(chunks, None)
            except httpx.ConnectError:
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            else:
                return _joined(first, chunks)
        raise AssertionError("the last pause ends the loop")

    def _usage(self, chunk: ollama.GenerateResponse, sent: int) -> Usage:
        if chunk.prompt_eval_count != sent:
            hint = "Deploy again: groundtune adapters deploy NAME"
            raise self._errors.miscounted(chunk.prompt_eval_count, sent, hint)
        if chunk.done_reason not in ("stop", "length"):
            raise self._errors.odd_ending(chunk.done_reason)
        return Usage(sent, chunk.eval_count or 0, chunk.done_reason)

    def _failure(
        self, error: Exception, model: str, adapter: AdapterFile | None, *, begun: bool
    ) -> GroundtuneError:
        """Return our error for what the client raised; `begun` once an answer was on its way."""
        if isinstance(error, httpx.TransportError):
            return self._errors.lost(error, begun=begun, timeout_s=self._timeout_s)
        if isinstance(error, ollama.ResponseError):
            return self._said(error, model, adapter)
        return self._errors.garbage(error)

    def _said(
        self, error: ollama.ResponseError, model: str, adapter: AdapterFile | None
    ) -> GroundtuneError:
        """Return our error for one that the server put into words."""
        if error.status_code == 404:
            return self._missing(model, adapter)
        message = str(error.error).strip()
        if (memory := self._errors.out_of_memory(message)) is not None:
            return memory
        if error.status_code > 0:
            return self._errors.refused(error.status_code, message)
        return self._errors.broke_off(message)

    def _missing(self, model: str, adapter: AdapterFile | None) -> MissingModelError:
        what = "base model" if adapter is None else f"adapter {adapter.name}"
        command = "models fetch" if adapter is None else f"adapters deploy {adapter.name}"
        return MissingModelError(
            f"The Ollama server at {self.url} has no model {model}, which is the {what}.",
            hint=f"Put it there with: groundtune {command}",
        )


async def _joined(first: ollama.GenerateResponse | None, rest: Chunks) -> Chunks:
    """Yield `first` and then `rest`, which is closed with this generator."""
    async with aclosing(rest):
        if first is None:
            return
        yield first
        async for chunk in rest:
            yield chunk
