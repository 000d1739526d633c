"""The registry in PostgreSQL, by the pg8000 driver; full text with tsvector."""

import getpass
import os
import re
import unicodedata
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Insert, Table, create_engine, inspect, make_url, text
from sqlalchemy.dialects.postgresql import insert

from ingest.extras import require
from ingest.stores.dialect import HEADINGS_WEIGHT, TEXT_WEIGHT, TITLE_WEIGHT, Found, Words

CONFIGURATION = """
CREATE TEXT SEARCH DICTIONARY groundtune_stem (TEMPLATE = snowball, LANGUAGE = english);
CREATE TEXT SEARCH CONFIGURATION groundtune (COPY = simple);
ALTER TEXT SEARCH CONFIGURATION groundtune
    ALTER MAPPING FOR asciiword, word, numword WITH groundtune_stem;
"""
"""Stems without stop words: these are ours, the same on every database."""
TABLE = """
CREATE TABLE IF NOT EXISTS chunk_words (
    number INTEGER PRIMARY KEY REFERENCES chunks ON DELETE CASCADE,
    words TSVECTOR NOT NULL
);
CREATE INDEX IF NOT EXISTS chunk_words_words ON chunk_words USING GIN (words);
"""
ADD = """
INSERT INTO chunk_words(number, words) VALUES (:number,
    setweight(to_tsvector('groundtune', :title), 'C') ||
    setweight(to_tsvector('groundtune', :headings), 'B') ||
    setweight(to_tsvector('groundtune', :text), 'A'))
"""
RANK = (
    f"ts_rank_cd('{{0, {TITLE_WEIGHT}, {HEADINGS_WEIGHT}, {TEXT_WEIGHT}}}', w.words, terms.q, 32)"
)
SEARCH = f"""
WITH terms AS MATERIALIZED (
    SELECT q, (SELECT count(*) FROM chunk_words AS w WHERE w.words @@ q) AS n,
        (SELECT count(*) FROM chunk_words) AS total
    FROM (SELECT to_tsquery('groundtune', word) AS q
          FROM unnest(CAST(:words AS TEXT[])) AS word) AS asked
    WHERE numnode(q) > 0
)
SELECT chunks.number, sum({RANK} * greatest(ln((total - n + 0.5) / (n + 0.5)), 1e-6)) AS score
FROM terms JOIN chunk_words AS w ON w.words @@ terms.q JOIN chunks ON chunks.number = w.number
WHERE chunks.collection = :collection %s
GROUP BY chunks.number, chunks.id ORDER BY score DESC, chunks.id COLLATE "C" LIMIT :limit
"""
"""BM25 without its correction for length (b = 0, k1 = 1), as chunks are about equally long:
ts_rank_cd of one word adds up the weights of its places, and its option 32 makes x / (x + 1) of x.
"""
WITHIN = "AND chunks.document_id = ANY(CAST(:documents AS TEXT[]))"


class PostgreSQL:
    """A database that several processes may write."""

    def __init__(self, url: str) -> None:
        """Take an address such as `postgresql://user:password@host/database`.

        What it lacks is taken as PostgreSQL's own programs do: the password from the environment
        variable PGPASSWORD, the user from PGUSER, else this machine's.

        Raises:
            MissingExtraError: the driver is not installed.
        """
        require("pg8000", extra="scale")
        self._url = make_url(url).set(drivername="postgresql+pg8000")
        if self._url.password is None and (password := os.environ.get("PGPASSWORD")):
            self._url = self._url.set(password=password)
        if self._url.username is None:
            self._url = self._url.set(username=os.environ.get("PGUSER") or getpass.getuser())
        self.place = self._url.set(drivername="postgresql").render_as_string()  # hides it

    def engine(self) -> Engine:
        """Return the database's engine."""
        return create_engine(self._url, pool_pre_ping=True)

    def version(self, connection: Connection) -> int:
        """Return the version of the schema, 0 where there is none."""
        if not inspect(connection).has_table("schema_version"):
            return 0
        found = connection.execute(text("SELECT max(version) FROM schema_version")).scalar()
        return int(found or 0)

    def set_version(self, connection: Connection, version: int) -> None:
        """Note the version of the schema."""
        connection.execute(text("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER)"))
        connection.execute(text("DELETE FROM schema_version"))
        connection.execute(text("INSERT INTO schema_version VALUES (:v)"), {"v": version})

    def make_words(self, connection: Connection) -> None:
        """Make the full-text index if it is not there."""
        there = "SELECT count(*) FROM pg_ts_config WHERE cfgname = 'groundtune'"
        statements = TABLE
        if not connection.execute(text(there)).scalar_one():
            statements = CONFIGURATION + TABLE
        for statement in statements.split(";"):
            if statement.strip():
                connection.execute(text(statement))

    def add_words(self, connection: Connection, words: Sequence[Words]) -> None:
        """Take chunks into the full-text index."""
        rows = [
            {
                "number": word.number,
                "title": _plain(word.title),
                "headings": _plain(word.headings),
                "text": _plain(word.text),
            }
            for word in words
        ]
        if rows:
            connection.execute(text(ADD), rows)

    def remove_words(self, connection: Connection, document_id: str) -> None:
        """Leave it to the chunks: their words go with them."""

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
        """Return the best chunks that hold one of `words`, best first, equal ones by their id."""
        plain = [f"'{said}'" for word in words if (said := _plain(word))]
        values: dict[str, Any] = {"words": plain, "collection": collection, "limit": limit}
        if documents is not None:
            values["documents"] = sorted(documents)
        statement = SEARCH % ("" if documents is None else WITHIN)
        rows = connection.execute(text(statement), values)
        return [Found(row.number, float(row.score)) for row in rows]

    def explain(self, error: Any) -> tuple[str, str] | None:
        """Return message and hint for a database error that is no fault of the statement's."""
        from pg8000.exceptions import DatabaseError, InterfaceError

        about = error.args[0] if error is not None and error.args else error
        code = about.get("C", "") if isinstance(about, dict) else ""
        what = str(about.get("M", "") if isinstance(about, dict) else about).rstrip(".")
        # SQLSTATE: connection, authorization, no database, resources, shutdown, system;
        # a NUL byte in a text, read-only, a right that is missing.
        lost = code[:2] in {"08", "28", "3D", "53", "57", "58"} or code in {
            "22021",
            "25006",
            "42501",
        }
        if isinstance(error, InterfaceError | OSError) or (
            isinstance(error, DatabaseError) and lost
        ):
            return (
                f"The database {self.place} does not do its work: {what}.",
                "Check store.state and that PostgreSQL is running: groundtune doctor",
            )
        return None


def _plain(words: str) -> str:
    """Return the words alone, without accents, as FTS5 reads them in SQLite."""
    letters = unicodedata.normalize("NFKD", words)
    letters = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(re.findall(r"[^\W_]+", letters.casefold()))
