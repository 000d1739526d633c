"""A workspace: the parts, built from the settings and put together.

This is the only place that knows which class stands behind which setting. Heavy parts are built
when they are first used, so that listing documents loads no language model.
"""

import logging
from contextlib import AbstractContextManager
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from assistant.access import OWNER, Access
from assistant.adapter import Adapter, AdapterStore, check_fit
from assistant.answer_schema import schema_of
from assistant.assistant import Assistant, Contract, Voice, Voices
from assistant.chat_template import read_chat_template
from assistant.choice import Chooser
from assistant.config import Settings, VoiceSettings
from assistant.engines.embedded import EmbeddedEngine
from assistant.engines.engine import Engine
from assistant.evidence import Judge
from assistant.gguf_file import resolve_gguf
from assistant.pauses import loading
from assistant.preparation import READERS, make_chunker, make_embedder, make_parts
from assistant.prompt import fingerprint
from assistant.rerank import CrossEncoderReranker, Reranker
from assistant.retrieve import Retriever
from assistant.stores import open_registry, open_vectors
from assistant.strength import Calibration, read_calibration
from assistant.strength import fingerprint as evidence_fingerprint
from ingest.chunk import Chunker
from ingest.embed import CachedEmbedder, Embedder
from ingest.embedding_model import EmbeddingModel, check_model, identify, remembered
from ingest.errors import NotFoundError
from ingest.index import Index
from ingest.model_file import resolve, sha256_of
from ingest.pipeline import Pipeline
from ingest.prepare import Preparation, Threads
from ingest.registry import Registry
from ingest.sandbox import Reader
from ingest.stores.vectors import Vectors

log = logging.getLogger(__name__)


class Workspace(AbstractContextManager["Workspace"]):
    """Everything in one `.groundtune` folder, for one process, or for several that serve it."""

    def __init__(self, settings: Settings, *, shared: bool = False, serving: bool = False) -> None:
        """Open nothing yet.

        `shared`: several serve it, so what only one may put right is left to others. `serving`:
        what would hold up answers is kept out of this process.
        """
        self.settings = settings
        self.home = settings.home
        self.shared = shared
        self.serving = serving

    @cached_property
    def registry(self) -> Registry:
        """Documents, chunks and full text."""
        return open_registry(self.settings.store.state, self.home)

    @cached_property
    def embedder(self) -> Embedder:
        """The embedding model."""
        return make_embedder(self.settings)

    @cached_property
    def query_embedder(self) -> Embedder:
        """The same, with a memory: search and the choice of an adapter share questions."""
        return CachedEmbedder(self.embedder)

    @cached_property
    def embedding_model(self) -> EmbeddingModel:
        """What the embedding model is, as the index remembers it."""
        name = self.settings.embedding.model
        known = remembered(self.registry)
        return identify(name, resolve(name), known=known, embedder=self.embedder)

    @cached_property
    def vectors(self) -> Vectors:
        """The vectors that the embedding model made."""
        index, model = self.registry.index_id, self.embedding_model.fingerprint
        # To look through the store's modules for garbage takes as long as 3,000 unchanged files.
        with loading():
            return open_vectors(
                self.settings.store.vectors, self.home, index=index, model=model, apart=self.serving
            )

    @cached_property
    def index(self) -> Index:
        """What documents become; what a killed process left of it is put right first.

        Raises:
            MismatchError: another embedding model made it.
            StoreError: a store is down, or vectors were lost.
        """
        check_model(self.registry, self.embedding_model)
        index = Index(self.registry, self.vectors, self.embedder)
        if not self.shared:
            index.repair()
        index.check()
        return index

    @cached_property
    def chunker(self) -> Chunker:
        """Cuts documents into passages."""
        return make_chunker(self.settings, self.embedder)

    @cached_property
    def reader(self) -> Reader:
        """Reads files, each in a process with limits."""
        return Reader(workers=READERS)

    @cached_property
    def pipeline(self) -> Pipeline:
        """Takes files into the index."""
        parts = make_parts(self.settings, self.embedder, self.reader.read)
        return self._pipeline(Threads(parts, readers=READERS))

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
            dense_weight=retrieval.dense_weight,
            sentences=retrieval.sentences,
            embedder=self.query_embedder,
            reranker=self.reranker,
            rerank_candidates=retrieval.rerank_candidates,
            neighbour_tokens=retrieval.neighbour_tokens,
        )

    @cached_property
    def reranker(self) -> Reranker | None:
        """The cross-encoder, where one is configured."""
        name = self.settings.retrieval.rerank
        return CrossEncoderReranker(name, resolve(name)) if name else None

    @cached_property
    def adapters(self) -> AdapterStore:
        """The tuned adapters."""
        return AdapterStore(self.home / "adapters")

    @cached_property
    def model_file(self) -> Path:
        """The base model's GGUF file."""
        return resolve_gguf(self.settings.engine.model)

    @cached_property
    def base_sha256(self) -> str:
        """Names the base model, as adapters remember it."""
        return sha256_of(self.model_file)

    @cached_property
    def prompt_fingerprint(self) -> str:
        """Names the prompt contract, as adapters remember it."""
        return self.fingerprint_of(self.settings.answer)

    @cached_property
    def chat_template(self) -> str:
        """How the base model wants messages written."""
        return read_chat_template(self.model_file)

    def fingerprint_of(self, voice: VoiceSettings) -> str:
        """Name the prompt contract of `voice`."""
        return fingerprint(voice.system, self.chat_template)

    def contract_of(self, adapter: str) -> str:
        """Name the prompt contract that adapters called `adapter` are trained and served with."""
        voice = self.settings.voices.get(adapter)
        return self.prompt_fingerprint if voice is None else self.fingerprint_of(voice)

    def check_fit(self, adapter: Adapter) -> None:
        """Refuse an adapter that was trained for another prompt or another base model.

        Raises:
            MismatchError: names what differs and how to mend it.
        """
        check_fit(
            adapter,
            prompt_fingerprint=self.contract_of(adapter.name),
            base_sha256=self.base_sha256,
        )

    @cached_property
    def schema(self) -> dict[str, Any] | None:
        """The house format."""
        return schema_of(self.settings.answer)

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
        others = {
            name: self._voice(voice, self.contract_of(name))
            for name, voice in self.settings.voices.items()
        }
        return Assistant(
            self.retriever,
            self.engine,
            self.adapters,
            Voices(self._voice(answer, self.prompt_fingerprint), others),
            Contract(self.base_sha256, self.settings.engine.kind),
            top_k=self.settings.retrieval.top_k,
            judge=self.judge,
            chooser=self.chooser,
            default_adapter=answer.adapter,
        )

    def _voice(self, voice: VoiceSettings, prompt_fingerprint: str) -> Voice:
        return Voice(
            system=voice.system,
            refusal=voice.refusal,
            abstention=voice.abstention or voice.refusal,
            schema=schema_of(voice),
            max_tokens=voice.max_tokens,
            prompt_fingerprint=prompt_fingerprint,
        )

    @cached_property
    def chooser(self) -> Chooser:
        """Says which adapter a question is for."""
        return Chooser(
            self.adapters,
            self.home / "datasets",
            self.query_embedder,
            embedding=lambda: self.embedding_model.fingerprint,
            threshold=self.settings.answer.adapter_similarity,
        )

    def variant(self, settings: Settings) -> "Workspace":
        """Return a workspace over the same documents and adapters that answers by other settings.

        Only its engine is its own to close.
        """
        other = Workspace(settings)
        other.registry, other.adapters = self.registry, self.adapters
        other.embedder, other.index = self.embedder, self.index
        return other

    @cached_property
    def judge(self) -> Judge:
        """Decides whether evidence is enough to answer from."""

        def count(collection: str, word: str, limit: int) -> int:
            return len(self.index.lexical(word, collection=collection, limit=limit))

        return Judge(
            min_similarity=self.settings.retrieval.min_similarity,
            calibration=cache(self._calibration),
            count=count,
        )

    @property
    def evidence_fingerprint(self) -> str:
        """Names all that shapes the evidence, as calibrations remember it."""
        sections = self.settings.model_dump(mode="json", include={"ingest", "retrieval"})
        return evidence_fingerprint(self.embedding_model.fingerprint, sections)

    def _calibration(self, collection: str) -> Calibration | None:
        """Return a collection's calibration; one that was fitted for other evidence is ignored."""
        found = read_calibration(self.home, collection)
        if found is None or found.fingerprint == self.evidence_fingerprint:
            return found
        log.warning(
            "The calibration of collection %r is ignored: embedding model, chunks or search were "
            "set otherwise when it was fitted. Fit it again: groundtune calibrate QUESTIONS.jsonl "
            "--collection %s",
            collection,
            collection,
        )
        return None

    def check_collection(self, collection: str, access: Access = OWNER) -> None:
        """Refuse a collection that holds nothing, or is not one of those that `access` sees.

        Raises:
            NotFoundError: says which collections exist.
        """
        known = access.seen(self.registry.collections())
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
        if "retriever" in self.__dict__:
            self.retriever.close()
        if "reader" in self.__dict__:
            self.reader.close()
        if "vectors" in self.__dict__:
            self.vectors.close()
        if "registry" in self.__dict__:
            self.registry.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def open_workspace(settings: Settings, *, shared: bool = False, serving: bool = False) -> Workspace:
    """Return the workspace at `settings.home`."""
    return Workspace(settings, shared=shared, serving=serving)
