"""Small parts that do the job of the large ones: seconds instead of minutes, no model files."""

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assistant.config import Settings, VoiceSettings
from assistant.engines.engine import Engine, Message, Piece, Request, Usage
from assistant.workspace import Workspace
from ingest.chunk import Chunker
from ingest.embed import Embedder
from ingest.embedding_model import EmbeddingModel
from ingest.errors import EngineError
from ingest.index import Index
from ingest.pipeline import Pipeline
from ingest.prepare import Parts, Threads
from ingest.read import read_document

WORD = re.compile(r"\w+")
DIMENSION = 4096  # wide enough that two words hardly ever share a place


class HashEmbedder:
    """Counts words in hashed places: texts that share words are similar, others are not."""

    name = "hash"
    backend = "hash"
    max_tokens = 256

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one row a text: shape (len(texts), 4096), float32, L2 norm 1."""
        rows = np.zeros((len(texts), DIMENSION), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in WORD.findall(text.casefold()):
                row[int(hashlib.sha256(word.encode()).hexdigest(), 16) % DIMENSION] += 1
            row[0] += 1e-3  # a text without words still has a direction
        unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def tokenize(self, text: str) -> list[str]:
        """Return the words of `text`."""
        return WORD.findall(text)


class ScriptedEngine:
    """Says what it was told to say, and remembers what it was asked."""

    name = "scripted"

    def __init__(
        self,
        reply: str | Callable[[Request], str] = "I do not know.",
        *,
        context_tokens: int = 2048,
        fail_after: int | None = None,
        error: Exception | None = None,
    ) -> None:
        """Answer with `reply`, word by word.

        `fail_after` pieces, raise `error` (an EngineError if there is none).
        """
        self.context_tokens = context_tokens
        self.requests: list[Request] = []
        self.closed = False
        self._reply = reply
        self._fail_after = fail_after
        self._error = error or EngineError("The model fell over.", hint="Pick it up.")

    async def prompt_tokens(self, messages: Sequence[Message]) -> list[int]:
        """Return one number a word."""
        return [0 for message in messages for _ in message.content.split()]

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        """Yield the reply in words, then the usage."""
        self.requests.append(request)
        prompt = await self.prompt_tokens(request.messages)
        if len(prompt) >= self.context_tokens:
            raise EngineError(f"{len(prompt)} tokens are over the context size.")
        reply = self._reply if isinstance(self._reply, str) else self._reply(request)
        ends = [reply.index(text) for text in request.stop if text in reply]
        pieces = re.findall(r"\s*\S+", reply[: min(ends, default=len(reply))])
        reason = "length" if len(pieces) > request.max_tokens else "stop"
        pieces = pieces[: request.max_tokens]
        for number, piece in enumerate(pieces):
            if number == self._fail_after:
                raise self._error
            yield Piece(piece)
        yield Piece(usage=Usage(len(prompt), len(pieces), reason))

    async def check(self) -> None:
        """It can always speak."""

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


class NearReader:
    """Reads as the real one does, in this process: no process to start, and no limits."""

    read = staticmethod(read_document)

    def close(self) -> None:
        """There is nothing to end."""


class SmallWorkspace(Workspace):
    """A workspace with a real registry, real vectors and real ingestion, and small models."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        super().__init__(settings)
        self._engine = engine

    @cached_property
    def embedder(self) -> Embedder:
        """Hashed words."""
        return HashEmbedder()

    @cached_property
    def embedding_model(self) -> EmbeddingModel:
        """There is no file to take a hash of."""
        return EmbeddingModel("hash", "hash", DIMENSION)

    @cached_property
    def reader(self) -> NearReader:  # type: ignore[override]
        """It starts no process."""
        return NearReader()

    @cached_property
    def engine(self) -> Engine:
        """The one it was given."""
        return self._engine

    @cached_property
    def base_sha256(self) -> str:
        """There is no model file."""
        return "base"

    @cached_property
    def prompt_fingerprint(self) -> str:
        """There is no chat template."""
        return "prompt"

    def fingerprint_of(self, voice: VoiceSettings) -> str:
        """There is none for other voices either."""
        return f"prompt {voice.system}"


def small_workspace(home: Path, engine: Engine, **sections: dict[str, object]) -> SmallWorkspace:
    """Return a workspace at `home`; `sections` are those of the configuration."""
    return SmallWorkspace(Settings.model_validate({"home": home, **sections}), engine)


def small_pipeline(
    index: Index, *, max_file_mb: int = 1, batch_chunks: int = 8, chunk_tokens: int = 64
) -> Pipeline:
    """Return a pipeline that counts tokens in words, with batches that a test can fill."""
    chunker = Chunker(
        index.embedder.tokenize,
        chunk_tokens=chunk_tokens,
        chunk_overlap=chunk_tokens // 8,
        max_tokens=256,
    )
    parts = Parts(read_document, chunker.chunk, index.embedder)
    threads = Threads(parts, readers=2, batch_chunks=batch_chunks)
    return Pipeline(index, threads, max_file_mb=max_file_mb)
