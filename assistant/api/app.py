"""The app: parts, routes and the gate around them, put together."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from opentelemetry.trace import Tracer

from assistant import __version__
from assistant.api.door import Door
from assistant.api.errors import add_handlers
from assistant.api.goodbye import Goodbye
from assistant.api.guard import LOOPBACK_HOSTS, BodyLimit, Guard
from assistant.api.metrics import Metrics, queue_of
from assistant.api.observer import Observer
from assistant.api.parts import Parts
from assistant.api.problem import ERRORS, OPENAI_ERRORS
from assistant.api.quota import FILE as LIMITS
from assistant.api.quota import Counts
from assistant.api.routes import (
    adapters,
    ask,
    backup,
    documents,
    evaluations,
    feedback,
    health,
    jobs,
    metrics,
    openai,
    page,
    search,
)
from assistant.api.traces import NO_TRACER
from assistant.audit import Audit
from assistant.backup import clear
from assistant.evaluations import Evaluate, Evaluations
from assistant.feedback import Feedback
from assistant.intake import Intake, recover
from assistant.jobs import Jobs
from assistant.keys import Keys
from assistant.reports import Reports
from assistant.uploads import Uploads
from assistant.workspace import Workspace

ROUTES = (
    ask,
    search,
    documents,
    jobs,
    feedback,
    adapters,
    evaluations,
    backup,
    metrics,
    health,
)


def create_app(
    workspace: Workspace,
    hosts: Collection[str] = LOOPBACK_HOSTS,
    *,
    public: bool = False,
    own_key: str = "",
    tracer: Tracer = NO_TRACER,
    evaluate: Callable[[], Evaluate] | None = None,
) -> FastAPI:
    """Return the service around `workspace`, which it closes when it ends.

    Args:
        workspace: owned by this process, or shared with others that serve it too. Its parts are
            built when the service starts.
        hosts: the names that it answers to, beside those of the settings.
        public: whether others can reach it: then it asks for a key, and answers to any address.
        own_key: what commands of this machine show it; empty where they need nothing.
        tracer: records where the time goes.
        evaluate: loads what compares the arms; None where nothing does.
    """
    observer = Observer(Metrics(), tracer)
    app = FastAPI(
        title="Groundtune",
        description="Answers from your documents, in your style.",
        version=__version__,
        lifespan=partial(_life, workspace, observer, evaluate),
        docs_url=None,  # its page loads scripts from elsewhere; ours is at /docs
        redoc_url=None,
    )
    limits, security = workspace.settings.limits, workspace.settings.security
    app.add_middleware(
        BodyLimit, upload_bytes=limits.upload_mb * 1_000_000, silence_s=limits.silence_s
    )
    key_needed = public or security.require_key
    counts = Counts(workspace.home / LIMITS if workspace.shared else None)
    app.state.counts = counts
    app.add_middleware(
        Door, settings=security, counts=counts, key_needed=key_needed, own_key=own_key
    )
    app.add_middleware(
        Guard,
        observer=observer,
        hosts={*hosts, *security.hosts},
        addresses=public,
        silence_s=limits.silence_s,
    )
    add_handlers(app)
    _add_routes(app)
    return app


def _add_routes(app: FastAPI) -> None:
    for route in ROUTES:
        app.include_router(route.router, responses=ERRORS)
    app.include_router(openai.router, responses=OPENAI_ERRORS)
    app.include_router(page.router)
    app.mount("/page", StaticFiles(directory=page.FOLDER), name="page")


@asynccontextmanager
async def _life(
    workspace: Workspace,
    observer: Observer,
    evaluate: Callable[[], Evaluate] | None,
    app: FastAPI,
) -> AsyncIterator[None]:
    app.openapi()  # it takes a tenth of a second, and nobody shall wait for who asks first
    app.state.goodbye = Goodbye()
    app.state.parts = parts = await asyncio.to_thread(_build, workspace, observer, evaluate)
    try:
        yield
    finally:
        await asyncio.to_thread(parts.evaluations.stop)
        await asyncio.to_thread(parts.intake.stop)
        app.state.counts.close()
        workspace.close()


def _build(
    workspace: Workspace, observer: Observer, evaluate: Callable[[], Evaluate] | None
) -> Parts:
    """Build every part now: a service that has started is a service that can answer."""
    engine = workspace.registry.engine
    jobs = Jobs(engine)
    uploads = Uploads(workspace.home / "uploads")
    intake = Intake(
        workspace.index, workspace.pipeline, jobs, uploads, workspace.home, observer.tracer
    )
    if not workspace.shared:
        recover(jobs, uploads)
        clear(workspace.home)
    workspace.assistant  # noqa: B018  # loads the language model
    workspace.query_embedder.embed(["ready?"])  # and this the other one
    if (queue := queue_of(workspace.engine)) is not None:
        observer.metrics.watch(queue)
    intake.start()
    settings = workspace.settings.feedback
    feedback = Feedback(engine, keep_answers=settings.keep_answers, keep_days=settings.keep_days)
    audit = Audit(engine)
    return Parts(
        workspace,
        jobs,
        uploads,
        intake,
        Keys(engine),
        feedback,
        Evaluations(workspace, jobs, evaluate),
        Reports(workspace.home / "reports"),
        audit,
        observer,
    )
