"""Tuned adapters, picked for each request."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant.answer import Ask
from assistant.config import EngineSettings, Settings
from assistant.engines.embedded import EmbeddedEngine
from assistant.engines.engine import AdapterFile, Engine, Message, Request
from assistant.engines.ollama_models import OllamaModels
from assistant.workspace import Workspace
from finetune.base_model import training_folder
from finetune.serving import deploy_adapter, remove_adapter
from ingest.files import find_files
from ingest.model_file import fetch, sha256_of
from tests.fakes import HashEmbedder
from tests.finetune.random_adapter import install, write_adapter
from tests.ollama_server import PREFIX, OllamaServer

pytestmark = pytest.mark.model

TOOLS = (
    Message("system", "You are a careful assistant."),
    Message("user", "Name three tools."),
)


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[AdapterFile]:
    folder = tmp_path_factory.mktemp("adapters")
    gguf = fetch(EngineSettings().model)
    base = training_folder(gguf, sha256_of(gguf))
    for seed in range(3):
        write_adapter(folder / f"a{seed}", base, seed=seed, alpha=48.0)
    return [AdapterFile(f"a{seed}:v1", folder / f"a{seed}" / "lora.gguf") for seed in range(3)]


@pytest.fixture
def engine(adapters: list[AdapterFile]) -> Iterator[EmbeddedEngine]:
    engine = EmbeddedEngine(
        fetch(EngineSettings().model),
        name="small",
        context_tokens=256,
        parallel=2,
        adapters=adapters[:2],
    )
    yield engine
    engine.close()


async def text_of(engine: Engine, adapter: AdapterFile | None) -> str:
    request = Request(TOOLS, max_tokens=16, adapter=adapter)
    return "".join([piece.text async for piece in engine.stream(request)])


def _shared(one: str, other: str) -> int:
    return len(os.path.commonprefix([one, other]))


def test_requests_with_two_adapters_and_without_run_side_by_side_and_nothing_is_loaded_again(
    engine: EmbeddedEngine, adapters: list[AdapterFile]
) -> None:
    chosen = [None, adapters[0], adapters[1]]

    async def alone() -> list[str]:
        return [await text_of(engine, adapter) for adapter in chosen]

    async def mixed() -> list[str]:
        return await asyncio.gather(*(text_of(engine, adapter) for adapter in chosen * 2))

    server = engine.server
    expected = asyncio.run(alone())
    shared = [[_shared(one, other) for other in expected] for one in expected]
    assert all(row[n] > 2 * other for n, row in enumerate(shared) for other in row[:n])
    # llama.cpp rounds by how much it computes at once, so a late token may differ where two are
    # nearly as likely; whose answer it is shows in how it begins.
    for n, text in enumerate(asyncio.run(mixed())):
        likeness = [_shared(text, other) for other in expected]
        assert likeness.index(max(likeness)) == n % 3, (text, expected)
    assert engine.server is server
    assert engine.queue.reloads == 0


def test_an_adapter_that_comes_later_is_loaded_when_it_is_first_asked_for(
    engine: EmbeddedEngine, adapters: list[AdapterFile]
) -> None:
    server = engine.server
    first = asyncio.run(text_of(engine, adapters[0]))
    late = asyncio.run(text_of(engine, adapters[2]))
    assert late != first
    loaded = engine.server
    assert loaded is not server
    assert asyncio.run(text_of(engine, adapters[0])) == first
    assert asyncio.run(text_of(engine, adapters[2])) == late
    assert engine.server is loaded


def test_every_arm_answers_through_a_real_ollama_server(
    ollama_server: OllamaServer, tmp_path: Path
) -> None:
    if ollama_server.process is None:
        pytest.skip("it would put its base model onto a server that is not ours")
    (tmp_path / "heron.md").write_text(
        "# Heron 2\n\n## Bolts\n\nThe M6 bolts of the Heron 2 are tightened to 9.5 N·m.",
        encoding="utf-8",
    )
    engine = {"kind": "ollama", "url": ollama_server.url, "context_tokens": 512}
    answer = {"max_tokens": 24}
    settings = Settings.model_validate(
        {"home": tmp_path / "home", "engine": engine, "answer": answer}
    )
    install(settings)
    deploy_adapter(settings, "random", merged=None)
    with Workspace(settings) as workspace:
        workspace.__dict__["embedder"] = HashEmbedder()
        workspace.pipeline.run(find_files([str(tmp_path / "heron.md")]), collection="default")
        for mode in ("base", "rag", "finetuned", "combined"):
            ask = Ask("How tight are the M6 bolts of the Heron 2?", mode=mode)
            answered = asyncio.run(workspace.assistant.answer(ask))
            assert answered.completion_tokens > 0
            assert answered.adapter == ("random:v1" if mode in ("finetuned", "combined") else None)
            shown = mode in ("rag", "combined")
            assert [e.source for e in answered.evidence] == (["heron.md"] if shown else [])
            if mode == "rag":
                assert "9.5" in answered.answer
                assert "9.5 N·m" in answered.citations[0].quote
    removed = remove_adapter(settings, "random")
    first, *others = removed["base_stays_for"]
    assert first == "the arms without an adapter"
    assert all(name.startswith(PREFIX) for name in others)  # left on the server by other tests
    with OllamaModels(ollama_server.url) as models:
        models.delete(removed["base"])
