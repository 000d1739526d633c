"""What a workspace lends to the making of data sets: evidence, models, feedback, its index."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from assistant.access import ROLES, Access
from assistant.config import EngineSettings, Settings, explain
from assistant.engines.engine import Engine
from assistant.evidence import passage
from assistant.feedback import Feedback
from assistant.workspace import Workspace
from finetune.build import Ground
from finetune.recipe import Recipe
from finetune.rows import Found, House
from finetune.sources.source import Desk
from ingest.document import Chunk
from ingest.errors import ConfigError

PAGE = 500
EVERY = 1_000_000
"""More opinions than anybody has."""


def ground_of(recipe: Recipe, workspace: Workspace) -> Ground:
    """Return the retriever and the house style that serve in `workspace`."""
    retrieval = workspace.settings.retrieval
    shown = retrieval.sentences or retrieval.top_k
    collection = recipe.data.collection

    def retrieve(question: str, k: int) -> Sequence[Found]:
        hits = workspace.retriever.evidence(
            question, k=retrieval.top_k, collection=collection, spare=k - shown
        )
        return [Found(hit.chunk.source, passage(hit.chunk)) for hit in hits]

    voice = workspace.settings.voice_of(recipe.name)
    house = House(voice.system, voice.abstention or voice.refusal, shown)
    return Ground(house, retrieve, workspace.contract_of(recipe.name))


def desk_of(collection: str, workspace: Workspace) -> Desk:
    """Return what sources may ask of `workspace`."""

    def opinions() -> list[dict[str, Any]]:
        kept = workspace.settings.feedback
        feedback = Feedback(
            workspace.registry.engine, keep_answers=kept.keep_answers, keep_days=kept.keep_days
        )
        return feedback.list(Access("", frozenset(ROLES), frozenset({collection})), last=EVERY)

    @contextmanager
    def engine(keys: Mapping[str, Any]) -> Iterator[Engine]:
        if not keys:
            yield workspace.engine
            return
        other = workspace.variant(_with_engine(workspace.settings, keys))
        try:
            yield other.engine
        finally:
            other.engine.close()

    return Desk(
        chunks=lambda: chunks_of(collection, workspace),
        opinions=opinions,
        engine=engine,
        cache=workspace.home / "cache" / "questions",
    )


def chunks_of(collection: str, workspace: Workspace) -> Iterator[Chunk]:
    """Yield every passage of a collection."""
    for page in workspace.registry.pages(collection, size=PAGE):
        yield from page


def _with_engine(settings: Settings, keys: Mapping[str, Any]) -> Settings:
    """Return `settings` with some keys of `[engine]` changed.

    Raises:
        ConfigError: a key or value is wrong; names all of them.
    """
    try:
        engine = EngineSettings.model_validate(settings.engine.model_dump() | dict(keys))
    except ValidationError as error:
        raise ConfigError(explain(error, EngineSettings, "source.engine")) from None
    key = {"api_key": settings.engine.api_key}  # never dumped, so it is carried over
    return settings.model_copy(update={"engine": engine.model_copy(update=key)})
