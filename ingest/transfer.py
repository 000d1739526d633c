"""An index moves: to another store, or to another embedding model. The source stays as it is."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ingest.document import Chunk
from ingest.embed import Embedder
from ingest.embedding_model import EmbeddingModel, remember
from ingest.errors import ConflictError, StoreError, UsageError
from ingest.registry import Registry
from ingest.stores.vectors import Vectors

Progress = Callable[[int, int], None]
"""Gets how many are through, and all."""
PAGE = 512
"""Chunks read, embedded and written at a time."""
SAMPLE = 64
"""Of what was copied, compared in full at the end."""
SPECIAL = 2
"""Tokens that a model adds to a text: [CLS] and [SEP]."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did."""

    kind: str
    """`vectors` or `documents`."""
    copied: int
    present: int
    """Already there, from an earlier run."""
    removed: int
    """In the target and no longer in the source."""
    compared: int
    """Read back from the target and found equal."""


def copy_vectors(
    registry: Registry,
    source: Vectors,
    target: Vectors,
    *,
    collections: Sequence[str],
    seed: int = 0,
    on_progress: Progress = lambda done, total: None,
) -> Copied:
    """Copy the vectors of all listed chunks, without the model; a rerun copies what is missing.

    Raises:
        StoreError: a store failed, lacks a vector, or holds other vectors at the end.
    """
    sizes = registry.sizes()
    total = sum(sizes.get(collection, 0) for collection in collections)
    copied = present = removed = compared = 0
    for collection in collections:
        there = target.ids(collection)
        for page in registry.pages(collection, size=PAGE):
            missing = [chunk for chunk in page if chunk.id not in there]
            if missing:
                rows = source.rows([chunk.id for chunk in missing], collection=collection)
                target.add(missing, rows)
            copied += len(missing)
            present += len(page) - len(missing)
            there.difference_update(chunk.id for chunk in page)
            on_progress(copied + present, total)
        target.remove(sorted(there), collection=collection)
        removed += len(there)
        compared += _compare_vectors(registry, source, target, collection, seed)
    return Copied("vectors", copied, present, removed, compared)


def _compare_vectors(
    registry: Registry, source: Vectors, target: Vectors, collection: str, seed: int
) -> int:
    listed = registry.sizes().get(collection, 0)
    found = target.count(collection)
    if found != listed:
        raise StoreError(
            f"{target.place} has {found} vectors in collection {collection!r}, and the registry "
            f"lists {listed} passages.",
            hint="Run the copy again.",
        )
    ids = sorted(target.ids(collection))
    sample = random.Random(seed).sample(ids, min(SAMPLE, len(ids)))
    if sample:
        before = source.rows(sample, collection=collection)
        after = target.rows(sample, collection=collection)
        if before.shape != after.shape or not np.allclose(before, after, atol=1e-4):
            raise StoreError(
                f"{target.place} gives back other vectors than {source.place} holds.",
                hint="Empty it and run the copy again.",
            )
    return len(sample)


def copy_documents(
    source: Registry,
    target: Registry,
    *,
    collections: Sequence[str],
    seed: int = 0,
    on_progress: Progress = lambda done, total: None,
) -> Copied:
    """Copy documents, chunks, full text and what the index knows of itself.

    Raises:
        ConflictError: the target holds another index.
        StoreError: a database failed, or holds something else at the end.
    """
    _same_index(source, target)
    listed = [record for name in collections for record in source.documents(name)]
    there = {record.id for name in collections for record in target.documents(name)}
    copied = present = 0
    for record in listed:
        if record.id in there and target.document(record.id) == source.document(record.id):
            present += 1
        else:
            target.adopt(source, record.id)
            copied += 1
        there.discard(record.id)
        on_progress(copied + present, len(listed))
    for document_id in sorted(there):
        target.remove(document_id)
    target.set_pending(source.pending())
    sample = random.Random(seed).sample(listed, min(SAMPLE, len(listed)))
    same = all(target.document(record.id) == source.document(record.id) for record in sample)
    sizes = [{n: r.sizes().get(n, 0) for n in collections} for r in (source, target)]
    if not same or sizes[0] != sizes[1]:
        raise StoreError(f"{target.place} differs from {source.place}.", hint="Copy again.")
    return Copied("documents", copied, present, len(there), len(sample))


def _same_index(source: Registry, target: Registry) -> None:
    theirs = target.fact("index")
    if theirs not in (None, source.index_id) and target.documents():
        raise ConflictError(
            f"{target.place} holds another index already.",
            hint="Copy into a database of its own.",
        )
    for key, value in source.facts().items():
        target.note(key, value)


def reembed(
    registry: Registry,
    vectors: Vectors,
    embedder: Embedder,
    model: EmbeddingModel,
    *,
    on_progress: Progress = lambda done, total: None,
) -> int:
    """Make the vectors of `model` from the listed chunks, then switch to them, then drop others.

    Whenever it is interrupted, the old vectors are whole and in use until all new ones are there,
    and the new ones after that; a rerun makes what is missing. Returns how many were made.

    Args:
        registry: lists the chunks and remembers the model.
        vectors: of `model`, in the store that holds the old ones.
        embedder: computes `model`.
        model: the one to change to.
        on_progress: gets how many chunks are through, and all.

    Raises:
        UsageError: a chunk is longer than the model reads.
    """
    sizes = registry.sizes()
    for collection in sizes:
        for page in registry.pages(collection, size=PAGE):
            _check_lengths(page, embedder)
    made = through = 0
    for collection in sizes:
        there = vectors.ids(collection)
        for page in registry.pages(collection, size=PAGE):
            missing = [chunk for chunk in page if chunk.id not in there]
            if missing:
                vectors.add(missing, embedder.embed([chunk.context for chunk in missing]))
            made += len(missing)
            through += len(page)
            there.difference_update(chunk.id for chunk in page)
            on_progress(through, sum(sizes.values()))
        vectors.remove(sorted(there), collection=collection)
    remember(registry, model)
    registry.note("backend", embedder.backend)
    for other in sorted(vectors.models() - {model.fingerprint}):
        vectors.drop(other)
    return made


def _check_lengths(page: Sequence[Chunk], embedder: Embedder) -> None:
    room = embedder.max_tokens - SPECIAL
    for chunk in page:
        length = len(embedder.tokenize(chunk.context)) if len(chunk.context) > room else 0
        if length > room:
            raise UsageError(
                f"A passage of {chunk.source} has {length} tokens, and {embedder.name} reads "
                f"{room}: the rest would be cut silently.",
                hint="Set a smaller ingest.chunk_tokens and ingest the documents again, into "
                "another workspace: GROUNDTUNE_HOME=FOLDER groundtune ingest PATH",
            )
