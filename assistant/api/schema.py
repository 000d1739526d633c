"""JSON schemas that come with a request: is it one, and is it harmless?"""

from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

JSON_DEPTH = 32
"""How deep a schema may be nested; what walks it, ours and llama.cpp's, does so by recursion."""


def check_depth(value: Any, limit: int = JSON_DEPTH) -> None:
    """Raise ValueError where JSON is nested deeper than `limit`."""
    level = [value]
    for _ in range(limit):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        if not inner:
            return
        level = inner
    raise ValueError(f"nested more than {limit} deep")


def checked_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return `schema` if it is a JSON schema that refers to nothing outside itself.

    Raises:
        ValueError: it is not.
    """
    check_depth(schema)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"not a JSON schema: {error.message}") from None
    _check_references(schema, schema)
    return schema


def _check_references(value: Any, schema: dict[str, Any]) -> None:
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str) and not reference.startswith("#"):
            raise ValueError(f"$ref {reference!r} points outside the schema")
        if isinstance(reference, str) and not _leads_somewhere(reference, schema):
            raise ValueError(f"$ref {reference!r} points at nothing in the schema")
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            _check_references(inner, schema)


def _leads_somewhere(reference: str, schema: Any) -> bool:
    """Return whether a JSON pointer (RFC 6901), `#/$defs/part`, has a target; names are none."""
    place = schema
    _, *steps = reference.removeprefix("#").split("/")
    for step in steps:
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(place, dict) or name not in place:
            return False
        place = place[name]
    return reference == "#" or reference.startswith("#/")
