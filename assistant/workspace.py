"""A workspace: the parts, built from the settings and put together.

This is the only place that knows which class stands behind which setting. Heavy parts are built
when they are first used, so that listing documents loads no language model.
"""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from assistant.adapter import AdapterStore
from assistant.assistant import Assistant, Contract, Voice
from assistant.chat_template import read_chat_template
from assistant.config import Settings
from assistant.engines.embedded import EmbeddedEngine
from assistant.engines.engine import Engine
from assistant.prompt import fingerprint
from assistant.retrieve import Retriever
from ingest.chunk import Chunker
from ingest.embed import CachedEmbedder, Embedder
from ingest.errors import ConfigError, NotFoundError
from ingest.index import Index
from ingest.model_file import resolve, sha256_of
from ingest.openvino_embedder import choose_embedder
from ingest.pipeline import Pipeline
from ingest.prepare import Parts, Preparation, Threads
from ingest.read import read_document
from ingest.registry import Registry
from ingest.vectors import ChromaVectors


class Workspace(AbstractContextManager["Workspace"]):
    """Everything in one `.groundtune` folder, for one process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home = settings.home

    @cached_property
    def registry(self) -> Registry:
        """Documents, chunks and full text."""
        return Registry(self.home / "state.sqlite")

    @cached_property
    def embedder(self) -> Embedder:
        """The embedding model."""
        return make_embedder(self.settings)

    @cached_property
    def index(self) -> Index:
        """What documents become; what a killed process left of it is put right first."""
        index = Index(self.registry, ChromaVectors(self.home / "vectors"), self.embedder)
        index.repair()
        return index

    @cached_property
    def pipeline(self) -> Pipeline:
        """Takes files into the index."""
        parts = make_parts(self.settings, self.embedder)
        return self._pipeline(Threads(parts, readers=2))

    def pipeline_on(self, ray: str) -> Pipeline:
        """Return a pipeline that reads and embeds on the Ray cluster at the address `ray`."""
        from ingest.cluster import RayCluster

        return self._pipeline(RayCluster(ray, partial(make_parts, self.settings)))

    def _pipeline(self, preparation: Preparation) -> Pipeline:
        return Pipeline(self.index, preparation, max_file_mb=self.settings.ingest.max_file_mb)

    @cached_property
    def retriever(self) -> Retriever:
        """Finds passages."""
        retrieval = self.settings.retrieval
        return Retriever(
            self.index,
            candidates=retrieval.candidates,
            rrf_k=retrieval.rrf_k,
            sentences=retrieval.sentences,
            embedder=CachedEmbedder(self.embedder),
        )

    @cached_property
    def adapters(self) -> AdapterStore:
        """The tuned adapters."""
        return AdapterStore(self.home / "adapters")

    @cached_property
    def model_file(self) -> Path:
        """The base model's GGUF file."""
        return resolve(self.settings.engine.model)

    @cached_property
    def base_sha256(self) -> str:
        """Names the base model, as adapters remember it."""
        return sha256_of(self.model_file)

    @cached_property
    def prompt_fingerprint(self) -> str:
        """Names the prompt contract, as adapters remember it."""
        return fingerprint(self.settings.answer.system, read_chat_template(self.model_file))

    @cached_property
    def schema(self) -> dict[str, Any] | None:
        """The house format."""
        path = self.settings.answer.schema_file
        return None if path is None else read_schema(path)

    @cached_property
    def engine(self) -> Engine:
        """The language model, with every adapter that fits it."""
        engine = self.settings.engine
        if engine.kind == "ollama":
            # Only here, because the official client takes a fifth of a second to import.
            from assistant.engines.ollama import OllamaEngine

            return OllamaEngine(
                self.model_file,
                name=engine.model,
                base_sha256=self.base_sha256,
                context_tokens=engine.context_tokens,
                parallel=engine.parallel,
                waiting=engine.queue,
                url=engine.url,
                timeout_s=engine.timeout_s,
                threads=engine.threads,
            )
        if engine.kind == "openai":
            from assistant.engines.openai import OpenAIEngine

            return OpenAIEngine(
                self.model_file,
                name=engine.model,
                context_tokens=engine.context_tokens,
                parallel=engine.parallel,
                waiting=engine.queue,
                url=engine.url,
                served_name=engine.served_name,
                api_key=engine.api_key.get_secret_value(),
                timeout_s=engine.timeout_s,
            )
        fitting = [
            adapter.file
            for adapter in self.adapters.list()
            if adapter.manifest.get("base_sha256") == self.base_sha256
        ]
        return EmbeddedEngine(
            self.model_file,
            name=engine.model,
            context_tokens=engine.context_tokens,
            parallel=engine.parallel,
            waiting=engine.queue,
            threads=engine.threads,
            adapters=fitting,
        )

    @cached_property
    def assistant(self) -> Assistant:
        """Answers questions."""
        answer = self.settings.answer
        voice = Voice(
            system=answer.system,
            refusal=answer.refusal,
            abstention=answer.abstention or answer.refusal,
            schema=self.schema,
            max_tokens=answer.max_tokens,
        )
        return Assistant(
            self.retriever,
            self.engine,
            self.adapters,
            voice,
            Contract(self.prompt_fingerprint, self.base_sha256),
            top_k=self.settings.retrieval.top_k,
            min_similarity=self.settings.retrieval.min_similarity,
        )

    def check_collection(self, collection: str) -> None:
        """Refuse a collection that holds nothing.

        Raises:
            NotFoundError: says which collections exist.
        """
        known = self.registry.collections()
        if collection not in known:
            listed = f"There are: {', '.join(known)}." if known else "No documents yet."
            raise NotFoundError(
                f"There is no collection {collection!r}. {listed}",
                hint=f"groundtune ingest PATH --collection {collection}",
            )

    def close(self) -> None:
        """Let go of files and models."""
        if "engine" in self.__dict__:
            self.engine.close()
        if "index" in self.__dict__:
            self.index.close()
        elif "registry" in self.__dict__:
            self.registry.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def make_embedder(settings: Settings) -> Embedder:
    """Return the embedding model that the settings name."""
    embedding = settings.embedding
    return choose_embedder(embedding.model, resolve(embedding.model), embedding.backend)


def make_parts(settings: Settings, embedder: Embedder | None = None) -> Parts:
    """Return what files are prepared with; the model is loaded when the first one has to be cut."""
    used = embedder or make_embedder(settings)

    @cache
    def chunker() -> Chunker:
        return Chunker(
            used.tokenize,
            chunk_tokens=settings.ingest.chunk_tokens,
            chunk_overlap=settings.ingest.chunk_overlap,
            max_tokens=used.max_tokens,
        )

    return Parts(read_document, lambda document: chunker().chunk(document), used)


def open_workspace(settings: Settings) -> Workspace:
    """Return the workspace at `settings.home`."""
    return Workspace(settings)


def read_schema(path: Path) -> dict[str, Any]:
    """Read a JSON schema.

    Raises:
        ConfigError: no such file, not JSON, or not a schema.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        schema: Any = json.loads(path.read_text(encoding="utf-8"))
        Draft202012Validator.check_schema(schema)
    except OSError as error:
        raise ConfigError(f"The schema {path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"The schema {path} is not JSON: {error}.") from None
    except SchemaError as error:
        raise ConfigError(f"{path} is not a JSON schema: {error.message}.") from None
    if not isinstance(schema, Mapping):
        raise ConfigError(f"{path} is not a JSON schema of an object.")
    return dict(schema)
