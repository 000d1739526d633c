"""The chat template inside a GGUF model.

The library's reader builds every one of the vocabulary's 100,000 entries to get at one key, which
takes seconds at each start; this one steps over them. Layout: the GGUF specification, version 3.
"""

import mmap
import struct
from pathlib import Path

from ingest.errors import EngineError

KEY = b"tokenizer.chat_template"
STRING, ARRAY = 8, 9
WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of each scalar type."""


def read_chat_template(model: Path) -> str:
    """Return the chat template of a GGUF file; empty if it has none.

    Raises:
        EngineError: it is not a GGUF file.
    """
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] != b"GGUF":
            raise EngineError(f"{model} is not a GGUF model.")
        try:
            return _find(data)
        except (struct.error, KeyError, UnicodeDecodeError):
            raise EngineError(f"{model} is a damaged GGUF model.") from None


def _find(data: mmap.mmap) -> str:
    (count,) = struct.unpack_from("<Q", data, 16)
    position = 24
    for _ in range(count):
        key, position = _string(data, position)
        (kind,) = struct.unpack_from("<I", data, position)
        position += 4
        if key == KEY and kind == STRING:
            return _string(data, position)[0].decode("utf-8")
        position = _after(data, position, kind)
    return ""


def _string(data: mmap.mmap, position: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from("<Q", data, position)
    start = position + 8
    return data[start : start + length], start + length


def _after(data: mmap.mmap, position: int, kind: int) -> int:
    """Return the position behind a value of type `kind`."""
    if kind == STRING:
        return position + 8 + int(struct.unpack_from("<Q", data, position)[0])
    if kind != ARRAY:
        return position + WIDTHS[kind]
    inner, count = struct.unpack_from("<IQ", data, position)
    position += 12
    if inner not in (STRING, ARRAY):
        return int(position + WIDTHS[inner] * count)
    for _ in range(count):
        position = _after(data, position, inner)
    return position
