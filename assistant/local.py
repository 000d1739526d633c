"""A workspace of this process, worked on with the same calls and bodies as one behind a server."""

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from assistant.answer import Ask
from assistant.audit import Audit
from assistant.backup import write_backup
from assistant.bodies import document_body, findings_body, record_body
from assistant.feedback import Feedback
from assistant.filters import Filters
from assistant.uploads import Uploads
from assistant.workspace import Workspace
from ingest.erase import erase_traces
from ingest.files import Upload

Body = dict[str, Any]


class LocalWorkspace:
    """What commands do on a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def ask(self, body: Mapping[str, Any]) -> Body:
        """Return the body of the answer; `body` is that of `POST /api/ask`."""
        ask = Ask(**body)
        if ask.mode in ("rag", "combined"):
            self._workspace.check_collection(ask.collection)
        return asyncio.run(self._workspace.assistant.answer(ask)).body()

    def search(
        self,
        query: str,
        *,
        k: int | None = None,
        collection: str = "default",
        filters: Filters | None = None,
        include_superseded: bool = False,
        explain: bool = False,
    ) -> Body:
        """Return `{"hits": [...]}`, and with `explain` how they were found and what was not."""
        self._workspace.check_collection(collection)
        retrieval = self._workspace.settings.retrieval
        found = self._workspace.retriever.find(
            query,
            k=retrieval.top_k if k is None else k,
            collection=collection,
            filters=filters,
            include_superseded=include_superseded,
        )
        return findings_body(found, explain=explain, dense_weight=retrieval.dense_weight)

    def documents(self, collection: str | None = None) -> Body:
        """Return `{"documents": [...]}`."""
        records = self._workspace.registry.documents(collection)
        return {"documents": [record_body(record) for record in records]}

    def document(self, document_id: str) -> Body:
        """Return a document with its text and chunks."""
        return document_body(*self._workspace.registry.document(document_id))

    def delete(self, document_id: str) -> Body:
        """Remove a document; return `{"deleted": id}`."""
        self._remove([document_id])
        return {"deleted": document_id}

    def _remove(self, document_ids: Sequence[str]) -> None:
        """Remove documents, and the answers that were given from them."""
        workspace = self._workspace
        engine = workspace.registry.engine
        kept = workspace.settings.feedback
        feedback = Feedback(engine, keep_answers=kept.keep_answers, keep_days=kept.keep_days)
        uploads, audit = Uploads(workspace.home / "uploads"), Audit(engine)
        for document_id in document_ids:
            record = workspace.index.delete(document_id)
            uploads.remove(record.collection, record.source)
            feedback.forget_document(document_id)
            audit.note("delete", document_id, collection=record.collection)
        if document_ids:
            erase_traces(engine)

    def ingest(
        self,
        uploads: Sequence[Upload],
        collection: str,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        *,
        ray: str | None = None,
    ) -> Body:
        """Ingest files and return the tally; `on_progress` gets how many are through, and all.

        `ray` is the address of a cluster that reads and embeds them.
        """
        through = itertools.count(1)
        pipeline = self._workspace.pipeline
        if ray is not None:
            pipeline = self._workspace.pipeline_on(ray)
        tally = pipeline.run(
            uploads,
            collection=collection,
            on_file=lambda *_: on_progress(next(through), len(uploads)),
        )
        audit = Audit(self._workspace.registry.engine)
        audit.note("ingest", f"{len(uploads)} files", collection=collection)
        return tally.body()

    def backup(self, target: Path) -> Body:
        """Write all of the workspace into the file `target`; return what it holds."""
        packed = write_backup(self._workspace, target)
        Audit(self._workspace.registry.engine).note("backup", "")
        return packed.body()

    def prune(self, folders: Sequence[Path], collection: str) -> int:
        """Remove the documents whose files are gone from `folders`; return how many."""
        gone = self._workspace.pipeline.gone(folders, collection=collection)
        self._remove([record.id for record in gone])
        return len(gone)
