"""`/api/backup`."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from assistant.api.door import Admin
from assistant.api.parts import PartsOf
from assistant.backup import write_backup
from ingest.errors import ForbiddenError

router = APIRouter(prefix="/api", tags=["backup"])
KIND = "application/gzip"


@router.post(
    "/backup",
    response_class=FileResponse,
    responses={200: {"content": {KIND: {"schema": {"type": "string", "format": "binary"}}}}},
)
def backup(parts: PartsOf, access: Admin, request: Request) -> FileResponse:
    """Send the whole workspace in one file, as `groundtune backup` writes it."""
    if access.collections is not None:
        raise ForbiddenError(
            "A backup is of all collections, and this key is bound to some.",
            hint="groundtune keys create NAME --role admin",
        )
    home = parts.workspace.home
    with ExitStack() as unsent:
        with tempfile.NamedTemporaryFile(dir=home, prefix=".backup-", delete=False) as file:
            path = Path(file.name)
            unsent.callback(path.unlink)
        packed = write_backup(parts.workspace, path)
        parts.audit.note("backup", "", key=access.key, request_id=request.state.request_id)
        headers = {f"X-{name.title()}": str(count) for name, count in packed.body().items()}
        return FileResponse(
            path,
            media_type=KIND,
            filename="backup.tar.gz",
            headers=headers,
            background=BackgroundTask(unsent.pop_all().close),
        )
