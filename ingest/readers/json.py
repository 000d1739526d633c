"""JSON and JSON lines: objects become `key: value`, lists of objects one line each."""

import json
from collections.abc import Iterator
from typing import Any

from ingest.document import Reading
from ingest.readers.job import Job
from ingest.readers.outline import Outline
from ingest.readers.text import text_of

TITLES = ("title", "name", "subject")
INLINE = 300
"""Characters up to which a value stands on its parent's line; longer ones get a heading."""


def read_json(content: bytes, name: str, job: Job) -> Reading:
    """Read one JSON value, or one a line."""
    text = text_of(content).lstrip("\ufeff")
    outline = Outline(name)
    try:
        value = json.loads(text)
    except ValueError:
        value = [json.loads(line) for line in text.splitlines() if line.strip()]
    if isinstance(value, dict):
        title = next((value[key] for key in TITLES if isinstance(value.get(key), str)), "")
        outline.heading(1, title)
        _members(value, outline, 2)
    else:
        outline.lines(_items(value) if isinstance(value, list) else [_scalar(value)])
    return outline.reading()


def _members(value: dict[str, Any], outline: Outline, level: int) -> None:
    """Put what is short into lines, and each large part under a heading of its own."""
    large = {}
    lines = []
    for key, part in value.items():
        line = _pairs({key: part})
        is_table = isinstance(part, list) and any(isinstance(item, dict) for item in part)
        if is_table or (isinstance(part, dict | list) and len(line) > INLINE):
            large[key] = part
        else:
            lines.append(line)
    outline.lines(lines)
    for key, part in large.items():
        outline.heading(level, key)
        if isinstance(part, dict):
            _members(part, outline, level + 1)
        else:
            outline.lines(_items(part))


def _items(values: list[Any]) -> list[str]:
    return [_pairs(value) if isinstance(value, dict) else _scalar(value) for value in values]


def _pairs(value: dict[str, Any]) -> str:
    return "; ".join(f"{key}: {text}" if key else text for key, text in _flat("", value))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield dotted keys with what stands under them: `size.height`, `40`."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), part)
    elif isinstance(value, list) and any(isinstance(part, dict | list) for part in value):
        for number, part in enumerate(value, start=1):
            yield from _flat(f"{prefix}.{number}" if prefix else str(number), part)
    elif isinstance(value, list):
        yield prefix, ", ".join(map(_scalar, value))
    else:
        yield prefix, _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(f"{key}: {text}" if key else text for key, text in _flat("", value))
    return json.dumps(value, ensure_ascii=False)
