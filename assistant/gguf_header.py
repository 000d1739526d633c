"""The head of a GGUF file: its keys and values, without its weights.

The library's reader builds every one of the vocabulary's 100,000 entries to get at one key, which
takes seconds at each start; this one steps over them. Layout: the GGUF specification, version 3.
"""

import mmap
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ingest.errors import ConfigError

DAMAGED = (struct.error, KeyError, UnicodeDecodeError, IndexError, OverflowError, RecursionError)
"""What reading trips over where lengths and types make no sense."""
HINT = "Name another model, or fetch this one again."
STRING, ARRAY = 8, 9
SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
"""The `struct` format of each scalar type."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key with its value, as bytes of the file."""

    kind: int
    """The value's type."""
    start: int
    """Offset of the key."""
    value: int
    """Offset of the value, behind its type."""
    end: int
    """Offset behind the value."""


class Header:
    """The keys of an open GGUF file."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.entries: Mapping[str, Entry] = dict(_entries(data))

    def raw(self, key: str) -> bytes:
        """Return key, type and value as they stand in the file."""
        entry = self.entries[key]
        return self.data[entry.start : entry.end]

    def scalar(self, key: str) -> int | float | bool | None:
        """Return a number or a truth value; None if there is no such key."""
        entry = self.entries.get(key)
        if entry is None or entry.kind not in SCALARS:
            return None
        found: int | float | bool = struct.unpack_from(SCALARS[entry.kind], self.data, entry.value)[
            0
        ]
        return found

    def text(self, key: str) -> str:
        """Return a text; empty if there is no such key."""
        entry = self.entries.get(key)
        if entry is None or entry.kind != STRING:
            return ""
        return _string(self.data, entry.value)[0].decode("utf-8")

    def length(self, key: str) -> int:
        """Return how many elements an array has; 0 if there is no such key."""
        entry = self.entries.get(key)
        if entry is None or entry.kind != ARRAY:
            return 0
        return int(struct.unpack_from("<Q", self.data, entry.value + 4)[0])

    def item(self, key: str, number: int) -> str:
        """Return element `number` of an array of texts."""
        position = self.entries[key].value + 12
        for _ in range(number):
            position = _after(self.data, position, STRING)
        return _string(self.data, position)[0].decode("utf-8")


@contextmanager
def open_header(model: Path) -> Iterator[Header]:
    """Open the GGUF file `model`.

    Raises:
        ConfigError: it is not a GGUF file, or a damaged one.
    """
    with model.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ConfigError(f"{model} is not a GGUF model.", hint=HINT)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                yield Header(data)
            except DAMAGED:
                raise ConfigError(f"{model} is a damaged GGUF model.", hint=HINT) from None


def _entries(data: mmap.mmap) -> Iterator[tuple[str, Entry]]:
    (count,) = struct.unpack_from("<Q", data, 16)
    position = 24
    for _ in range(count):
        start = position
        key, position = _string(data, position)
        (kind,) = struct.unpack_from("<I", data, position)
        value = position + 4
        position = _after(data, value, kind)
        yield key.decode("utf-8"), Entry(kind, start, value, position)


def _string(data: mmap.mmap, position: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from("<Q", data, position)
    start = position + 8
    return data[start : start + length], start + length


def _after(data: mmap.mmap, position: int, kind: int) -> int:
    """Return the position behind a value of type `kind`."""
    if kind == STRING:
        return position + 8 + int(struct.unpack_from("<Q", data, position)[0])
    if kind != ARRAY:
        return position + struct.calcsize(SCALARS[kind])
    inner, count = struct.unpack_from("<IQ", data, position)
    position += 12
    if inner not in (STRING, ARRAY):
        return int(position + struct.calcsize(SCALARS[inner]) * count)
    for _ in range(count):
        position = _after(data, position, inner)
    return position
