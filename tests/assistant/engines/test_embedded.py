"""What the embedded engine alone does; the rest is in the contract."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from assistant.chat_template import read_chat_template
from assistant.config import EngineSettings
from assistant.engines.embedded import EmbeddedEngine
from assistant.engines.engine import Message, Request
from ingest.errors import ConfigError
from ingest.model_file import fetch


@pytest.mark.model
def test_the_chat_template_is_read_from_the_model() -> None:
    assert "<|im_start|>" in read_chat_template(fetch(EngineSettings().model))


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"not a model")
    with pytest.raises(ConfigError, match="not a GGUF model"):
        EmbeddedEngine(path, name="bad", context_tokens=256, parallel=1)
    with pytest.raises(ConfigError, match="not a GGUF model"):
        read_chat_template(path)


@pytest.mark.parametrize("keep", [4, 20, 40])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.gguf"
    whole = b"GGUF" + (3).to_bytes(4, "little") + (0).to_bytes(8, "little")
    whole += (9).to_bytes(8, "little") + (7).to_bytes(8, "little") + b"general" + bytes(4)
    path.write_bytes(whole[:keep])
    with pytest.raises(ConfigError, match="damaged GGUF model"):
        read_chat_template(path)


@pytest.mark.parametrize("seed", range(20))
def test_a_file_of_noise_behind_the_right_letters_is_refused(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "noise.gguf"
    path.write_bytes(b"GGUF" + random.Random(seed).randbytes(3000))
    with pytest.raises(ConfigError, match="damaged GGUF model"):
        read_chat_template(path)


def test_a_file_of_lists_within_lists_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.gguf"
    key = (7).to_bytes(8, "little") + b"general" + (9).to_bytes(4, "little")
    nested = ((9).to_bytes(4, "little") + (1).to_bytes(8, "little")) * 5000
    counts = (0).to_bytes(8, "little") + (1).to_bytes(8, "little")
    path.write_bytes(b"GGUF" + (3).to_bytes(4, "little") + counts + key + nested)
    with pytest.raises(ConfigError, match="damaged GGUF model"):
        read_chat_template(path)


SYSTEM = Message("system", "You answer questions about weather stations. " * 6)
ASKED = (
    "Why does rain fall, and how is it measured?",
    "Why does rain fall on one side of a mountain and not on the other?",
    "What does an anemometer do when it freezes?",
)


@pytest.mark.model
def test_a_repeatable_answer_does_not_depend_on_what_was_asked_before() -> None:
    name = EngineSettings().model
    engine = EmbeddedEngine(fetch(name), name=name, context_tokens=512, parallel=2)

    async def answers(order: Sequence[str], *, noise: bool = False) -> dict[str, str]:
        said = {}
        for question in order:
            if noise:  # somebody else asks in between, and leaves another prompt behind
                await text(Request([SYSTEM, Message("user", f"{question} Again?")], max_tokens=2))
            request = Request([SYSTEM, Message("user", question)], max_tokens=40, repeatable=True)
            said[question] = await text(request)
        return said

    async def text(request: Request) -> str:
        return "".join([piece.text async for piece in engine.stream(request)])

    async def go() -> list[dict[str, str]]:
        return [
            await answers(ASKED),
            await answers(ASKED[::-1]),
            await answers(ASKED[1:] + ASKED[:1], noise=True),
        ]

    try:
        first, *others = asyncio.run(go())
    finally:
        engine.close()
    assert all(first.values())
    for other in others:
        assert other == first
