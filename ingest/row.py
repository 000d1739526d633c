"""Rows of the registry's tables, and what they stand for."""

import json
from pathlib import Path
from typing import Any

from ingest.document import Chunk, Document, Record
from ingest.path import printable


def document_row(document: Document) -> dict[str, Any]:
    """Return a document as the registry stores it."""
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


def chunk_row(chunk: Chunk) -> dict[str, Any]:
    """Return a chunk as the registry stores it, without its number."""
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


def chunk_of(row: Any) -> Chunk:
    """Return the chunk that a row holds."""
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


def record_of(row: Any, chunks: int) -> Record:
    """Return what a list shows of a document."""
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
