"""Looks into an engine: what it holds likely behind any text, not only behind a question."""

import json
import shlex
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from assistant.engines.engine import AdapterFile, Engine, Request
from assistant.engines.ollama_models import OllamaModels
from assistant.engines.openai_models import OpenAIModels, headers_of
from assistant.engines.server import is_loopback
from finetune.reference import TOP, Likely
from ingest.errors import EngineError, MissingModelError, UsageError

if TYPE_CHECKING:
    from assistant.engines.embedded import EmbeddedEngine
    from assistant.engines.ollama import OllamaEngine
    from assistant.engines.openai import OpenAIEngine

UNTOLD = "bf16"
SILENCE_S = 300.0  # the server may have to load the model first


@dataclass(frozen=True, slots=True)
class Resumed:
    """How an engine goes on, greedily."""

    text: str
    finished: bool
    """It ended its turn; false where the limit cut it."""
    top: tuple[Likely, ...]
    """The likeliest next tokens, the likeliest first."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an engine says of the model that it serves."""

    weights: str
    """Type of its weights in lower case: `q8_0`, `f16`, ..."""
    end_tokens: tuple[str, ...]
    """Texts that end an answer."""


class Probe(Protocol):
    """One engine, seen closer than an assistant needs."""

    def facts(self, adapter: AdapterFile) -> Facts:
        """Return what is known of the model that `adapter` is served with."""
        ...

    def resume(
        self, ids: Sequence[int], text: str, adapter: AdapterFile, *, max_tokens: int
    ) -> Resumed:
        """Go on behind a prompt, given both as token ids and as text.

        Raises:
            EngineError: the engine failed.
        """
        ...


class EmbeddedProbe:
    """Looks into llama.cpp in this process."""

    def __init__(self, engine: "EmbeddedEngine") -> None:
        self._engine = engine

    def facts(self, adapter: AdapterFile) -> Facts:
        """Return what llama.cpp says of its model."""
        address = self._engine.server.listening_address + "/props"
        try:
            with urllib.request.urlopen(address, timeout=30) as response:
                props = json.load(response)
        except OSError as error:
            raise EngineError(f"llama.cpp does not answer on its own port: {error}") from None
        return Facts(str(props["model_ftype"]).lower(), (str(props["eos_token"]),))

    def resume(
        self, ids: Sequence[int], text: str, adapter: AdapterFile, *, max_tokens: int
    ) -> Resumed:
        """Go on behind `ids`."""
        body = {
            "prompt": list(ids),
            "max_tokens": max_tokens,
            "temperature": 0,
            "logprobs": TOP,
            "lora": self._engine.body(Request([], adapter=adapter))["lora"],
            "cache_prompt": True,
        }
        chunks: list[dict[str, Any]] = []

        def on_chunk(chunk: dict[str, Any]) -> bool:
            chunks.append(chunk)
            return False

        try:
            self._engine.server.handle_completions(body, on_chunk)
            choice = chunks[-1]["choices"][0]
            first = choice["logprobs"]["content"][:1]
        except (RuntimeError, LookupError, TypeError) as error:
            found = f"{type(error).__name__}: {error}; it answered {chunks}"
            raise EngineError(f"llama.cpp did not say what is likely: {found[:400]}") from None
        top = [_likely(token) for place in first for token in place["top_logprobs"]]
        return Resumed(choice["text"], choice["finish_reason"] == "stop", tuple(top))


class OllamaProbe:
    """Looks into the models of an Ollama server, asking exactly as the engine asks."""

    def __init__(self, engine: "OllamaEngine") -> None:
        self._engine = engine

    def facts(self, adapter: AdapterFile) -> Facts:
        """Return the weights' type and the end tokens that the model has and the engine sends."""
        with OllamaModels(self._engine.url) as models:
            shown = models.show(self._engine.model_of(adapter))
        lines = [shlex.split(line) for line in (shown.get("parameters") or "").splitlines()]
        sent = self._body("", adapter, 1)["options"]["stop"]
        ends = [line[1] for line in lines if len(line) == 2 and line[0] == "stop"]
        kind = str(shown["details"]["quantization_level"]).lower()
        return Facts(kind, tuple(end for end in ends if end in sent))

    def resume(
        self, ids: Sequence[int], text: str, adapter: AdapterFile, *, max_tokens: int
    ) -> Resumed:
        """Go on behind `text`."""
        import httpx

        body = self._body(text, adapter, max_tokens)
        body |= {"stream": False, "logprobs": True, "top_logprobs": TOP}
        url = self._engine.url
        try:
            with httpx.Client(timeout=SILENCE_S, trust_env=not is_loopback(url)) as client:
                found = client.post(f"{url}/api/generate", json=body).raise_for_status().json()
            first = (found.get("logprobs") or [])[:1]
            top = [_likely(token) for place in first for token in place["top_logprobs"]]
            return Resumed(found["response"], found["done_reason"] == "stop", tuple(top))
        except (httpx.HTTPError, ValueError, LookupError) as error:
            raise EngineError(f"Ollama did not say what is likely: {error}") from None

    def _body(self, text: str, adapter: AdapterFile, max_tokens: int) -> dict[str, Any]:
        request = Request((), max_tokens=max_tokens, adapter=adapter)
        body = self._engine.body(request, text, max_tokens)
        return {"model": self._engine.model_of(adapter), **body}


class OpenAIProbe:
    """Looks into the models of a vLLM server, asking exactly as the engine asks."""

    def __init__(self, engine: "OpenAIEngine") -> None:
        self._engine = engine

    def facts(self, adapter: AdapterFile) -> Facts:
        """Return the type of the weights, if the server tells, and the end tokens that are sent.

        It is taken for bf16, vLLM's own choice for most models, where the server says nothing.
        """
        name = self._engine.model_of(adapter)
        with OpenAIModels(self._engine.url, api_key=self._engine.api_key) as models:
            if name not in {model.name for model in models.list()}:
                raise MissingModelError(
                    f"The server at {self._engine.url} has no model {name}.",
                    hint=f"groundtune adapters deploy {adapter.name} --engine openai",
                )
            weights = models.weights(name) or UNTOLD
        return Facts(weights, tuple(self._body("", adapter, 1)["stop"]))

    def resume(
        self, ids: Sequence[int], text: str, adapter: AdapterFile, *, max_tokens: int
    ) -> Resumed:
        """Go on behind `ids`."""
        import httpx

        body = {**self._body("", adapter, max_tokens), "prompt": list(ids), "logprobs": TOP}
        body |= {"stream": False, "stream_options": None}
        url = self._engine.url
        headers = headers_of(self._engine.api_key)
        try:
            with httpx.Client(timeout=SILENCE_S, trust_env=not is_loopback(url)) as client:
                call = client.post(f"{url}/v1/completions", json=body, headers=headers)
                choice = call.raise_for_status().json()["choices"][0]
            top = sorted(_first(choice["logprobs"]), key=lambda likely: -likely.logprob)[:TOP]
            return Resumed(choice["text"], choice["finish_reason"] == "stop", tuple(top))
        except (httpx.HTTPError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise EngineError(f"{url} did not say what is likely: {error}") from None

    def _body(self, text: str, adapter: AdapterFile, max_tokens: int) -> dict[str, Any]:
        return self._engine.body(
            Request((), max_tokens=max_tokens, adapter=adapter), text, max_tokens
        )


def probe_of(engine: Engine) -> Probe:
    """Return the probe of an engine.

    Raises:
        UsageError: it is of a kind that cannot be looked into.
    """
    from assistant.engines.embedded import EmbeddedEngine
    from assistant.engines.ollama import OllamaEngine
    from assistant.engines.openai import OpenAIEngine

    if isinstance(engine, EmbeddedEngine):
        return EmbeddedProbe(engine)
    if isinstance(engine, OllamaEngine):
        return OllamaProbe(engine)
    if isinstance(engine, OpenAIEngine):
        return OpenAIProbe(engine)
    raise UsageError(f"{engine.name} cannot be compared with training: unknown kind of engine.")


def _first(logprobs: Mapping[str, Any]) -> list[Likely]:
    """Return what was likely at the first place, in vLLM's words or in llama.cpp's."""
    if "content" in logprobs:
        return [_likely(token) for token in logprobs["content"][0]["top_logprobs"]]
    first = logprobs["top_logprobs"][0]
    return [Likely(token, round(logprob, 4)) for token, logprob in first.items()]


def _likely(token: Mapping[str, Any]) -> Likely:
    return Likely(token["token"], round(token["logprob"], 4))
