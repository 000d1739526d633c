"""Filters: the documents that a search is kept to, by what is known of them."""

import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ingest.document import Record
from ingest.errors import NotFoundError, UsageError

KEYS = ("source", "kind", "title", "document_id")
"""What every document has; the keys of its metadata come on top."""
SHOWN_VALUES = 5

Filters = Mapping[str, str | Sequence[str]]
"""Key -> a value, or several of which one must fit. All keys must fit."""


def parse_filters(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Return `key=value` arguments by key; a key that stands twice takes either value.

    Raises:
        UsageError: one is not of that form.
    """
    found: dict[str, list[str]] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise UsageError(
                f"--filter {argument!r}: it is not KEY=VALUE.",
                hint="For example: --filter kind=pdf, or --filter 'source=manuals/*'",
            )
        found.setdefault(key.strip(), []).append(value.strip())
    return found


def matching(records: Sequence[Record], filters: Filters, collection: str) -> set[str]:
    """Return the ids of the documents that fit every filter.

    `source` is a glob; everything else is compared whole, upper and lower case alike.

    Raises:
        UsageError: no document has such a key.
        NotFoundError: no document fits.
    """
    left = list(records)
    for key, wanted in filters.items():
        values = [wanted] if isinstance(wanted, str) else list(wanted)
        _check_key(key, records)
        before, left = left, [r for r in left if any(_fits(r, key, value) for value in values)]
        if not left:
            raise NotFoundError(
                f"No document of collection {collection!r} fits "
                f"{key} = {' or '.join(map(repr, values))}{_also(filters, key)}.",
                hint=_there_are(before, key),
            )
    return {record.id for record in left}


def _value(record: Record, key: str) -> str:
    if key == "document_id":
        return record.id
    fixed: Any = getattr(record, key) if key in KEYS else record.metadata.get(key, "")
    return str(fixed)


def _fits(record: Record, key: str, wanted: str) -> bool:
    has = _value(record, key).casefold()
    if key == "source":
        return fnmatchcase(has, wanted.casefold())
    return has == wanted.casefold()


def _check_key(key: str, records: Sequence[Record]) -> None:
    known = [*KEYS, *sorted({name for record in records for name in record.metadata})]
    if key in known:
        return
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    advice = f"Did you mean {near[0]!r}? " if near else ""
    raise UsageError(
        f"Documents cannot be filtered by {key!r}: none of them has it.",
        hint=f"{advice}There are: {', '.join(known)}.",
    )


def _also(filters: Filters, key: str) -> str:
    others = [name for name in filters if name != key]
    return f" together with {', '.join(others)}" if others else ""


def _there_are(records: Sequence[Record], key: str) -> str:
    values = sorted({_value(record, key) for record in records} - {""})
    more = f", ... ({len(values)} in all)" if len(values) > SHOWN_VALUES else ""
    return f"{key} is one of: {', '.join(values[:SHOWN_VALUES])}{more}"
