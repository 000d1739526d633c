"""Versions: which document takes the place of which, by what the newer one says of itself."""

import re
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from sqlalchemy import Connection

from ingest.document import Record
from ingest.registry import Registry

SUPERSEDES = "supersedes"
"""The key of a document's metadata that quotes what it says it takes the place of."""
WORD = re.compile(r"[^\W_]+")
SEVERAL = re.compile(r"\s*(?:[;,\n]|\band\b)\s*")
PLAIN = frozenset({"the", "of", "no", "rev", "revision", "version", "edition", "issue", "dated"})
"""Words of a quotation that its document need not have: `SB-7 rev A` is `SB-7`, revision `A`."""
LOOK_AGAIN_S = 2.0
"""Where the database does not tell whether it has changed, this is how long an answer is kept."""


class Versions:
    """The superseded documents of each collection, worked out again when the registry changes."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._stamp: object = None
        self._known: dict[str, Mapping[str, Record]] = {}
        self._watch: Connection | None = None
        if registry.engine.dialect.name == "sqlite":
            # Of its own and never written through: `data_version` counts the commits of all others.
            self._watch = registry.engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def superseded(self, collection: str) -> Mapping[str, Record]:
        """Return superseded document's id -> the newest document in its place."""
        with self._lock:
            stamp = self._now()
            if stamp != self._stamp:
                self._known.clear()
                self._stamp = stamp
            if collection not in self._known:
                self._known[collection] = successors(self._registry.documents(collection))
            return self._known[collection]

    def close(self) -> None:
        """Let go of the connection."""
        if self._watch is not None:
            self._watch.close()

    def _now(self) -> object:
        if self._watch is None:
            return int(time.monotonic() / LOOK_AGAIN_S)
        return self._watch.exec_driver_sql("PRAGMA data_version").scalar_one()


def successors(records: Sequence[Record]) -> dict[str, Record]:
    """Return superseded document's id -> the newest document in its place.

    Chains are followed to their end. Documents that supersede each other in a circle are all
    current: there is no newest. A quotation that fits no document, or several, counts for nothing.
    """
    by_id = {record.id: record for record in records}
    newer: dict[str, str] = {}
    for record in records:
        for old in _quoted(record, records):
            newer.setdefault(old.id, record.id)
    for start in list(newer):
        if start in newer and start in (circle := _chain(start, newer)):
            for document_id in circle:
                newer.pop(document_id, None)
    return {old: by_id[_chain(old, newer)[-1]] for old in newer}


def _chain(start: str, newer: Mapping[str, str]) -> list[str]:
    """Return what follows on `start`, each document once; it ends with `start` in a circle."""
    chain: list[str] = []
    here = start
    while here in newer and newer[here] not in chain:
        here = newer[here]
        chain.append(here)
    return chain


def _quoted(record: Record, records: Sequence[Record]) -> list[Record]:
    quotation = record.metadata.get(SUPERSEDES, "").strip()
    if not quotation:
        return []
    others = [other for other in records if other.id != record.id]
    whole = _resolve(quotation, others)
    if whole is not None:
        return [whole]
    parts = [_resolve(part, others) for part in SEVERAL.split(quotation) if part.strip()]
    return [part for part in parts if part is not None]


def _resolve(quotation: str, records: Sequence[Record]) -> Record | None:
    """Return the one document that is called so: by a whole name, else by all words of it."""
    said = _words(quotation)
    if not said:
        return None
    whole = [record for record in records if said in map(_words, _names(record))]
    if len(whole) == 1:
        return whole[0]
    if whole or not any(c.isdigit() for word in said for c in word):
        return None  # without a number, a few words fit too many titles
    telling = set(said) - PLAIN
    within = [r for r in records if telling <= {w for name in _names(r) for w in _words(name)}]
    return within[0] if len(within) == 1 else None


def _names(record: Record) -> list[str]:
    path = PurePosixPath(record.source)
    said = [value for key, value in record.metadata.items() if key != SUPERSEDES]
    return [record.source, path.name, path.stem, record.title, *said]


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold())
