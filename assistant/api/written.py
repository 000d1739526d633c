"""Long answers, written where they are computed: in a thread, and in pieces.

FastAPI writes what a route returns in the event loop, where everybody waits for the megabytes of a
long document. The writer of the standard library lets nobody else compute before it has ended, so
the items of a list are written one by one, and a long text a page at a time.
"""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import Response

PAGE = 100_000
"""Characters that are written in one go."""


def written(body: Mapping[str, Any]) -> Response:
    """Return the answer with `body`, as its route's model describes it: as JSON."""
    members = [f"{_json(key)}:{_value(value)}" for key, value in body.items()]
    return Response(f"{{{','.join(members)}}}", media_type="application/json")


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(_json(item) for item in value)}]"
    if isinstance(value, str):
        pages = range(0, len(value), PAGE)
        return '"' + "".join(_json(value[start : start + PAGE])[1:-1] for start in pages) + '"'
    return _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
