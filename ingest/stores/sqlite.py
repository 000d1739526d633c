"""The registry in SQLite: one file in WAL mode, full text with FTS5."""

import json
import sqlite3
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Insert, Table, create_engine, event, text
from sqlalchemy.dialects.sqlite import insert

from ingest.stores.dialect import HEADINGS_WEIGHT, TEXT_WEIGHT, TITLE_WEIGHT, Found, Words

FULL_TEXT = """
CREATE VIRTUAL TABLE IF NOT EXISTS chunks_fts USING fts5(
    title, headings, text, tokenize='porter unicode61'
)
"""
RANK = f"bm25({TITLE_WEIGHT}, {HEADINGS_WEIGHT}, {TEXT_WEIGHT})"

BEST = """
WITH best AS MATERIALIZED (
    SELECT rowid, rank FROM chunks_fts
    WHERE chunks_fts MATCH :match AND rank MATCH :rank ORDER BY rank LIMIT :enough
)
SELECT chunks.number, -best.rank AS score, (SELECT count(*) FROM best) AS ranked,
    (SELECT -max(rank) FROM best) AS worst
FROM best JOIN chunks ON chunks.number = best.rowid WHERE collection = :collection
"""
"""FTS5 sorts by its own rank without looking at any other table: that is what makes it quick."""
ALL = """
SELECT chunks.number, -words.rank AS score FROM chunks_fts AS words
JOIN chunks ON chunks.number = words.rowid
WHERE words.chunks_fts MATCH :match AND words.rank MATCH :rank AND collection = :collection
"""
ROUNDS = (4, 32)
"""Times the chunks wanted that are ranked at first, and once more, before all of them are."""
ORDER = " ORDER BY score DESC, chunks.id LIMIT :limit"
WITHIN = " AND document_id IN (SELECT value FROM json_each(:documents))"
"""One parameter, however many documents there are."""


class Sqlite:
    """A database file; made if it is not there."""

    def __init__(self, path: Path) -> None:
        self.place = str(path)
        self._path = path

    def engine(self) -> Engine:
        """Return the database's engine."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(f"sqlite:///{self._path}")
        event.listen(engine, "connect", _configure)
        return engine

    def version(self, connection: Connection) -> int:
        """Return the version of the schema, 0 where there is none."""
        return int(connection.execute(text("PRAGMA user_version")).scalar_one())

    def set_version(self, connection: Connection, version: int) -> None:
        """Note the version of the schema."""
        connection.execute(text(f"PRAGMA user_version = {version}"))

    def make_words(self, connection: Connection) -> None:
        """Make the full-text index if it is not there."""
        connection.execute(text(FULL_TEXT))

    def add_words(self, connection: Connection, words: Sequence[Words]) -> None:
        """Take chunks into the full-text index."""
        statement = text(
            "INSERT INTO chunks_fts(rowid, title, headings, text) "
            "VALUES (:number, :title, :headings, :text)"
        )
        if words:
            connection.execute(statement, [word._asdict() for word in words])

    def remove_words(self, connection: Connection, document_id: str) -> None:
        """Take a document's chunks, which are still listed, out of the full-text index."""
        statement = text(
            "DELETE FROM chunks_fts WHERE rowid IN "
            "(SELECT number FROM chunks WHERE document_id = :id)"
        )
        connection.execute(statement, {"id": document_id})

    def insert_new(self, table: Table) -> Insert:
        """Return an insert that passes over rows whose key is there already."""
        return insert(table).on_conflict_do_nothing()

    def search(
        self,
        connection: Connection,
        words: Sequence[str],
        *,
        collection: str,
        limit: int,
        documents: Collection[str] | None,
    ) -> list[Found]:
        """Return the best chunks that hold one of `words`, best first, equal ones by their id.

        The best of all collections are ranked first, and those that do not belong are left out
        afterwards. Where too few remain, more are ranked, and in the end all.
        """
        values: dict[str, Any] = {
            "match": " OR ".join(f'"{word}"' for word in words),
            "rank": RANK,
            "collection": collection,
            "limit": limit,
        }
        if documents is not None:
            values["documents"] = json.dumps(sorted(documents))
        rest = ORDER if documents is None else WITHIN + ORDER
        for times in ROUNDS:
            enough = times * limit
            rows = connection.execute(text(BEST + rest), {**values, "enough": enough}).all()
            # Chunks that rank like the last one may have been cut off, and come first by their id.
            if rows and (
                rows[0].ranked < enough or (len(rows) == limit and rows[-1].score > rows[-1].worst)
            ):
                return _found(rows)
            if len(rows) * ROUNDS[-1] < limit * times:
                break  # so few belong that ranking some more would not do
        return _found(connection.execute(text(ALL + rest), values).all())

    def explain(self, error: Any) -> tuple[str, str] | None:
        """Return message and hint for a database error that is no fault of the statement's."""
        if not isinstance(error, sqlite3.DatabaseError):
            return None
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            return None  # a fault of ours
        return (
            f"{self.place} cannot be used: {error}.",
            "What was stored before is kept. Check that it can be written, the disk has room and "
            "nothing else holds it.",
        )


def _found(rows: Sequence[Any]) -> list[Found]:
    return [Found(row.number, float(row.score)) for row in rows]


def _configure(connection: sqlite3.Connection, _: object) -> None:
    # WAL lets readers go on while one writes; NORMAL is safe with it against a killed process.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA busy_timeout = 10000")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # see ingest/erase.py
