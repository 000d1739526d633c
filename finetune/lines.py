"""The lines of a data file, each with its place, and all that is wrong with them in one error."""

import json
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ingest.errors import DataError

SHOWN_PROBLEMS = 50
PLACE = re.compile(r"(?P<file>.*?)[:\[](?P<number>\d+)[\]:]")


class Line(NamedTuple):
    """One value of a file."""

    where: str
    """`file:line`, or `file[n]` for an item of a JSON array; n counts from 0."""
    number: int
    """The line, or the n."""
    value: dict[str, Any]


@dataclass(slots=True)
class Problems:
    """What is wrong with the lines of a file."""

    found: list[str] = field(default_factory=list)

    def add(self, where: str, reason: str) -> None:
        """Note a reason."""
        self.found.append(f"{where}: {reason}")


@contextmanager
def problems(hint: str = "") -> Iterator[Problems]:
    """Collect what is wrong, and raise all of it at the end.

    Raises:
        DataError: something was; names file, line and reason of each.
    """
    collected = Problems()
    yield collected
    if collected.found:
        listed = sorted(collected.found, key=_place)[:SHOWN_PROBLEMS]
        if more := len(collected.found) - len(listed):
            listed.append(f"... and {more} more")
        raise DataError("\n".join(listed), hint=hint)


def _place(problem: str) -> tuple[str, int]:
    """Return what puts problems in the order of their lines; one line keeps its own order."""
    at = PLACE.match(problem)
    return (at["file"], int(at["number"])) if at else (problem, 0)


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file; a byte-order mark is no part of it.

    Raises:
        DataError: no such file, not UTF-8 (names the first line that is not), or nothing in it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        encoding = "UTF-16" if content[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) else "WINDOWS-1252"
        raise DataError(
            f"{path}:{line}: not UTF-8: byte 0x{content[error.start]:02x}.",
            hint=f"Convert it: iconv -f {encoding} -t UTF-8 {path.name} > utf8-{path.name}",
        ) from None
    if not text.strip():
        raise DataError(f"{path} is empty.", hint="A data file holds one JSON object a line.")
    return text


def read_lines(path: Path, found: Problems) -> list[Line]:
    """Read JSON objects, one a line or all in one array; blank lines are skipped.

    Lines that are no objects are noted in `found` and left out.

    Raises:
        DataError: as `read_text` does.
    """
    text = read_text(path)
    if text.lstrip().startswith("["):
        return _array(path, text, found)
    lines: list[Line] = []
    # Not splitlines: a JSON text may hold U+2028, which is no end of a line there.
    for number, raw in enumerate(text.split("\n"), start=1):
        if not raw.strip():
            continue
        where = f"{path}:{number}"
        try:
            value = json.loads(raw)
        except json.JSONDecodeError as error:
            found.add(where, f"not JSON: {error.msg} at column {error.colno}")
            continue
        if isinstance(value, dict):
            lines.append(Line(where, number, value))
        else:
            found.add(where, f"expected a JSON object, got {type(value).__name__}")
    return lines


def _array(path: Path, text: str, found: Problems) -> list[Line]:
    try:
        values: Sequence[Any] = json.loads(text)
    except json.JSONDecodeError as error:
        found.add(f"{path}:{error.lineno}", f"not JSON: {error.msg} at column {error.colno}")
        return []
    for number, value in enumerate(values):
        if not isinstance(value, dict):
            found.add(f"{path}[{number}]", f"expected an object, got {type(value).__name__}")
    return [Line(f"{path}[{n}]", n, v) for n, v in enumerate(values) if isinstance(v, dict)]
