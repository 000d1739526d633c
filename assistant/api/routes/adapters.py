"""`/api/adapters`."""

from typing import Any

from fastapi import APIRouter, Request

from assistant.alias import promote, rollback
from assistant.api.adapters_wire import AdaptersReply, AliasesReply
from assistant.api.door import Admin, Asker
from assistant.api.parts import PartsOf
from assistant.bodies import adapter_body

router = APIRouter(prefix="/api/adapters", tags=["adapters"])


@router.get("", response_model=AdaptersReply)
def adapters(parts: PartsOf, access: Asker) -> dict[str, Any]:
    """List the tuned adapters."""
    return {"adapters": [adapter_body(adapter) for adapter in parts.workspace.adapters.list()]}


@router.post("/{name}/promote", response_model=AliasesReply)
def promoted(parts: PartsOf, access: Admin, request: Request, name: str) -> dict[str, Any]:
    """Put `name:v2`, or the newest version of `name`, into production if it serves as trained."""
    workspace = parts.workspace
    adapter = workspace.adapters.newest(name)
    workspace.check_fit(adapter)
    aliases = promote(adapter, engine=workspace.settings.engine.kind)
    parts.audit.note(
        "promote", adapter.reference, key=access.key, request_id=request.state.request_id
    )
    return {"name": adapter.name, **aliases._asdict()}


@router.post("/{name}/rollback", response_model=AliasesReply)
def rolled_back(parts: PartsOf, access: Admin, request: Request, name: str) -> dict[str, Any]:
    """Put the previous version back into production."""
    aliases = rollback(parts.workspace.adapters, name)
    subject = f"{name}:{aliases.production}"
    parts.audit.note("rollback", subject, key=access.key, request_id=request.state.request_id)
    return {"name": name, **aliases._asdict()}
