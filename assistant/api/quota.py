"""How much one key may ask for: in a minute, and at the same time.

The counts stand in a small database of their own: in memory where one process serves alone, in a
file where several serve a workspace together, so that a key has its limits once and not once in
each. The state database is not for that: an ingestion would hold up every request.
"""

import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.errors import StoreError

FILE = "limits.sqlite"
TABLES = """
CREATE TABLE IF NOT EXISTS spent (
    kind TEXT, name TEXT, remaining REAL, at REAL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS streams (
    name TEXT, process INTEGER, open INTEGER, PRIMARY KEY (name, process)) WITHOUT ROWID;
"""
BUSY_S = 5.0
FORGET_EVERY = 10_000
"""Requests between two looks for buckets that are full again, which say nothing."""


class Counts:
    """The database."""

    def __init__(self, file: Path | None = None) -> None:
        """Open the database in `file`, which other processes may use as well; None is memory."""
        self._lock = threading.Lock()
        self._place = file or ":memory:"
        self._connection = sqlite3.connect(
            self._place, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        # Counts of the last minute are worth no wait for the disk.
        self._connection.executescript(
            f"PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; {TABLES}"
        )

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """Let no other thread or process count inside the block.

        Raises:
            StoreError: the file cannot be written.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                with self._connection:  # commits, or takes back
                    yield self._connection
            except sqlite3.Error as error:
                raise StoreError(f"{self._place} cannot be used: {error}.") from None

    def forget(self, process: int) -> None:
        """Close the streams of a process that has died."""
        with self.changing() as connection:
            connection.execute("DELETE FROM streams WHERE process = ?", (process,))

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()


def renew(home: Path) -> Path:
    """Remove what an earlier service counted; return the file that several processes count in."""
    for path in home.glob(f"{FILE}*"):
        path.unlink()
    return home / FILE


class Quota:
    """A bucket of requests for each name, filled again with time."""

    def __init__(
        self,
        counts: Counts,
        kind: str,
        per_minute: int,
        now: Callable[[], float] = time.monotonic,  # the same for all processes of a machine
    ) -> None:
        """Allow `per_minute` requests of a `kind`, also in one burst; 0 sets no limit."""
        self._counts = counts
        self._kind = kind
        self._per_minute = per_minute
        self._now = now
        self._unswept = 0

    def spend(self, name: str) -> int:
        """Take a request from `name`'s bucket; return 0, or the seconds until there is one."""
        if not self._per_minute:
            return 0
        with self._counts.changing() as connection:
            left = self._filled(connection, name)
            if left < 1:
                return math.ceil((1 - left) * 60 / self._per_minute)
            self._unswept += 1
            if self._unswept >= FORGET_EVERY:
                self._unswept = 0
                full = "remaining + (? - at) * ? / 60 >= ?"
                values = (self._kind, self._now(), self._per_minute, self._per_minute)
                connection.execute(f"DELETE FROM spent WHERE kind = ? AND {full}", values)
            row = (self._kind, name, left - 1, self._now())
            connection.execute("REPLACE INTO spent VALUES (?, ?, ?, ?)", row)
        return 0

    def empty(self, name: str) -> bool:
        """Return whether `name` has no request left now."""
        if not self._per_minute:
            return False
        with self._counts.changing() as connection:
            return self._filled(connection, name) < 1

    def _filled(self, connection: sqlite3.Connection, name: str) -> float:
        query = "SELECT remaining, at FROM spent WHERE kind = ? AND name = ?"
        row = connection.execute(query, (self._kind, name)).fetchone()
        left, then = row or (float(self._per_minute), 0.0)
        return min(float(self._per_minute), left + (self._now() - then) * self._per_minute / 60)


class Streams:
    """How many streams each key has open."""

    def __init__(self, counts: Counts, most: int) -> None:
        """Allow `most` to each; 0 sets no limit."""
        self._counts = counts
        self._most = most

    def begin(self, name: str) -> bool:
        """Count one more, unless there are too many."""
        if not self._most:
            return True
        with self._counts.changing() as connection:
            query = "SELECT COALESCE(SUM(open), 0) FROM streams WHERE name = ?"
            if connection.execute(query, (name,)).fetchone()[0] >= self._most:
                return False
            connection.execute(
                "INSERT INTO streams VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET open = open + 1",
                (name, os.getpid()),
            )
        return True

    def end(self, name: str) -> None:
        """Count one less."""
        if not self._most:
            return
        mine = (name, os.getpid())
        with self._counts.changing() as connection:
            connection.execute(
                "UPDATE streams SET open = open - 1 WHERE name = ? AND process = ?", mine
            )
            connection.execute(
                "DELETE FROM streams WHERE name = ? AND process = ? AND open <= 0", mine
            )
