"""What files are prepared with, as the settings say."""

from functools import cache, partial

from assistant.config import Settings
from ingest.chunk import Chunker
from ingest.embed import Embedder
from ingest.model_file import resolve
from ingest.openvino_embedder import choose_embedder
from ingest.prepare import Parts, ReadContent
from ingest.sandbox import Reader

READERS = 2
"""Files that are read at the same time."""


def make_embedder(settings: Settings) -> Embedder:
    """Return the embedding model that the settings name."""
    embedding = settings.embedding
    return choose_embedder(embedding.model, resolve(embedding.model), embedding.backend)


def make_chunker(settings: Settings, embedder: Embedder) -> Chunker:
    """Return what cuts documents; it counts in the embedding model's tokens."""
    return Chunker(
        embedder.tokenize,
        chunk_tokens=settings.ingest.chunk_tokens,
        chunk_overlap=settings.ingest.chunk_overlap,
        max_tokens=embedder.max_tokens,
    )


def make_parts(
    settings: Settings, embedder: Embedder | None = None, read: ReadContent | None = None
) -> Parts:
    """Return what files are prepared with.

    The embedding model is loaded when the first file has to be cut. Without `read`, files are read
    by processes of their own, with limits.
    """
    used = embedder or make_embedder(settings)
    chunker = cache(partial(make_chunker, settings, used))
    read = read or Reader(workers=READERS).read
    return Parts(read, lambda document: chunker().chunk(document), used)
