"""What commands print and the API returns: one JSON shape for each noun, made in one place."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from assistant.adapter import Adapter
from assistant.alias import read_aliases
from assistant.answer import Evidence
from assistant.hit import Findings, Hit
from ingest.document import Chunk, Record


def hit_body(hit: Hit) -> dict[str, Any]:
    """Return a passage that a search found."""
    chunk = hit.chunk
    return {
        "chunk_id": chunk.id,
        "document_id": chunk.document_id,
        "source": chunk.source,
        "title": chunk.title,
        "heading": chunk.heading,
        "page": chunk.page,
        "start": chunk.start,
        "end": chunk.end,
        "score": hit.score,
        "text": chunk.text,
        "also_in": [
            {
                "chunk_id": copy.id,
                "document_id": copy.document_id,
                "source": copy.source,
                "title": copy.title,
                "start": copy.start,
                "end": copy.end,
            }
            for copy in hit.copies
        ],
        "superseded_by": hit.superseded_by,
    }


def findings_body(found: Findings, *, explain: bool, dense_weight: float) -> dict[str, Any]:
    """Return what a search found; with `explain`, how, and what it left out."""
    if not explain:
        return {"hits": [hit_body(hit) for hit in found.hits]}
    return {
        "hits": [_explained(hit, dense_weight) for hit in found.hits],
        "dropped": [
            {**_explained(item.hit, dense_weight), "why": item.why, "by": item.by}
            for item in found.dropped
        ],
    }


def _explained(hit: Hit, dense_weight: float) -> dict[str, Any]:
    explanation = {
        "dense_rank": hit.dense_rank,
        "cosine": hit.similarity,
        "bm25_rank": hit.bm25_rank,
        "bm25": hit.bm25,
        "fused": hit.fused,
        "dense_weight": dense_weight,
        "rerank": hit.rerank,
    }
    return {**hit_body(hit), "explanation": explanation}


def evidence_body(evidence: Evidence) -> dict[str, Any]:
    """Return a passage that an answer was given from."""
    return asdict(evidence)


def record_body(record: Record) -> dict[str, Any]:
    """Return a document as a list shows it."""
    return {
        "id": record.id,
        "collection": record.collection,
        "source": record.source,
        "title": record.title,
        "status": record.status,
        "chunks": record.chunks,
        "pages": record.pages,
        "sha256": record.sha256,
        "error": record.error,
    }


def document_body(record: Record, text: str, chunks: Sequence[Chunk]) -> dict[str, Any]:
    """Return a document with all its text and its chunks in reading order."""
    listed = [
        {
            "id": chunk.id,
            "heading": chunk.heading,
            "page": chunk.page,
            "start": chunk.start,
            "end": chunk.end,
            "text": chunk.text,
        }
        for chunk in chunks
    ]
    return {**record_body(record), "text": text, "chunk_list": listed}


def adapter_body(adapter: Adapter) -> dict[str, Any]:
    """Return a tuned adapter as a list shows it."""
    manifest = adapter.manifest
    return {
        "name": adapter.name,
        "version": adapter.version,
        "aliases": read_aliases(adapter.folder.parent).of(adapter.version),
        "base": manifest.get("base"),
        "created": manifest.get("created"),
        "parity": manifest.get("parity"),
        "evaluation": manifest.get("evaluation"),
    }
