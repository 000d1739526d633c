"""`/api/documents`."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.datastructures import FormData, UploadFile

from assistant.access import Access
from assistant.api.documents_wire import (
    Accepted,
    DeletedReply,
    DocumentsReply,
    FullDocumentReply,
    PruneBody,
    PrunedReply,
)
from assistant.api.door import Admin, Asker, Ingester
from assistant.api.parts import Parts, PartsOf
from assistant.api.written import written
from assistant.bodies import document_body, record_body
from assistant.jobs import Job
from assistant.uploads import base_name, check_collection_name, relative_source
from ingest.document import Chunk, Record
from ingest.erase import erase_traces
from ingest.errors import ForbiddenError, GroundtuneError, NotFoundError, UsageError
from ingest.files import Upload
from ingest.known import Known
from ingest.model_file import sha256_of

MAX_FILES = 1000
FIELDS = {"collection", "source", "path"}

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
                        "path": {
                            "type": "array",
                            "items": {"type": "string"},
                            "description": "Where the files lie on the service's machine, in "
                            "their order; empty for one that lies nowhere. A file that has moved "
                            "is then recognised. For the role admin.",
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
    async with request.form(max_files=MAX_FILES, max_fields=2 * MAX_FILES + 1) as form:
        return await asyncio.to_thread(_take, form, parts, access, request.state.request_id)


@router.post("/prune", response_model=PrunedReply)
def prune(body: PruneBody, parts: PartsOf, access: Admin, request: Request) -> dict[str, Any]:
    """Remove the documents whose files are gone from folders of the service's machine."""
    collection = check_collection_name(body.collection)
    _check_writable(collection, access)
    folders = [Path(folder) for folder in body.folders]
    for folder in folders:
        if not folder.is_absolute() or not folder.is_dir():
            raise UsageError(
                f"The service finds no folder {str(folder)!r}, so it cannot say what is gone.",
                hint="Send absolute paths of folders on the service's machine.",
            )
    with parts.intake.pause():
        gone = parts.workspace.pipeline.gone(folders, collection=collection)
        for record in gone:
            _remove(record, parts, access, request)
    if gone:
        erase_traces(parts.workspace.registry.engine)
    return {"deleted": len(gone)}


@router.get("", response_model=DocumentsReply)
def documents(parts: PartsOf, access: Asker, collection: str | None = None) -> Response:
    """List the documents of a collection, or of all that the caller sees."""
    found = parts.workspace.registry.documents(collection)
    return written({"documents": [record_body(r) for r in found if access.sees(r.collection)]})


@router.get("/{document_id}", response_model=FullDocumentReply)
def document(document_id: str, parts: PartsOf, access: Asker) -> Response:
    """Show a document with all that was read in it."""
    return written(document_body(*_seen(document_id, parts, access)))


@router.delete("/{document_id}", response_model=DeletedReply)
def delete(document_id: str, parts: PartsOf, access: Ingester, request: Request) -> dict[str, Any]:
    """Remove a document, its passages, its upload, and the answers that were given from it.

    Nothing of its text stays in the workspace's files.
    """
    record, _, _ = _seen(document_id, parts, access)
    _remove(record, parts, access, request)
    erase_traces(parts.workspace.registry.engine)
    return {"deleted": document_id}


def _remove(record: Record, parts: Parts, access: Access, request: Request) -> None:
    parts.intake.delete(record.id)
    parts.feedback.forget_document(record.id)
    parts.audit.note(
        "delete",
        record.id,
        key=access.key,
        collection=record.collection,
        request_id=request.state.request_id,
    )


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
    _check_writable(collection, access)
    files = [v for _, v in form.multi_items() if isinstance(v, UploadFile)]
    sources = _sources(form, files)
    origins = _origins(form, files, access)
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
        {"id": document_id, "source": source, "status": job.status}
        for source, document_id in zip(sources, _ids(parts, job, sources, origins), strict=True)
    ]
    parts.intake.submit(job, sources, origins)
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


def _origins(form: FormData, files: list[UploadFile], access: Access) -> list[Path | None]:
    """Return which file of this machine each one is; None for what is not found here."""
    named = [str(value) for value in form.getlist("path")]
    if not any(named):
        return [None] * len(files)
    access.need("admin")  # what becomes of a file tells whether a path is there
    if len(named) != len(files):
        raise UsageError(f"There are {len(files)} files and {len(named)} paths.")
    paths = [Path(name) for name in named]
    return [path if path.is_absolute() and path.is_file() else None for path in paths]


def _ids(
    parts: Parts, job: Job, sources: Sequence[str], origins: Sequence[Path | None]
) -> Iterator[str]:
    """Yield the ids that the documents of the files of `job` have or will have."""
    known = Known(job.collection, parts.workspace.registry.entries(job.collection))
    for number, (source, origin) in enumerate(zip(sources, origins, strict=True)):
        path = parts.uploads.waiting(job.id, number)
        upload = Upload(source, origin, path.read_bytes)
        verdict = known.judge(upload, sha256_of(path))
        yield known.id_of(upload) if verdict is None else verdict.id


def _check_writable(collection: str, access: Access) -> None:
    if not access.sees(collection):
        raise ForbiddenError(f"This key cannot write to the collection {collection!r}.")
