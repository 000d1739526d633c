"""Parity through an OpenAI-compatible server: that of llama.cpp, with the adapter loaded."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from assistant.adapter import Adapter
from assistant.config import EngineSettings, Settings
from assistant.engines.engine import Message
from assistant.prompt import Passage, build_messages
from finetune.base_model import training_folder
from finetune.example import Example, write_examples
from finetune.serving import parity_of, promote_adapter
from ingest.errors import GateError, MissingModelError
from ingest.model_file import fetch
from tests.finetune.random_adapter import install, write_adapter

pytestmark = pytest.mark.model

SERVED = "groundtune-random:v1"
SYSTEM = "You are a careful assistant."
PASSAGES = (Passage("Heron 2 > Bolts", "The M6 bolts of the Heron 2 are tightened to 9.5 N·m."),)
ANSWER = Message("assistant", "They take 9.5 N·m.")


@contextmanager
def served(lora: Path, name: str = SERVED) -> Iterator[str]:
    """Run llama.cpp's own HTTP server with `lora` under `name`."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(fetch(EngineSettings().model))
    params.model_alias = {name}
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(lora), 1.0)]
    params.n_parallel = 1
    params.n_ctx = 1024
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = os.cpu_count() or 1
    params.verbosity = -1
    server = xllamacpp.Server(params)
    yield str(server.listening_address)
    del server


def settings_of(home: Path, url: str = "") -> Settings:
    engine = {"kind": "openai", "url": url, "served_name": SERVED, "context_tokens": 1024}
    return Settings(home=home, engine=EngineSettings.model_validate(engine))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    home = tmp_path_factory.mktemp("home")
    folder = home / "datasets" / "bolts-1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}", encoding="utf-8")
    # The first is answered from the passage whatever the adapter; the others are not.
    prompts = [
        build_messages(SYSTEM, "How tight are the M6 bolts?", PASSAGES),
        build_messages(SYSTEM, "What does the Heron 2 weigh?"),
        build_messages(SYSTEM, "Name three tools."),
    ]
    rows = [Example((*prompt, ANSWER), "T-1") for prompt in prompts]
    write_examples(folder / "validation.jsonl", rows)
    return install(settings_of(home), dataset={"name": "bolts-1"})


def test_what_was_trained_is_what_the_server_serves_and_the_manifest_says_so(
    adapter: Adapter,
) -> None:
    home = adapter.folder.parents[2]
    with served(adapter.folder / "lora.gguf") as url:
        body = parity_of(settings_of(home, url), "random", None, 3, max_tokens=24)
    assert (body["prompts"], body["engine"], body["weights"]) == (4, "openai", "q8_0")
    assert body["top1_agreement"] >= 0.95, body
    assert not [f for f in body["failures"] if "renders" in f or "tokens of the same" in f], body
    assert parity_in(adapter)["openai"] == json.loads(json.dumps(body))
    with pytest.raises(GateError):  # four prompts are too few, whatever they said
        promote_adapter(settings_of(home), "random", None)


def test_a_server_without_the_adapter_is_caught_and_both_top_fives_are_shown(
    adapter: Adapter, tmp_path: Path
) -> None:
    home = adapter.folder.parents[2]
    other = tmp_path / "other"
    base = training_folder(fetch(EngineSettings().model), adapter.manifest["base_sha256"])
    write_adapter(other, base, seed=1)
    with served(other / "lora.gguf") as url:
        body = parity_of(settings_of(home, url), "random", None, 3, max_tokens=24)
    assert not body["passed"]
    first = body["divergences"][0]
    assert len(first["reference"]) == len(first["served"]) == 5
    with (
        served(other / "lora.gguf", "another") as url,
        pytest.raises(MissingModelError, match="deploy random:v1 --engine openai"),
    ):
        parity_of(settings_of(home, url), "random", None, 1)


def parity_in(adapter: Adapter) -> Any:
    return json.loads((adapter.folder / "manifest.json").read_text(encoding="utf-8"))["parity"]
