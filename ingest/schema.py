"""The tables of the registry, and how those of an older version are brought forward."""

from collections.abc import Callable, Mapping

from sqlalchemy import Column, Connection, ForeignKey, Integer, MetaData, String, Table, Text, text

VERSION = 3

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
    "facts",  # what the index knows of itself, such as the model that made its vectors
    METADATA,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)


def _add_metadata(connection: Connection) -> None:
    for column in ("kind VARCHAR(16) NOT NULL DEFAULT ''", "metadata TEXT NOT NULL DEFAULT '{}'"):
        connection.execute(text(f"ALTER TABLE documents ADD COLUMN {column}"))


STEPS: Mapping[int, Callable[[Connection], None]] = {1: _add_metadata}
"""What leads from a version to the next, besides tables that are new. PostgreSQL starts at 3."""
