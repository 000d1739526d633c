"""`/api/documents`."""

import asyncio
from collections import Counter
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import FormData, UploadFile

from assistant.access import Access
from assistant.api.door import Asker, Ingester
from assistant.api.parts import Parts, PartsOf
from assistant.api.wire import Accepted, DeletedReply, DocumentsReply, FullDocumentReply
from assistant.bodies import document_body, record_body
from assistant.uploads import base_name, check_collection_name, relative_source
from ingest.document import Chunk, Record
from ingest.erase import erase_traces
from ingest.errors import ForbiddenError, GroundtuneError, NotFoundError, UsageError
from ingest.files import Upload
from ingest.known import new_id

MAX_FILES = 1000
FIELDS = {"collection", "source"}

router = APIRouter(prefix="/api/documents", tags=["documents"])

FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                        },
                        "collection": {"type": "string", "default": "default"},
                        "source": {
                            "type": "array",
                            "items": {"type": "string"},
                            "description": "What to call the files, in their order: relative "
                            "paths such as manuals/a.md. Left out, they keep their base names.",
                        },
                    },
                }
            }
        },
    }
}


@router.post("", status_code=202, response_model=Accepted, openapi_extra=FORM)
async def upload(request: Request, parts: PartsOf, access: Ingester) -> dict[str, Any]:
    """Take files in; the job that is named in the answer says what becomes of them."""
    async with request.form(max_files=MAX_FILES, max_fields=MAX_FILES + 1) as form:
        return await asyncio.to_thread(_take, form, parts, access, request.state.request_id)


@router.get("", response_model=DocumentsReply)
def documents(parts: PartsOf, access: Asker, collection: str | None = None) -> dict[str, Any]:
    """List the documents of a collection, or of all that the caller sees."""
    found = parts.workspace.registry.documents(collection)
    return {"documents": [record_body(r) for r in found if access.sees(r.collection)]}


@router.get("/{document_id}", response_model=FullDocumentReply)
def document(document_id: str, parts: PartsOf, access: Asker) -> dict[str, Any]:
    """Show a document with all that was read in it."""
    return document_body(*_seen(document_id, parts, access))


@router.delete("/{document_id}", response_model=DeletedReply)
def delete(document_id: str, parts: PartsOf, access: Ingester, request: Request) -> dict[str, Any]:
    """Remove a document, its passages, its upload, and the answers that were given from it.

    Nothing of its text stays in the workspace's files.
    """
    record, _, _ = _seen(document_id, parts, access)
    parts.intake.delete(document_id)
    parts.feedback.forget_document(document_id)
    erase_traces(parts.workspace.registry.engine)
    parts.audit.note(
        "delete",
        document_id,
        key=access.key,
        collection=record.collection,
        request_id=request.state.request_id,
    )
    return {"deleted": document_id}


def _seen(document_id: str, parts: Parts, access: Access) -> tuple[Record, str, list[Chunk]]:
    """Return a document; one of somebody else's is as unknown as one that never was."""
    record, text, chunks = parts.workspace.registry.document(document_id)
    if not access.sees(record.collection):
        raise NotFoundError(
            f"There is no document {document_id!r}.", hint="groundtune documents list"
        )
    return record, text, chunks


def _take(form: FormData, parts: Parts, access: Access, request_id: str) -> dict[str, Any]:
    given = _collection(form)
    collection = check_collection_name(access.home if given is None else given)
    if not access.sees(collection):
        raise ForbiddenError(f"This key cannot write to the collection {collection!r}.")
    files = [v for _, v in form.multi_items() if isinstance(v, UploadFile)]
    sources = _sources(form, files)
    job = parts.jobs.add(collection, total=len(files))
    max_bytes = parts.workspace.settings.limits.upload_mb * 1_000_000
    try:
        for number, file in enumerate(files):
            parts.uploads.receive(file.file, job.id, number, max_bytes=max_bytes)
    except (GroundtuneError, OSError) as error:
        parts.uploads.forget(job.id)
        parts.jobs.fail(job.id, str(error))
        raise
    listed = [
        {"id": _id(parts, collection, source), "source": source, "status": job.status}
        for source in sources
    ]
    parts.intake.submit(job, sources)
    for document in listed:
        parts.audit.note(
            "ingest",
            document["id"],
            key=access.key,
            collection=collection,
            request_id=request_id,
        )
    return {"job_id": job.id, "documents": listed}


def _collection(form: FormData) -> str | None:
    given = form.getlist("collection")
    if len(given) > 1 or not all(isinstance(value, str) for value in given):
        raise UsageError("`collection` must be one text field.")
    return str(given[0]) if given else None


def _sources(form: FormData, files: list[UploadFile]) -> list[str]:
    """Return what each file is called."""
    texts = {key for key, value in form.multi_items() if isinstance(value, str)}
    if unknown := sorted(texts - FIELDS):
        raise UsageError(f"There is no field {unknown[0]!r}.", hint="Send files and collection.")
    if not files:
        raise UsageError(
            "The request holds no file.", hint="curl -F files=@manual.pdf .../api/documents"
        )
    named = [str(value) for value in form.getlist("source")]
    if named and len(named) != len(files):
        raise UsageError(f"There are {len(files)} files and {len(named)} sources.")
    sources = (
        [relative_source(name) for name in named]
        if named
        else [base_name(file.filename or "") for file in files]
    )
    twice = [source for source, times in Counter(sources).items() if times > 1]
    if twice:
        raise UsageError(f"Two files are called {twice[0]!r}.", hint="Send them one by one.")
    return sources


def _id(parts: Parts, collection: str, source: str) -> str:
    known = parts.workspace.registry.find(collection, source=source, path=None)
    return known.id if known is not None else new_id(collection, Upload(source, None, bytes))
