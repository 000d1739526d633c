"""Plain text in any encoding: paragraphs, without structure."""

import codecs
import re

from ingest.document import Block, Reading
from ingest.errors import DocumentError
from ingest.readers.job import Job

BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SAMPLE_BYTES = 200_000  # enough to tell an encoding by
CONTROL = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
MAX_CONTROL = 0.02
"""Share of control characters above which it is no text."""
MAX_BROKEN = 0.02
"""Broken sequences over all non-ASCII characters: below, it is UTF-8 with a few bad bytes."""


def read_text(content: bytes, name: str, job: Job) -> Reading:
    """Read text in whichever encoding it is written."""
    return Reading(name, (Block(text_of(content)),))


def text_of(content: bytes) -> str:
    """Return the text of `content`, with line ends as newlines.

    Raises:
        DocumentError: it is binary.
    """
    text = decode(content)
    if text is None:
        raise DocumentError("It is binary, not text.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decode(content: bytes) -> str | None:
    """Return the text of `content`; None if it is none.

    A byte-order mark decides; then UTF-8, if it is that but for a few bytes; then UTF-16 without a
    mark; then what charset-normalizer makes of it.
    """
    for mark, encoding in BOMS:
        if content.startswith(mark):
            return _sound(content.decode(encoding, "replace"))
    text = content.decode("utf-8", "replace")
    broken = text.count("\ufffd") - content.count("\ufffd".encode())
    other = len(text) - len(text.encode("ascii", "ignore"))
    if (not broken or broken <= MAX_BROKEN * other) and _is_text(text):
        return text
    return _utf16(content) or _legacy(content)


def _utf16(content: bytes) -> str | None:
    """Return UTF-16 text without a mark, told by the zero bytes that ASCII has in it."""
    sample = content[:SAMPLE_BYTES]
    zeros = (sample[0::2].count(0), sample[1::2].count(0))
    if max(zeros) < 0.2 * len(sample) / 2 or min(zeros) > 0.02 * len(sample) / 2:
        return None
    return _sound(content.decode("utf-16-be" if zeros[0] > zeros[1] else "utf-16-le", "replace"))


def _legacy(content: bytes) -> str | None:
    if content.count(b"\x00") > 0.001 * len(content):
        return None
    from charset_normalizer import from_bytes

    best = from_bytes(content[:SAMPLE_BYTES]).best()
    if best is None:
        return None
    return _sound(content.decode(best.encoding, "replace"))


def _sound(text: str) -> str | None:
    """Return `text` if it is text, broken in hardly any place; the encoding was right then."""
    return text if _is_text(text) and text.count("\ufffd") <= MAX_BROKEN * len(text) else None


def _is_text(text: str) -> bool:
    return len(CONTROL.findall(text)) <= MAX_CONTROL * len(text)
