"""The audit log: who took in, deleted, evaluated, promoted or opened what, and when.

It names documents by their ids and keys by theirs, and holds nothing of their content: it outlives
what it speaks of.
"""

import time
from collections.abc import Callable
from typing import Any, Literal

from sqlalchemy import (
    Column,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    insert,
    select,
)

from ingest.stores.tables import make_tables

METADATA = MetaData()
AUDIT = Table(
    "audit",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("key", String(12), nullable=False),
    Column("action", String(32), nullable=False),
    Column("subject", Text, nullable=False),
    Column("collection", String(64)),
    Column("request_id", String(32)),
)
Action = Literal[
    "ingest",
    "delete",
    "evaluate",
    "promote",
    "rollback",
    "backup",
    "key.create",
    "key.revoke",
]


class Audit:
    """The audit log of a workspace, in its state database. Lines are added and never changed."""

    def __init__(self, engine: Engine, now: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._now = now
        make_tables(engine, METADATA)

    def note(
        self,
        action: Action,
        subject: str,
        *,
        key: str = "",
        collection: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """Add a line: the key `key` did `action` to `subject`; an empty key is this machine's."""
        row = {"key": key, "action": action, "subject": subject, "collection": collection}
        with self._engine.begin() as connection:
            connection.execute(insert(AUDIT).values(**row, at=self._now(), request_id=request_id))

    def lines(self, *, last: int = 100) -> list[dict[str, Any]]:
        """Return the last lines, oldest first; `at` is in seconds since 1970, UTC."""
        query = select(AUDIT).order_by(AUDIT.c.number.desc()).limit(last)
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()][::-1]
