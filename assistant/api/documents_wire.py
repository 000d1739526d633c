"""Documents and jobs as they go over the wire."""

from typing import Any

from pydantic import Field

from assistant.api.wire import Body, Wire


class QueuedDocument(Wire):
    """A document whose turn will come."""

    id: str
    source: str
    status: str


class Accepted(Wire):
    """An upload was taken; the job says what becomes of it."""

    job_id: str
    documents: list[QueuedDocument]


class DocumentReply(Wire):
    """A document."""

    id: str
    collection: str
    source: str
    title: str
    status: str
    chunks: int
    pages: int | None
    sha256: str
    error: str | None


class DocumentsReply(Wire):
    """Documents, by source."""

    documents: list[DocumentReply]


class ChunkReply(Wire):
    """A passage of a document: `text[start:end]` of it."""

    id: str
    heading: str
    page: int | None
    start: int
    end: int
    text: str


class FullDocumentReply(DocumentReply):
    """A document with all that was read in it."""

    text: str
    chunk_list: list[ChunkReply]


class PruneBody(Body):
    """Folders to look through for files that are gone."""

    collection: str = "default"
    folders: list[str] = Field(min_length=1, max_length=100)
    """Absolute, and there on the service's machine."""


class PrunedReply(Wire):
    """Documents that are gone, because their files were."""

    deleted: int


class DeletedReply(Wire):
    """A document that is gone."""

    deleted: str


class ProgressReply(Wire):
    """Files, or answers of an evaluation."""

    done: int
    total: int
    current: str | None


class JobReply(Wire):
    """An ingestion, or an evaluation."""

    id: str
    collection: str
    status: str
    """`queued`, `running`, `done` or `failed`."""
    progress: ProgressReply
    result: dict[str, Any] | None
    """What `groundtune ingest --json` prints; of an evaluation, `report` names its report."""
    error: str | None
    created: float
    finished: float | None


class JobsReply(Wire):
    """Jobs, newest first."""

    jobs: list[JobReply]
