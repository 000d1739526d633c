"""What goes wrong with an Ollama server: a real one, or a socket that misbehaves."""

import asyncio
import os
import shutil
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assistant.config import EngineSettings
from assistant.engines.engine import AdapterFile, Request
from assistant.engines.ollama import OllamaEngine
from assistant.engines.ollama_models import OllamaModels, push_base
from assistant.gguf_header import open_header
from ingest.errors import (
    EngineError,
    EngineUnavailableError,
    GroundtuneError,
    MissingModelError,
)
from ingest.model_file import fetch, sha256_of
from tests.faulty_server import STORY, Socket, failure
from tests.ollama_server import PREFIX, OllamaServer, find_binary, started

pytestmark = pytest.mark.model  # its tokenizer is needed for every request

TEXT = b'{"response":"Once","done":false}\n'
COUNT = 36
DONE = b'{"response":"","done":true,"done_reason":"stop","prompt_eval_count":%d,"eval_count":1}\n'


@pytest.fixture(scope="module")
def gguf() -> Path:
    return fetch(EngineSettings().model)


@pytest.fixture(scope="module")
def sha256(gguf: Path) -> str:
    return sha256_of(gguf)


@pytest.fixture
def engine_at(gguf: Path, sha256: str) -> Iterator[Callable[..., OllamaEngine]]:
    """Makes engines, and closes them."""
    engines: list[OllamaEngine] = []

    def make(url: str, **changes: Any) -> OllamaEngine:
        settings: dict[str, Any] = {
            "model": gguf,
            "name": "base",
            "base_sha256": sha256,
            "context_tokens": 512,
            "parallel": 1,
            "waiting": 4,
            "url": url,
            "timeout_s": 60,
            "prefix": PREFIX,
        }
        engines.append(OllamaEngine(**(settings | changes)))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


EngineAt = Callable[..., OllamaEngine]


def socket(body: bytes = b"", *more: Any, version: str = "0.24.0", **changes: Any) -> Socket:
    """Return a server that tells its version and then does what it was told."""
    return Socket(
        body, *more, facts={b"/api/version": b'{"version":"%s"}' % version.encode()}, **changes
    )


@pytest.mark.parametrize(
    ("server", "kind", "message"),
    [
        (socket(b"<html>hello</html>\n"), EngineError, "no Ollama server answers"),
        (socket(TEXT + b"[1, 2]\n"), EngineError, "no Ollama server answers"),
        (socket(TEXT + b'{"response": 5}\n'), EngineError, "no Ollama server answers"),
        (socket(TEXT + b'{"error":"it fell over"}\n'), EngineError, "broke off: it fell over"),
        (
            socket(TEXT + b'{"error":"CUDA error: out of memory"}\n'),
            EngineUnavailableError,
            "too little memory",
        ),
        (socket(TEXT), EngineError, "without saying that it was whole"),
        (socket(b'{"hello":"there"}\n'), EngineError, "without saying that it was whole"),
        (socket(), EngineError, "without saying that it was whole"),
        (socket(TEXT, whole=False), EngineError, "went away in the middle"),
        (socket(whole=False), EngineUnavailableError, "No Ollama server answers"),
        (socket(TEXT + DONE % 7), EngineError, "read 7 prompt tokens where 36 were sent"),
        (socket(DONE.replace(b"stop", b"load") % COUNT), EngineError, "the reason 'load'"),
        (socket(b'{"error":"no"}', "500 Error"), EngineError, r"refused \(500\): no"),
        (socket(b'{"error":"busy"}', "503 Busy"), EngineUnavailableError, r"\(503\): busy"),
        (socket(b'{"error":"model not found"}', "404 No"), MissingModelError, "has no model"),
        (socket(version="0.5.1"), EngineUnavailableError, "0.12.11 is the oldest"),
        (socket(version="nginx"), EngineUnavailableError, "'nginx', which is no version"),
    ],
    ids=lambda value: None,
)
def test_a_misbehaving_server_ends_in_an_error_and_never_in_an_answer(
    engine_at: EngineAt, server: Socket, kind: type[GroundtuneError], message: str
) -> None:
    async def scenario() -> tuple[str, GroundtuneError]:
        async with server.listening() as url:
            return await failure(engine_at(url))

    text, error = asyncio.run(scenario())
    assert type(error) is kind
    with pytest.raises(kind, match=message):
        raise error
    assert text == ("Once" if server.body.startswith(TEXT) else "")
    assert server.generated <= 1  # what the server may have begun is not asked for again


@pytest.fixture(scope="module")
def base_server(ollama_server: OllamaServer, gguf: Path) -> OllamaServer:
    with OllamaModels(ollama_server.url) as models:
        push_base(models, gguf, prefix=PREFIX, stop=["<|im_end|>"])
    return ollama_server


def test_a_missing_model_is_named_with_the_command_that_deploys_it(
    base_server: OllamaServer, engine_at: EngineAt
) -> None:
    adapter = AdapterFile("tickets:v7", Path("lora.gguf"))
    engine = engine_at(base_server.url)
    request = Request(STORY.messages, adapter=adapter)
    _, error = asyncio.run(failure(engine, request))
    with pytest.raises(MissingModelError, match="adapters deploy tickets:v7"):
        raise error
    elsewhere = engine_at(base_server.url, base_sha256="0" * 64)
    for call in (failure(elsewhere), elsewhere.check()):
        with pytest.raises(MissingModelError, match=r"000000000000:latest.*\n.*models fetch"):
            raise asyncio.run(call)[1]  # type: ignore[arg-type]


def test_a_model_that_the_memory_cannot_hold_is_unavailable(
    base_server: OllamaServer, engine_at: EngineAt, gguf: Path, tmp_path: Path
) -> None:
    # The same model, but it says of itself that it can read so much that no machine has the memory.
    wide = tmp_path / "wide.gguf"
    shutil.copy(gguf, wide)
    with open_header(wide) as header:
        place = header.entries["llama.context_length"].value
    with wide.open("r+b") as file:
        file.seek(place)
        file.write(struct.pack("<I", 1 << 30))
    with OllamaModels(base_server.url) as models:
        push_base(models, wide, prefix=PREFIX)
    engine = engine_at(
        base_server.url, model=wide, base_sha256=sha256_of(wide), context_tokens=1 << 29
    )
    _, error = asyncio.run(failure(engine))
    with pytest.raises(EngineUnavailableError, match=r"too little memory.*\n.*context_tokens"):
        raise error


@pytest.mark.parametrize("victim", ["server", "runner"])
def test_a_server_killed_in_the_middle_of_an_answer_is_an_error(
    engine_at: EngineAt, gguf: Path, tmp_path: Path, victim: str
) -> None:
    binary = find_binary()
    if binary is None:
        pytest.skip("no Ollama program here that a test could kill")

    async def scenario(server: OllamaServer) -> GroundtuneError:
        assert server.process is not None
        pid = server.process.pid
        stream = engine_at(server.url).stream(STORY)
        assert (await anext(stream)).text  # type: ignore[arg-type]
        os.kill(pid if victim == "server" else _children(pid)[0], signal.SIGKILL)
        try:
            async for piece in stream:
                assert piece.usage is None
        except GroundtuneError as error:
            return error
        raise AssertionError("a part of an answer was shown as whole")

    with started(binary, tmp_path) as server:
        with OllamaModels(server.url) as models:
            push_base(models, gguf, prefix=PREFIX)
        error = asyncio.run(scenario(server))
    assert isinstance(error, EngineError)


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text(encoding="ascii").split()]


def write_adapter(path: Path, alpha: float) -> Path:
    """Write a LoRA that changes nothing, for one matrix of the small model."""
    import gguf as library
    import numpy as np

    writer = library.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    writer.add_tensor("blk.0.attn_q.weight.lora_a", np.ones((1, 576), np.float32))
    writer.add_tensor("blk.0.attn_q.weight.lora_b", np.zeros((576, 1), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_two_adapters_under_mixed_load_do_not_make_the_server_reload_each_time(
    base_server: OllamaServer, engine_at: EngineAt, gguf: Path, sha256: str, tmp_path: Path
) -> None:
    adapters = []
    with OllamaModels(base_server.url) as models:
        for number, name in enumerate(("mixed-a:v1", "mixed-b:v1")):
            lora = write_adapter(tmp_path / f"{number}.gguf", alpha=number + 1.0)
            models.upload(lora, sha256_of(lora))
            models.create(
                PREFIX + name,
                base=(gguf.name, sha256),
                adapter=(lora.name, sha256_of(lora)),
                template="{{ .Prompt }}",
                stop=(),
            )
            adapters.append(AdapterFile(name, lora))
    engine = engine_at(base_server.url, parallel=2, waiting=16)

    async def mixed() -> None:
        requests = [
            Request(STORY.messages, max_tokens=2, adapter=adapters[n % 2]) for n in range(12)
        ]
        await asyncio.gather(*(_drain(engine, request) for request in requests))

    before = _loads(base_server)
    asyncio.run(mixed())
    assert engine.queue.reloads == 1
    if loads := _loads(base_server) - before:  # not every version's log says so
        assert loads == 2  # one for each adapter; in turn it would be up to 12


async def _drain(engine: OllamaEngine, request: Request) -> None:
    async for _ in engine.stream(request):
        pass


def _loads(server: OllamaServer) -> int:
    """Return how often the server has loaded a model, as its log says."""
    if server.log is None:
        return 0
    return server.log.read_text(encoding="utf-8", errors="replace").count("{Operation:commit")
