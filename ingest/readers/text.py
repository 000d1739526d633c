"""Plain text: paragraphs, without structure."""

from ingest.document import Block, Reading


def read_text(content: bytes, name: str) -> Reading:
    """Read UTF-8 text."""
    text = content.decode("utf-8-sig").replace("\r\n", "\n").strip()
    return Reading(name, (Block(text),) if text else ())
