"""The registry: documents, their chunks and the full-text index, in SQLite or PostgreSQL.

It is the truth about what is indexed. A vector whose chunk is not listed here does not exist for a
reader, so a document is replaced in the one moment in which its transaction commits.
"""

import json
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    delete,
    event,
    exists,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError

from ingest.document import Chunk, Document, Entry, Failed, Record, heading_of
from ingest.errors import NotFoundError, StoreError
from ingest.path import printable
from ingest.row import chunk_of, chunk_row, document_row, record_of
from ingest.schema import CHUNKS, DOCUMENTS, FACTS, METADATA, PENDING, STEPS, VERSION
from ingest.stores.dialect import Dialect, Words, telling_words
from ingest.stores.postgresql import PostgreSQL
from ingest.stores.sqlite import Sqlite
from ingest.stores.tables import making_tables

LISTED = [column for column in DOCUMENTS.c if column.name != "text"]
"""All columns but the long one."""


class Registry:
    """Documents and chunks by id, and BM25 over the chunks."""

    def __init__(self, place: Path | str) -> None:
        """Open the registry in the file or the `postgresql://` database at `place`, or make it.

        Raises:
            StoreError: not there, not writable, or written by a newer version.
        """
        self._dialect: Dialect = Sqlite(place) if isinstance(place, Path) else PostgreSQL(place)
        try:
            self._engine = self._dialect.engine()
            event.listen(self._engine, "handle_error", self._translate)
            self._bring_forward()
        except (DBAPIError, OSError) as error:
            what = error.orig if isinstance(error, DBAPIError) else error.strerror
            raise StoreError(f"{self.place} cannot be opened: {what}.") from None
        except StoreError:
            self.close()
            raise

    @property
    def engine(self) -> Engine:
        """The database, for others who keep their tables in it."""
        return self._engine

    @property
    def place(self) -> str:
        """Where the database lies, for people: no password."""
        return self._dialect.place

    @property
    def index_id(self) -> str:
        """What tells this index from others that share a vector store: 12 hex digits."""
        known = self.fact("index")
        if known is None:
            row = {"key": "index", "value": uuid.uuid4().hex[:12]}
            with self._engine.begin() as connection:
                connection.execute(self._dialect.insert_new(FACTS).values(row))
            known = self.fact("index")
        return str(known)

    def fact(self, key: str) -> str | None:
        """Return what was noted under `key`, or None."""
        query = select(FACTS.c.value).where(FACTS.c.key == key)
        with self._engine.connect() as connection:
            return connection.execute(query).scalar()

    def facts(self) -> dict[str, str]:
        """Return all that was noted."""
        with self._engine.connect() as connection:
            return {row.key: row.value for row in connection.execute(select(FACTS))}

    def note(self, key: str, value: str) -> None:
        """Note something about the index, in one step, instead of what was noted before."""
        with self._engine.begin() as connection:
            connection.execute(delete(FACTS).where(FACTS.c.key == key))
            connection.execute(insert(FACTS).values(key=key, value=value))

    def documents(self, collection: str | None = None) -> list[Record]:
        """Return the documents of a collection, or of all, by source."""
        query = select(*LISTED).order_by(DOCUMENTS.c.source)
        if collection is not None:
            query = query.where(DOCUMENTS.c.collection == collection)
        counts = select(CHUNKS.c.document_id, func.count()).group_by(CHUNKS.c.document_id)
        with self._engine.connect() as connection:
            chunks: dict[str, int] = {row[0]: row[1] for row in connection.execute(counts)}
            return [
                record_of(row, chunks.get(row["id"], 0))
                for row in connection.execute(query).mappings()
            ]

    def document(self, document_id: str) -> tuple[Record, str, list[Chunk]]:
        """Return a document's record, its text and its chunks in reading order.

        Raises:
            NotFoundError: there is no such document.
        """
        with self._engine.connect() as connection:
            row = (
                connection.execute(select(DOCUMENTS).where(DOCUMENTS.c.id == document_id))
                .mappings()
                .first()
            )
            if row is None:
                raise NotFoundError(
                    f"There is no document {document_id!r}.", hint="groundtune documents list"
                )
            chunks = connection.execute(
                select(CHUNKS).where(CHUNKS.c.document_id == document_id).order_by(CHUNKS.c.ordinal)
            ).mappings()
            found = [chunk_of(chunk) for chunk in chunks]
        return record_of(row, len(found)), row["text"], found

    def entries(self, collection: str) -> list[Entry]:
        """Return what ingestion looks up of each document of a collection, by source."""
        columns = [DOCUMENTS.c[name] for name in Entry._fields]
        query = select(*columns).where(DOCUMENTS.c.collection == collection)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(DOCUMENTS.c.source))
            return [Entry(*row) for row in rows]

    def collections(self) -> list[str]:
        """Return the names of the collections that hold something to search."""
        named = select(DOCUMENTS.c.collection).distinct().subquery()
        filled = exists().where(CHUNKS.c.collection == named.c.collection)
        query = select(named.c.collection).where(filled).order_by(named.c.collection)
        with self._engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def chunk_ids(self, document_id: str) -> set[str]:
        """Return the ids of a document's chunks."""
        query = select(CHUNKS.c.id).where(CHUNKS.c.document_id == document_id)
        with self._engine.connect() as connection:
            return set(connection.execute(query).scalars())

    def chunks(self, ids: Sequence[str]) -> dict[str, Chunk]:
        """Return the listed chunks by id; ids without a chunk are left out."""
        with self._engine.connect() as connection:
            return {
                row["id"]: chunk_of(row)
                for some in _slices(ids)
                for row in connection.execute(
                    select(CHUNKS).where(CHUNKS.c.id.in_(some))
                ).mappings()
            }

    def put(self, documents: Sequence[tuple[Document, Sequence[Chunk]]]) -> set[str]:
        """Insert documents or replace them, chunks and full text with them, in one transaction.

        No two are the same document, and there is one at least. Returns the ids of the chunks that
        left with earlier versions. In the same moment they are noted as pending, and the chunks
        that came are so no longer.
        """
        ids = [document.id for document, _ in documents]
        here = [chunk for _, chunks in documents for chunk in chunks]
        came = {chunk.id for chunk in here}
        with self._engine.begin() as connection:
            old = select(CHUNKS.c.id).where(CHUNKS.c.document_id.in_(ids))
            gone = set(connection.execute(old).scalars()) - came
            known = connection.execute(select(DOCUMENTS.c.id).where(DOCUMENTS.c.id.in_(ids)))
            for document_id in known.scalars().all():
                self._remove(connection, document_id)
            connection.execute(insert(DOCUMENTS), [document_row(one) for one, _ in documents])
            self._add_chunks(connection, [chunk_row(chunk) for chunk in here])
            _clear_pending(connection, came)
            self._set_pending(connection, gone)
        return gone

    def fail(self, failed: Failed) -> None:
        """Note that a file could not be read. What an earlier version of it left stays as it is."""
        here = DOCUMENTS.c.id == failed.id
        values: dict[str, Any] = {"status": "failed", "error": failed.error}
        bare = {
            "collection": failed.collection,
            "source": failed.source,
            "path": None if failed.path is None else printable(failed.path),
            "title": failed.source,
            "sha256": failed.sha256,
            "text": "",
        }
        with self._engine.begin() as connection:
            if connection.execute(update(DOCUMENTS).where(here).values(**values)).rowcount == 0:
                connection.execute(insert(DOCUMENTS).values(id=failed.id, **bare, **values))

    def move(self, document_id: str, *, source: str, path: Path | None) -> None:
        """Note that the file of a document lies elsewhere now."""
        with self._engine.begin() as connection:
            connection.execute(
                update(DOCUMENTS)
                .where(DOCUMENTS.c.id == document_id)
                .values(source=source, path=None if path is None else printable(path))
            )
            connection.execute(
                update(CHUNKS).where(CHUNKS.c.document_id == document_id).values(source=source)
            )

    def adopt(self, source: "Registry", document_id: str) -> None:
        """Take a document over from another registry as it stands there, in one transaction."""
        with source.engine.connect() as connection:
            here = select(DOCUMENTS).where(DOCUMENTS.c.id == document_id)
            document = dict(connection.execute(here).mappings().one())
            parts = select(*[column for column in CHUNKS.c if column.name != "number"])
            parts = parts.where(CHUNKS.c.document_id == document_id).order_by(CHUNKS.c.ordinal)
            chunks = [dict(row) for row in connection.execute(parts).mappings()]
        with self._engine.begin() as connection:
            self._remove(connection, document_id)
            connection.execute(insert(DOCUMENTS).values(document))
            self._add_chunks(connection, chunks)

    def remove(self, document_id: str) -> None:
        """Remove a document with its chunks and full text, in one transaction."""
        with self._engine.begin() as connection:
            self._remove(connection, document_id)

    def set_pending(self, ids: Iterable[str]) -> None:
        """Note vectors that may be in the vector store without a chunk in the registry."""
        with self._engine.begin() as connection:
            self._set_pending(connection, ids)

    def clear_pending(self, ids: Iterable[str]) -> None:
        """Forget pending vectors: each is now either listed or gone."""
        with self._engine.begin() as connection:
            _clear_pending(connection, ids)

    def pending(self) -> set[str]:
        """Return the vectors that an interrupted run left in doubt."""
        with self._engine.connect() as connection:
            return set(connection.execute(select(PENDING.c.chunk_id)).scalars())

    def stray(self) -> set[str]:
        """Return the pending vectors that have no chunk."""
        listed = exists().where(CHUNKS.c.id == PENDING.c.chunk_id)
        with self._engine.connect() as connection:
            return set(connection.execute(select(PENDING.c.chunk_id).where(~listed)).scalars())

    def search(
        self,
        query: str,
        *,
        collection: str,
        limit: int,
        documents: Collection[str] | None = None,
    ) -> list[tuple[Chunk, float]]:
        """Return the best chunks by BM25, best first, with positive scores; higher is better.

        A query without a telling word finds nothing. `documents` are the ids of those that are
        searched; None is all of the collection, and an empty one finds nothing.
        """
        words = telling_words(query)
        if not words or (documents is not None and not documents):
            return []
        with self._engine.connect() as connection:
            found = self._dialect.search(
                connection, words, collection=collection, limit=limit, documents=documents
            )
            numbers = [one.number for one in found]
            rows = connection.execute(select(CHUNKS).where(CHUNKS.c.number.in_(numbers))).mappings()
            chunks = {row["number"]: chunk_of(row) for row in rows}
        return [(chunks[one.number], one.score) for one in found]

    def sizes(self) -> dict[str, int]:
        """Return how many chunks each collection has; those without one are left out."""
        query = select(CHUNKS.c.collection, func.count()).group_by(CHUNKS.c.collection)
        with self._engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def pages(self, collection: str, *, size: int) -> Iterator[list[Chunk]]:
        """Yield all chunks of a collection, at most `size` at a time, by their ids."""
        after = ""
        here = select(CHUNKS).where(CHUNKS.c.collection == collection)
        while True:
            query = here.where(CHUNKS.c.id > after).order_by(CHUNKS.c.id).limit(size)
            with self._engine.connect() as connection:
                page = [chunk_of(row) for row in connection.execute(query).mappings()]
            if not page:
                return
            yield page
            after = page[-1].id

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def _bring_forward(self) -> None:
        with self._engine.connect() as connection:
            if self._checked_version(connection) == VERSION:
                return
        with making_tables(self._engine) as connection:
            found = self._checked_version(connection)
            METADATA.create_all(connection)
            for version in range(found or VERSION, VERSION):
                if version in STEPS:
                    STEPS[version](connection)
            self._dialect.make_words(connection)
            self._dialect.set_version(connection, VERSION)

    def _checked_version(self, connection: Connection) -> int:
        found = self._dialect.version(connection)
        if found > VERSION:
            raise StoreError(
                f"{self.place} has schema {found}; this version reads up to {VERSION}.",
                hint="Upgrade: pip install --upgrade groundtune",
            )
        return found

    def _add_chunks(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
        if not rows:
            return
        numbers = connection.execute(
            insert(CHUNKS).returning(CHUNKS.c.number, sort_by_parameter_order=True), rows
        ).scalars()
        words = [
            Words(number, row["title"], heading_of(json.loads(row["headings"])), row["text"])
            for number, row in zip(numbers, rows, strict=True)
        ]
        self._dialect.add_words(connection, words)

    def _set_pending(self, connection: Connection, ids: Iterable[str]) -> None:
        if rows := [{"chunk_id": chunk_id} for chunk_id in ids]:
            connection.execute(self._dialect.insert_new(PENDING), rows)

    def _remove(self, connection: Connection, document_id: str) -> None:
        self._dialect.remove_words(connection, document_id)
        connection.execute(delete(CHUNKS).where(CHUNKS.c.document_id == document_id))
        connection.execute(delete(DOCUMENTS).where(DOCUMENTS.c.id == document_id))

    def _translate(self, context: ExceptionContext) -> None:
        """Name what is wrong with the database, wherever it is used."""
        known = self._dialect.explain(context.original_exception)
        if known is not None:
            raise StoreError(known[0], hint=known[1]) from None


def _clear_pending(connection: Connection, ids: Iterable[str]) -> None:
    for some in _slices(list(ids)):
        connection.execute(delete(PENDING).where(PENDING.c.chunk_id.in_(some)))


def _slices(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the ids in portions: a statement takes some ten thousand values at most."""
    for start in range(0, len(ids), 5000):
        yield ids[start : start + 5000]
