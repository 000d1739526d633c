"""What goes wrong with an OpenAI-compatible server: a real one, or a socket that misbehaves."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assistant.config import EngineSettings, load
from assistant.engines.engine import AdapterFile, Request
from assistant.engines.openai import OpenAIEngine
from assistant.engines.openai_models import OpenAIModels, base_url
from ingest.errors import (
    ConfigError,
    EngineError,
    EngineUnavailableError,
    GroundtuneError,
    MissingModelError,
    UsageError,
)
from ingest.model_file import fetch
from tests.faulty_server import STORY, Socket, failure, whole

pytestmark = pytest.mark.model  # its tokenizer is needed for every request

KEY = "sk-very-secret"
ADAPTER = AdapterFile("tickets:v7", Path("lora.gguf"))
COUNT = 36
CARD = {"id": "small", "parent": None, "max_model_len": 512}
TUNED = {"id": "groundtune-tickets:v7", "parent": "small", "max_model_len": None}


def models(*cards: dict[str, Any]) -> dict[bytes, bytes]:
    return {b"GET /v1/models": json.dumps({"data": cards}).encode()}


def event(text: str = "", reason: str | None = None, *, usage: int | None = None) -> bytes:
    chunk: dict[str, Any] = {"model": "small", "choices": [{"text": text, "finish_reason": reason}]}
    if usage is not None:
        chunk["usage"] = {"prompt_tokens": usage, "completion_tokens": 1}
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def error(message: str, code: int = 500) -> bytes:
    return json.dumps({"error": {"message": message, "code": code}}).encode()


TEXT = event("Once")
END = b"data: [DONE]\n\n"
WHOLE = TEXT + event(reason="stop", usage=COUNT) + END


@pytest.fixture
def engine_at() -> Iterator[Callable[..., OpenAIEngine]]:
    """Makes engines, and closes them."""
    engines: list[OpenAIEngine] = []

    def make(url: str, **changes: Any) -> OpenAIEngine:
        settings: dict[str, Any] = {
            "model": fetch(EngineSettings().model),
            "name": "base",
            "context_tokens": 512,
            "parallel": 1,
            "waiting": 4,
            "url": url,
            "api_key": KEY,
            "timeout_s": 60,
        }
        engines.append(OpenAIEngine(**(settings | changes)))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


EngineAt = Callable[..., OpenAIEngine]


def server(body: bytes = b"", *more: Any, **changes: Any) -> Socket:
    return Socket(body, *more, facts=models(TUNED, CARD), **changes)


@pytest.mark.parametrize(
    ("socket", "kind", "message"),
    [
        (server(b"<html>hello</html>\n"), EngineError, "no OpenAI-compatible server answers"),
        (server(TEXT + b"data: {hello\n\n"), EngineError, "no OpenAI-compatible server answers"),
        (server(TEXT + b"data: [1, 2]\n\n"), EngineError, "no OpenAI-compatible server answers"),
        (server(TEXT + b'data: {"choices":[{}]}\n\n'), EngineError, "no OpenAI-compatible server"),
        (
            server(TEXT + b"data: " + error(f"it fell over {KEY}") + b"\n\n" + END),
            EngineError,
            r"broke off: it fell over \*\*\*",
        ),
        (
            server(TEXT + b"data: " + error("CUDA out of memory") + b"\n\n"),
            EngineUnavailableError,
            "too little memory",
        ),
        (server(TEXT), EngineError, "without saying that it was whole"),
        (server(TEXT + END), EngineError, "without saying that it was whole"),
        (server(TEXT + event(reason="stop") + END), EngineError, "without saying that it was"),
        (server(TEXT + event(reason="stop", usage=COUNT)), EngineError, "without saying that it"),
        (server(), EngineError, "without saying that it was whole"),
        (server(TEXT, whole=False), EngineError, "went away in the middle"),
        (server(whole=False), EngineUnavailableError, "No OpenAI-compatible server answers"),
        (
            server(TEXT + event(reason="stop", usage=7) + END),
            EngineError,
            "read 7 prompt tokens where 36 were sent",
        ),
        (
            server(event(reason="abort", usage=COUNT) + END),
            EngineError,
            "the reason 'abort'",
        ),
        (server(error("no"), "500 Error"), EngineError, r"refused \(500\): no"),
        (server(error("busy"), "503 Busy"), EngineUnavailableError, r"\(503\): busy"),
        (server(error("bad key"), "401 No"), EngineError, r"another key.*\n.*ENGINE__API_KEY"),
        (server(error("no model", 404), "404 No"), MissingModelError, "has no model small"),
        (server(b'{"detail":"Not Found"}', "404 No"), EngineError, "no OpenAI-compatible server"),
    ],
    ids=lambda value: None,
)
def test_a_misbehaving_server_ends_in_an_error_and_never_in_an_answer(
    engine_at: EngineAt, socket: Socket, kind: type[GroundtuneError], message: str
) -> None:
    async def scenario() -> tuple[str, GroundtuneError]:
        async with socket.listening() as url:
            return await failure(engine_at(url))

    text, error = asyncio.run(scenario())
    assert type(error) is kind
    with pytest.raises(kind, match=message):
        raise error
    assert KEY not in str(error)
    assert text == ("Once" if socket.body.startswith(TEXT) else "")
    assert socket.generated == 1  # what the server may have begun is not asked for again


def test_the_key_is_sent_and_every_kind_of_line_is_read(engine_at: EngineAt) -> None:
    async def scenario() -> tuple[str, bytes]:
        kept = b": still here\r\n\r\n"
        odd = "a\u2028b\x85c"  # ends a line for Python, and not for a server
        socket = server(kept + event(odd) + event(reason="stop", usage=COUNT) + END.rstrip())
        async with socket.listening() as url:
            return await whole(engine_at(f"{url}/v1/")), socket.head

    text, head = asyncio.run(scenario())
    assert text == "a\u2028b\x85c"
    assert f"Authorization: Bearer {KEY}".encode() in head


def test_an_answer_of_another_model_is_not_taken_for_the_adapters(engine_at: EngineAt) -> None:
    async def scenario() -> tuple[str, GroundtuneError]:
        async with server(WHOLE).listening() as url:
            return await failure(engine_at(url), Request(STORY.messages, adapter=ADAPTER))

    text, error = asyncio.run(scenario())
    assert text == ""
    with pytest.raises(MissingModelError, match="deploy tickets:v7 --engine openai"):
        raise error


@pytest.mark.parametrize(
    ("cards", "changes", "kind", "message"),
    [
        ([TUNED], {}, MissingModelError, r"lists no base model.*\n.*engine.served_name"),
        ([CARD], {"served_name": "big"}, MissingModelError, "has no model big"),
        ([CARD], {"context_tokens": 1024}, EngineError, r"reads 512 tokens.*\n.*--max-model-len"),
        (["?"], {}, EngineError, "no OpenAI-compatible server"),
    ],
)
def test_a_server_without_the_right_model_is_not_ready(
    engine_at: EngineAt,
    cards: list[Any],
    changes: dict[str, Any],
    kind: type[GroundtuneError],
    message: str,
) -> None:
    async def scenario() -> None:
        async with Socket(facts=models(*cards)).listening() as url:
            await engine_at(url, **changes).check()

    with pytest.raises(kind, match=message):
        asyncio.run(scenario())


def test_adapters_are_loaded_and_unloaded_or_it_is_said_why_not() -> None:
    async def scenario(socket: Socket) -> bool:
        async with socket.listening() as url:
            return await asyncio.to_thread(turn, url)

    def turn(url: str) -> bool:
        with OpenAIModels(url) as served:
            served.load_adapter("groundtune-tickets:v7", "/adapters/tickets/v7")
            return served.unload_adapter("groundtune-tickets:v7")

    assert asyncio.run(scenario(Socket(b"Success")))
    with pytest.raises(UsageError, match=r"no adapters while it runs.*\n.*UPDATING=True"):
        asyncio.run(scenario(Socket(b'{"detail":"Not Found"}', "404 Not Found")))
    with pytest.raises(EngineError, match=r"not found there.*\n.*/adapters/tickets/v7"):
        asyncio.run(scenario(Socket(error("not found there", 404), "404 Not Found")))


def test_an_address_is_taken_with_and_without_its_version() -> None:
    assert base_url("http://a:1/v1/") == base_url("http://a:1") == "http://a:1"
    assert base_url("") == "http://127.0.0.1:8001"


def test_the_key_comes_from_the_environment_alone_and_is_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "groundtune.toml"
    path.write_text("[engine]\nkind = 'openai'", encoding="utf-8")
    settings = load(path, {"GROUNDTUNE_ENGINE__API_KEY": KEY}).settings
    assert settings.engine.api_key.get_secret_value() == KEY
    assert KEY not in f"{settings!r} {settings.model_dump()}"
    path.write_text(f"[engine]\napi_key = '{KEY}'", encoding="utf-8")
    with pytest.raises(ConfigError, match="GROUNDTUNE_ENGINE__API_KEY"):
        load(path, {})
