"""The app: parts, routes and the gate around them, put together."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from assistant import __version__
from assistant.api.door import Door
from assistant.api.errors import add_handlers
from assistant.api.guard import LOOPBACK_HOSTS, BodyLimit, Guard
from assistant.api.parts import Parts
from assistant.api.routes import adapters, ask, documents, feedback, health, jobs, openai, search
from assistant.audit import Audit
from assistant.feedback import Feedback
from assistant.intake import Intake
from assistant.jobs import Jobs
from assistant.keys import Keys
from assistant.uploads import Uploads
from assistant.workspace import Workspace

PAGE = Path(__file__).parent / "page"


def create_app(
    workspace: Workspace,
    hosts: Collection[str] = LOOPBACK_HOSTS,
    *,
    public: bool = False,
    own_key: str = "",
) -> FastAPI:
    """Return the service around `workspace`, which it closes when it ends.

    Args:
        workspace: owned by this process. Its parts are built when the service starts.
        hosts: the names that it answers to, beside those of the settings.
        public: whether others can reach it: then it asks for a key, and answers to any address.
        own_key: what commands of this machine show it; empty where they need nothing.
    """
    settings = workspace.settings
    limits, security = settings.limits, settings.security

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        parts = await asyncio.to_thread(_build, workspace)
        app.state.parts = parts
        try:
            yield
        finally:
            await asyncio.to_thread(parts.intake.stop)
            workspace.close()

    app = FastAPI(
        title="Groundtune",
        description="Answers from your documents, in your style.",
        version=__version__,
        lifespan=life,
        docs_url=None,  # its page loads scripts from elsewhere; ours is at /docs
        redoc_url=None,
    )
    app.add_middleware(
        BodyLimit, upload_bytes=limits.upload_mb * 1_000_000, silence_s=limits.silence_s
    )
    key_needed = public or security.require_key
    app.add_middleware(Door, settings=security, key_needed=key_needed, own_key=own_key)
    app.add_middleware(
        Guard, hosts={*hosts, *security.hosts}, addresses=public, silence_s=limits.silence_s
    )
    add_handlers(app)
    for route in (ask, search, documents, jobs, feedback, adapters, openai, health):
        app.include_router(route.router)
    app.mount("/page", StaticFiles(directory=PAGE), name="page")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(PAGE / "docs.html")

    return app


def _build(workspace: Workspace) -> Parts:
    """Build every part now: a service that has started is a service that can answer."""
    jobs = Jobs(workspace.registry.engine)
    uploads = Uploads(workspace.home / "uploads")
    intake = Intake(workspace.index, workspace.pipeline, jobs, uploads)
    workspace.assistant  # noqa: B018  # loads the language model
    intake.start()
    engine = workspace.registry.engine
    settings = workspace.settings.feedback
    feedback = Feedback(engine, keep_answers=settings.keep_answers, keep_days=settings.keep_days)
    return Parts(workspace, jobs, uploads, intake, Keys(engine), feedback, Audit(engine))
