"""What the embedded engine alone does; the rest is in the contract."""

from pathlib import Path

import pytest

from assistant.chat_template import read_chat_template
from assistant.config import EngineSettings
from assistant.engines.embedded import EmbeddedEngine
from ingest.errors import EngineError
from ingest.model_file import fetch


@pytest.mark.model
def test_the_chat_template_is_read_from_the_model() -> None:
    assert "<|im_start|>" in read_chat_template(fetch(EngineSettings().model))


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"not a model")
    with pytest.raises(EngineError, match="cannot load"):
        EmbeddedEngine(path, name="bad", context_tokens=256, parallel=1)
    with pytest.raises(EngineError, match="not a GGUF model"):
        read_chat_template(path)


@pytest.mark.parametrize("keep", [4, 20, 40])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.gguf"
    whole = b"GGUF" + (3).to_bytes(4, "little") + (0).to_bytes(8, "little")
    whole += (9).to_bytes(8, "little") + (7).to_bytes(8, "little") + b"general" + bytes(4)
    path.write_bytes(whole[:keep])
    with pytest.raises(EngineError, match="damaged GGUF model"):
        read_chat_template(path)
