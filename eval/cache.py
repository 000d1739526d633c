"""What was computed once: answers by the hash of all that shapes them, and scores likewise."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ingest.errors import StoreError

CHUNK = 500  # SQLite takes at most 999 parameters in old versions


class Cache(AbstractContextManager["Cache"]):
    """JSON values by key, in one SQLite file. A value is on disk before `put` returns."""

    def __init__(self, path: Path) -> None:
        """Open the cache at `path`, or make it.

        Raises:
            StoreError: the file is not a cache.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._db = sqlite3.connect(path, isolation_level=None)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")  # survives a kill; a power cut, mostly
            self._db.execute("CREATE TABLE IF NOT EXISTS cache (key TEXT PRIMARY KEY, value TEXT)")
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise StoreError(
                f"The cache of evaluations at {path} cannot be read: {error}.",
                hint=f"It holds nothing that cannot be computed again; remove it: rm {path}*",
            ) from None

    def get(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of those `keys` that are there."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, Any] = {}
        for start in range(0, len(wanted), CHUNK):
            some = wanted[start : start + CHUNK]
            marks = ",".join("?" * len(some))
            rows = self._db.execute(f"SELECT key, value FROM cache WHERE key IN ({marks})", some)
            found |= {key: json.loads(value) for key, value in rows}
        return found

    def put(self, values: Mapping[str, Any]) -> None:
        """Keep `values`, all of them or none."""
        rows = [(k, json.dumps(v, ensure_ascii=False)) for k, v in values.items()]
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR REPLACE INTO cache VALUES (?, ?)", rows)
        self._db.execute("COMMIT")

    def empty(self) -> int:
        """Remove every value, its bytes on disk too; return how many there were.

        Raises:
            StoreError: an evaluation is at work with the file.
        """
        try:
            self._db.execute("PRAGMA secure_delete=ON")
            removed = self._db.execute("DELETE FROM cache").rowcount
            self._db.execute("VACUUM")
            busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.OperationalError as error:
            busy = str(error)
        if busy:
            raise StoreError(
                f"The cache of evaluations at {self._path} is in use.",
                hint="Wait until the evaluation has ended, then run this again.",
            )
        return removed

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def __exit__(self, *_: object) -> None:
        self.close()
