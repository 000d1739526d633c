"""The registry: documents, their chunks and the full-text index, in SQLite.

It is the truth about what is indexed. A vector whose chunk is not listed here does not exist for a
reader, so a document is replaced in the one moment in which its transaction commits.
"""

import json
import re
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    create_engine,
    delete,
    event,
    exists,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError

from ingest.document import Chunk, Document, Entry, Failed, Record
from ingest.errors import NotFoundError, StoreError
from ingest.path import printable

SCHEMA_VERSION = 2

METADATA = MetaData()
DOCUMENTS = Table(
    "documents",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("collection", String(64), nullable=False, index=True),
    Column("source", Text, nullable=False),
    Column("path", Text),
    Column("title", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("pages", Integer),
    Column("error", Text),
    Column("text", Text, nullable=False),
    Column("kind", String(16), nullable=False, server_default=""),
    Column("metadata", Text, nullable=False, server_default="{}"),  # a JSON object of strings
)
LISTED = [column for column in DOCUMENTS.c if column.name != "text"]
"""All columns but the long one."""
UPLOADED = DOCUMENTS.c.path.is_(None)
CHUNKS = Table(
    "chunks",
    METADATA,
    Column("number", Integer, primary_key=True),  # the full-text index refers to it
    Column("id", String(32), nullable=False, unique=True),
    Column("document_id", ForeignKey("documents.id"), nullable=False, index=True),
    Column("collection", String(64), nullable=False, index=True),
    Column("source", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("headings", Text, nullable=False),
    Column("page", Integer),
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("ordinal", Integer, nullable=False),
)
PENDING = Table(
    "pending_vectors",  # written to the vector store, or about to leave it, with no commit yet
    METADATA,
    Column("chunk_id", String(32), primary_key=True),
)
FACTS = Table(
    "facts",  # of the whole index: what made its vectors
    METADATA,
    Column("name", String(32), primary_key=True),
    Column("value", Text, nullable=False),
)
FULL_TEXT = """
CREATE VIRTUAL TABLE IF NOT EXISTS chunks_fts USING fts5(
    title, headings, text, tokenize='porter unicode61'
)
"""

WEIGHTS = "0.5, 1.0, 1.0"
"""BM25 weights of title, headings and text. Every chunk of a document shares its title, so a title
that weighs more lifts all of them alike and hides the one that answers."""

WITHIN = "AND chunks.document_id IN (SELECT value FROM json_each(:documents)) "
"""One parameter, however many documents there are."""

# fmt: off
STOP_WORDS = frozenset((
    "a", "an", "and", "are", "as", "at", "be", "by", "can", "could", "do", "does", "for", "from",
    "had", "has", "have", "how", "i", "if", "in", "is", "it", "its", "me", "my", "of", "on", "or",
    "our", "please", "should", "so", "tell", "than", "that", "the", "their", "them", "then",
    "there", "these", "they", "this", "to", "was", "we", "what", "when", "where", "which", "who",
    "why", "will", "with", "would", "you", "your",
))
# fmt: on


class Registry:
    """Documents and chunks by id, and BM25 over the chunks."""

    def __init__(self, path: Path) -> None:
        """Open the registry at `path`, making it if it is not there.

        Raises:
            StoreError: not writable, or written by a newer version.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._engine = create_engine(f"sqlite:///{path}")
        event.listen(self._engine, "connect", _configure)
        event.listen(self._engine, "handle_error", _translate, retval=True)
        try:
            with self._engine.begin() as connection:
                found = connection.execute(text("PRAGMA user_version")).scalar_one()
                if found > SCHEMA_VERSION:
                    raise StoreError(
                        f"{path} has schema {found}; this version reads up to {SCHEMA_VERSION}.",
                        hint="Upgrade: pip install --upgrade groundtune",
                    )
                METADATA.create_all(connection)
                if found == 1:
                    _add_metadata(connection)
                connection.execute(text(FULL_TEXT))
                connection.execute(text(f"PRAGMA user_version = {SCHEMA_VERSION}"))
        except DBAPIError as error:
            raise StoreError(f"{path} cannot be opened: {error.orig}") from None

    @property
    def engine(self) -> Engine:
        """The database, for others who keep their tables in it."""
        return self._engine

    def documents(self, collection: str | None = None) -> list[Record]:
        """Return the documents of a collection, or of all, by source."""
        query = select(*LISTED).order_by(DOCUMENTS.c.source)
        if collection is not None:
            query = query.where(DOCUMENTS.c.collection == collection)
        counts = text("SELECT document_id, count(*) FROM chunks GROUP BY document_id")
        with self._engine.connect() as connection:
            chunks: dict[str, int] = {row[0]: row[1] for row in connection.execute(counts)}
            return [
                _record(row, chunks.get(row["id"], 0))
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
            found = [_chunk(chunk) for chunk in chunks]
        return _record(row, len(found)), row["text"], found

    def find(self, collection: str, *, source: str, path: Path | None) -> Record | None:
        """Return the record of a file that was ingested before: by its path, else by its source.

        A file with a path and an upload of the same source are the same document, whichever came
        first; two files with different paths never are.
        """
        here = select(*LISTED).where(DOCUMENTS.c.collection == collection)
        same_source = here.where(DOCUMENTS.c.source == source)
        queries = [same_source]
        if path is not None:
            queries = [here.where(DOCUMENTS.c.path == printable(path)), same_source.where(UPLOADED)]
        with self._engine.connect() as connection:
            for query in queries:
                row = connection.execute(query).mappings().first()
                if row is not None:
                    return _record(row, 0)
        return None

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
        query = select(CHUNKS).where(CHUNKS.c.id.in_(ids))
        with self._engine.connect() as connection:
            return {row["id"]: _chunk(row) for row in connection.execute(query).mappings()}

    def pages(self, size: int) -> Iterator[list[Chunk]]:
        """Yield all chunks, `size` at a time."""
        last = 0
        while True:
            query = select(CHUNKS).where(CHUNKS.c.number > last).order_by(CHUNKS.c.number)
            with self._engine.connect() as connection:
                rows = connection.execute(query.limit(size)).mappings().all()
            if not rows:
                return
            yield [_chunk(row) for row in rows]
            last = rows[-1]["number"]

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
                _remove(connection, document_id)
            connection.execute(insert(DOCUMENTS), [_document_row(one) for one, _ in documents])
            _insert_chunks(connection, here)
            _clear_pending(connection, came)
            _set_pending(connection, gone)
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

    def remove(self, document_id: str) -> None:
        """Remove a document with its chunks and full text, in one transaction."""
        with self._engine.begin() as connection:
            _remove(connection, document_id)

    def fact(self, name: str) -> str | None:
        """Return what was noted of the whole index under `name`."""
        with self._engine.connect() as connection:
            found = connection.execute(select(FACTS.c.value).where(FACTS.c.name == name))
            return found.scalar_one_or_none()

    def note_fact(self, name: str, value: str) -> None:
        """Note something of the whole index, once."""
        with self._engine.begin() as connection:
            connection.execute(insert(FACTS).values(name=name, value=value))

    def set_pending(self, ids: Iterable[str]) -> None:
        """Note vectors that may be in the vector store without a chunk in the registry."""
        with self._engine.begin() as connection:
            _set_pending(connection, ids)

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
        words = [w for w in re.findall(r"\w+", query.casefold()) if w not in STOP_WORDS]
        if not words or (documents is not None and not documents):
            return []
        match = " OR ".join(f'"{word}"' for word in dict.fromkeys(words))
        statement = text(
            f"SELECT chunks.*, -bm25(chunks_fts, {WEIGHTS}) AS score FROM chunks_fts "
            "JOIN chunks ON chunks.number = chunks_fts.rowid "
            "WHERE chunks_fts MATCH :match AND chunks.collection = :collection "
            f"{'' if documents is None else WITHIN}"
            f"ORDER BY bm25(chunks_fts, {WEIGHTS}), chunks.id LIMIT :limit"
        )
        values: dict[str, Any] = {"match": match, "collection": collection, "limit": limit}
        if documents is not None:
            values["documents"] = json.dumps(sorted(documents))
        with self._engine.connect() as connection:
            rows = connection.execute(statement, values).mappings()
            return [(_chunk(row), float(row["score"])) for row in rows]

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()


def _configure(connection: sqlite3.Connection, _: object) -> None:
    # WAL lets readers go on while one writes; NORMAL is safe with it against a killed process.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA busy_timeout = 10000")
    connection.execute("PRAGMA foreign_keys = ON")


def _translate(context: ExceptionContext) -> StoreError | None:
    """Say what keeps the database from being read or written: disk full, read-only, damaged."""
    if not isinstance(context.original_exception, sqlite3.OperationalError | sqlite3.DatabaseError):
        return None
    if isinstance(context.original_exception, sqlite3.IntegrityError | sqlite3.ProgrammingError):
        return None  # a fault of ours
    return StoreError(
        f"The index cannot be read or written: {context.original_exception}.",
        hint="What was stored before is kept. Make room or mend the folder, and try again.",
    )


def _add_metadata(connection: Connection) -> None:
    """Bring a database of version 1 to version 2."""
    for column in ("kind VARCHAR(16) NOT NULL DEFAULT ''", "metadata TEXT NOT NULL DEFAULT '{}'"):
        connection.execute(text(f"ALTER TABLE documents ADD COLUMN {column}"))


def _remove(connection: Connection, document_id: str) -> None:
    connection.execute(
        text(
            "DELETE FROM chunks_fts WHERE rowid IN "
            "(SELECT number FROM chunks WHERE document_id = :id)"
        ),
        {"id": document_id},
    )
    connection.execute(delete(CHUNKS).where(CHUNKS.c.document_id == document_id))
    connection.execute(delete(DOCUMENTS).where(DOCUMENTS.c.id == document_id))


def _document_row(document: Document) -> dict[str, Any]:
    return {
        "id": document.id,
        "collection": document.collection,
        "source": document.source,
        "path": None if document.path is None else printable(document.path),
        "title": document.title,
        "status": "done",
        "sha256": document.sha256,
        "pages": document.pages,
        "text": document.text,
        "kind": document.kind,
        "metadata": json.dumps(dict(document.metadata), ensure_ascii=False),
    }


def _insert_chunks(connection: Connection, chunks: Sequence[Chunk]) -> None:
    if not chunks:
        return
    statement = insert(CHUNKS).returning(CHUNKS.c.number, sort_by_parameter_order=True)
    numbers = connection.execute(statement, [_row(chunk) for chunk in chunks]).scalars()
    connection.execute(
        text("INSERT INTO chunks_fts(rowid, title, headings, text) VALUES (:n, :t, :h, :x)"),
        [
            {"n": number, "t": chunk.title, "h": chunk.heading, "x": chunk.text}
            for number, chunk in zip(numbers, chunks, strict=True)
        ],
    )


def _set_pending(connection: Connection, ids: Iterable[str]) -> None:
    if rows := [{"chunk_id": chunk_id} for chunk_id in ids]:
        connection.execute(insert(PENDING).prefix_with("OR IGNORE"), rows)


def _clear_pending(connection: Connection, ids: Iterable[str]) -> None:
    # One by one, because a statement takes some thousands of parameters at most.
    if rows := [{"one": chunk_id} for chunk_id in ids]:
        connection.execute(delete(PENDING).where(PENDING.c.chunk_id == bindparam("one")), rows)


def _row(chunk: Chunk) -> dict[str, Any]:
    return {
        "id": chunk.id,
        "document_id": chunk.document_id,
        "collection": chunk.collection,
        "source": chunk.source,
        "title": chunk.title,
        "headings": json.dumps(chunk.headings, ensure_ascii=False),
        "page": chunk.page,
        "start": chunk.start,
        "end": chunk.end,
        "text": chunk.text,
        "ordinal": chunk.ordinal,
    }


def _chunk(row: Any) -> Chunk:
    return Chunk(
        id=row["id"],
        document_id=row["document_id"],
        collection=row["collection"],
        source=row["source"],
        title=row["title"],
        headings=tuple(json.loads(row["headings"])),
        page=row["page"],
        start=row["start"],
        end=row["end"],
        text=row["text"],
        ordinal=row["ordinal"],
    )


def _record(row: Any, chunks: int) -> Record:
    return Record(
        id=row["id"],
        collection=row["collection"],
        source=row["source"],
        title=row["title"],
        status=row["status"],
        chunks=chunks,
        pages=row["pages"],
        sha256=row["sha256"],
        error=row["error"],
        path=None if row["path"] is None else Path(row["path"]),
        kind=row["kind"],
        metadata=json.loads(row["metadata"]),
    )
