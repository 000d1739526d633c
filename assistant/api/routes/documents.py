"""`/api/documents`."""

import asyncio
from collections import Counter
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import FormData, UploadFile

from assistant.api.parts import Parts, PartsOf
from assistant.api.wire import Accepted, DeletedReply, DocumentsReply, FullDocumentReply
from assistant.bodies import document_body, record_body
from assistant.intake import Waiting
from assistant.uploads import base_name, check_collection_name, relative_source
from ingest.errors import GroundtuneError, UsageError
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
async def upload(request: Request, parts: PartsOf) -> dict[str, Any]:
    """Take files in; the job that is named in the answer says what becomes of them."""
    async with request.form(max_files=MAX_FILES, max_fields=MAX_FILES + 1) as form:
        return await asyncio.to_thread(_take, form, parts)


@router.get("", response_model=DocumentsReply)
def documents(parts: PartsOf, collection: str | None = None) -> dict[str, Any]:
    """List the documents of a collection, or of all."""
    return {"documents": [record_body(r) for r in parts.workspace.registry.documents(collection)]}


@router.get("/{document_id}", response_model=FullDocumentReply)
def document(document_id: str, parts: PartsOf) -> dict[str, Any]:
    """Show a document with all that was read in it."""
    return document_body(*parts.workspace.registry.document(document_id))


@router.delete("/{document_id}", response_model=DeletedReply)
def delete(document_id: str, parts: PartsOf) -> dict[str, Any]:
    """Remove a document, its passages and its upload."""
    return {"deleted": parts.intake.delete(document_id).id}


def _take(form: FormData, parts: Parts) -> dict[str, Any]:
    collection = check_collection_name(_collection(form))
    files = [v for _, v in form.multi_items() if isinstance(v, UploadFile)]
    sources = _sources(form, files)
    job = parts.jobs.add(collection, total=len(files))
    max_bytes = parts.workspace.settings.limits.upload_mb * 1_000_000
    try:
        waiting = [
            Waiting(source, parts.uploads.receive(file.file, job.id, n, max_bytes=max_bytes))
            for n, (source, file) in enumerate(zip(sources, files, strict=True))
        ]
    except (GroundtuneError, OSError) as error:
        parts.uploads.forget(job.id)
        parts.jobs.fail(job.id, str(error))
        raise
    listed = [
        {"id": _id(parts, collection, source), "source": source, "status": job.status}
        for source in sources
    ]
    parts.intake.submit(job, waiting)
    return {"job_id": job.id, "documents": listed}


def _collection(form: FormData) -> str:
    given = form.getlist("collection")
    if len(given) > 1 or not all(isinstance(value, str) for value in given):
        raise UsageError("`collection` must be one text field.")
    return str(given[0]) if given else "default"


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
