"""The chat template inside a GGUF model."""

from pathlib import Path

from assistant.gguf_header import open_header


def read_chat_template(model: Path) -> str:
    """Return the chat template of a GGUF file; empty if it has none.

    Raises:
        ConfigError: it is not a GGUF file.
    """
    with open_header(model) as header:
        return header.text("tokenizer.chat_template")
