"""llama.cpp inside this process, through xllamacpp: no server, no account."""

import asyncio
import json
import os
import threading
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from assistant.engines.engine import AdapterFile, Message, Piece, Request, Usage
from assistant.engines.queue import RequestQueue
from assistant.gguf_header import open_header
from ingest.errors import EngineError, GroundtuneError, UsageError

QUIET = -1
ANSWER, LOAD = "answer", "load"
"""Groups of the queue: nobody answers while the model is loaded again."""
OF_SCHEMAS = ("grammar", "schema", "sampler")
"""Words of llama.cpp's errors that are about the schema of a request."""
SLOT = 0
"""Of llama.cpp, where repeatable requests are answered, one at a time."""


class _Opening(NamedTuple):
    """What prompts begin with in common: all messages but the last, and its first words."""

    messages: tuple[Message, ...]
    adapter: AdapterFile | None
    tokens: list[int]


class EmbeddedEngine:
    """One base model with any number of adapters beside it, switched for each request."""

    def __init__(
        self,
        model: Path,
        *,
        name: str,
        context_tokens: int,
        parallel: int,
        waiting: int = 64,
        threads: int = 0,
        adapters: Sequence[AdapterFile] = (),
    ) -> None:
        """Load `model`, a GGUF file, with `adapters`.

        Args:
            model: the GGUF file.
            name: what answers call the model.
            context_tokens: window of each request, prompt and answer together.
            parallel: requests generated at the same time; more wait.
            waiting: requests that may wait; more are refused.
            threads: processor threads; 0 takes as many as there are cores.
            adapters: loaded at once; others are loaded when they are first asked for.

        Raises:
            ConfigError: the file is no GGUF model.
            EngineError: llama.cpp cannot load it.
        """
        self.name = name
        self.context_tokens = context_tokens
        self._model = model
        self._parallel = parallel
        self._threads = threads or os.cpu_count() or 1
        self._adapters: dict[str, AdapterFile] = {a.name: a for a in adapters}
        self.queue = RequestQueue(parallel, waiting)
        # The loop's own pool has four threads more than there are cores: too few for many requests,
        # and everybody else waits for it while they are generated.
        self._workers = ThreadPoolExecutor(parallel, thread_name_prefix="generate")
        self._reloading = asyncio.Lock()
        self._repeating = threading.Lock()
        self._opened: _Opening | None = None
        self.server = self._load()

    async def prompt_tokens(self, messages: Sequence[Message]) -> list[int]:
        """Return the ids of the prompt that `messages` become, the chat template applied."""
        return await asyncio.to_thread(self._tokens, messages)

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        """Yield text pieces; the last piece carries the usage.

        Raises:
            UsageError: there is no grammar for the schema.
            EngineError: llama.cpp refused the request or failed in it.
            EngineUnavailableError: too many requests wait already.
        """
        await self._ensure(request.adapter)
        async with self.queue.turn(ANSWER):
            queue: asyncio.Queue[Piece | GroundtuneError | None] = asyncio.Queue()
            loop = asyncio.get_running_loop()
            stop = threading.Event()
            reason = ["stop"]

            def put(item: Piece | GroundtuneError | None) -> None:
                loop.call_soon_threadsafe(queue.put_nowait, item)

            def on_chunk(chunk: dict[str, Any]) -> bool:
                for item in self._items(chunk, reason, request):
                    put(item)
                return stop.is_set()  # True ends the generation

            def work() -> None:
                try:
                    with self._repeating if request.repeatable else nullcontext():
                        self._prepare(request)
                        self.server.handle_chat_completions(self.body(request), on_chunk)
                except (RuntimeError, ValueError) as error:
                    put(self._refusal(str(error), request))
                finally:
                    put(None)

            worker = loop.run_in_executor(self._workers, work)
            usage: Usage | None = None
            try:
                while (item := await queue.get()) is not None:
                    if isinstance(item, GroundtuneError):
                        raise item
                    usage = item.usage or usage
                    if item.text:
                        yield item
            finally:
                stop.set()
                await asyncio.shield(worker)
            if usage is None:
                raise EngineError(f"{self.name} stopped in the middle of an answer.")
            yield Piece(usage=usage)

    async def check(self) -> None:
        """Raise unless the model answers.

        Raises:
            EngineError: it does not.
        """
        await self.prompt_tokens([Message("user", "ready?")])

    def close(self) -> None:
        """Let go of the model."""
        self.server = None
        self._workers.shutdown(wait=False)

    def _refusal(self, why: str, request: Request) -> GroundtuneError:
        """Return the error of a request that llama.cpp did not take."""
        if request.schema is not None and any(word in why.lower() for word in OF_SCHEMAS):
            return UsageError(
                f"The schema cannot be made into a grammar: {why}",
                hint="Leave out what is unusual in it: long repetitions, patterns, contradictions.",
            )
        return EngineError(f"{self.name} refused the request: {why}")

    def _items(
        self, chunk: dict[str, Any], reason: list[str], request: Request
    ) -> list[Piece | GroundtuneError]:
        """Return what one chunk of the stream carries; `reason` keeps why it ended for the last."""
        if "error" in chunk:
            return [self._refusal(str(chunk["error"].get("message")), request)]
        items: list[Piece | GroundtuneError] = []
        for choice in chunk["choices"]:
            reason[0] = choice.get("finish_reason") or reason[0]
            if text := choice.get("delta", {}).get("content"):
                items.append(Piece(text))
        if counts := chunk.get("usage"):
            usage = Usage(counts["prompt_tokens"], counts["completion_tokens"], reason[0])
            items.append(Piece(usage=usage))
        return items

    def _load(self) -> Any:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(self._model)
        params.n_ctx = self.context_tokens * self._parallel
        params.n_parallel = self._parallel
        params.cpuparams.n_threads = self._threads
        params.cpuparams_batch.n_threads = self._threads
        params.use_jinja = True
        params.verbosity = QUIET
        params.lora_init_without_apply = True
        params.lora_adapters = [
            xllamacpp.CommonAdapterLoraInfo(str(adapter.gguf), 0.0)
            for adapter in self._adapters.values()
        ]
        try:
            return xllamacpp.Server(params)
        except RuntimeError as error:
            with open_header(self._model):  # it says so if this is no model
                pass
            raise EngineError(f"llama.cpp cannot load {self._model.name}: {error}") from None

    async def _ensure(self, adapter: AdapterFile | None) -> None:
        """Load an adapter that is new; waits until no request is being generated."""
        if adapter is None or self._adapters.get(adapter.name) == adapter:
            return
        async with self._reloading:
            if self._adapters.get(adapter.name) == adapter:
                return
            async with self.queue.turn(LOAD):
                self._adapters[adapter.name] = adapter
                self.server = self._opened = None  # two models at once would double the memory
                self.server = await asyncio.to_thread(self._load)

    def body(self, request: Request) -> dict[str, Any]:
        """Return what llama.cpp is asked for `request`."""
        body: dict[str, Any] = {
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
            "stop": list(request.stop),
            "stream": True,
            "stream_options": {"include_usage": True},
            "cache_prompt": True,
            "lora": self._lora(request.adapter),
        }
        if request.repeatable:
            body["id_slot"] = SLOT
        if request.schema is not None:
            schema = {key: value for key, value in request.schema.items() if key != "$schema"}
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema, "strict": True},
            }
        return body

    def _prepare(self, request: Request) -> None:
        """Leave in the slot of repeatable requests what opens the prompt, and nothing else.

        llama.cpp reuses what a prompt has in common with the one before, computes the rest in one
        batch, and rounds by the size of the batch: the last bits of a number, and sooner or later
        a word, depend on the question before. So what is reused is fixed here, and was computed the
        same way each time: in one batch, but for the last token, which is always computed again.
        """
        opened, self._opened = self._opened, None
        if not request.repeatable:
            return
        first = tuple(request.messages[:-1])
        if opened is None or (opened.messages, opened.adapter) != (first, request.adapter):
            one, other = (self._tokens([*first, Message("user", text)]) for text in ("0", "?"))
            tokens = list(os.path.commonprefix([one, other]))
            opened = _Opening(first, request.adapter, tokens)
            self._read(opened, afresh=True)
        self._read(opened, afresh=False)
        self._opened = opened

    def _read(self, opening: "_Opening", *, afresh: bool) -> None:
        """Let the model read an opening and say nothing."""
        body = {
            "prompt": opening.tokens,
            "max_tokens": 1,  # it is chosen and not read
            "cache_prompt": not afresh,
            "id_slot": SLOT,
            "lora": self._lora(opening.adapter),
        }
        found: list[dict[str, Any]] = []

        def on_chunk(chunk: dict[str, Any]) -> bool:
            found.append(chunk)
            return False

        self.server.handle_completions(body, on_chunk)
        if found and "error" in found[-1]:
            raise RuntimeError(found[-1]["error"].get("message"))

    def _lora(self, adapter: AdapterFile | None) -> list[dict[str, Any]]:
        return [
            {"id": number, "scale": 1.0 if adapter == known else 0.0}
            for number, known in enumerate(self._adapters.values())
        ]

    def _tokens(self, messages: Sequence[Message]) -> list[int]:
        turns = [{"role": m.role, "content": m.content} for m in messages]
        prompt = self._post("/apply-template", {"messages": turns})["prompt"]
        found: list[int] = self._post("/tokenize", {"content": prompt, "parse_special": True})[
            "tokens"
        ]
        return found

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Ask the model's own loopback endpoint, which has what the binding does not expose."""
        call = urllib.request.Request(
            self.server.listening_address + path,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(call, timeout=30) as response:
                return json.load(response)
        except OSError as error:
            raise EngineError(f"{self.name} does not answer on its own port: {error}") from None
