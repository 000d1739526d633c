"""`groundtune index copy FROM TO | reembed | show`: where the index lies, and its move."""

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from assistant.config import Settings, hide_password, plain_state
from assistant.store_names import STATE, VECTORS
from assistant.stores import open_registry, open_vectors
from assistant.workspace import Workspace, open_workspace
from ingest.embedding_model import UNKNOWN, remembered
from ingest.errors import NotFoundError, UsageError
from ingest.registry import Registry
from ingest.transfer import Copied, Progress, copy_documents, copy_vectors, reembed

SPECS = (
    "vectors: chroma, qdrant, chroma:http://HOST:PORT, qdrant:http://HOST:PORT; "
    "documents: sqlite, postgresql://USER@HOST/DATABASE"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="copy|reembed|show")
    copy = actions.add_parser(
        "copy",
        help="copy vectors, or documents, into another store",
        epilog=f"stores: {SPECS}. A password is taken from PGPASSWORD where the address has none.",
    )
    copy.add_argument("source", metavar="FROM", help="a store, as the configuration writes it")
    copy.add_argument("target", metavar="TO", help="another store of the same kind")
    copy.add_argument("--collection", help="only this one")
    actions.add_parser("reembed", help="make the vectors anew with the model of the configuration")
    actions.add_parser("show", help="the stores, the embedding model and what lies there")


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Copy, re-embed or show.

    Raises:
        UsageError: FROM and TO are no two stores of a kind, or a passage is too long.
        NotFoundError: there is no such collection, or nothing to copy.
        StoreError: a store failed.
    """
    with open_workspace(settings) as workspace:
        if args.action == "copy":
            return _copy(args.source, args.target, args.collection, workspace)
        if args.action == "reembed":
            return _reembed(workspace)
        return _show(workspace)


def render(result: dict[str, Any]) -> str:
    """Return what a person reads."""
    if "switch" in result:
        return (
            f"Copied {result['copied']} {result['kind']}; {result['present']} were there already, "
            f"{result['removed']} were out of date. {result['compared']} read back and found "
            f"equal.\nTo use the copy, write into the configuration: [store] {result['switch']}"
        )
    if "embedded" in result:
        return f"{result['embedded']} passages embedded; the index is that of {result['model']}."
    lines = [f"{key:<10}{result[key]}" for key in ("vectors", "state", "model")]
    lines += [
        f"{name}: {held['documents']} documents, {held['passages']} passages, "
        f"{held['vectors']} vectors"
        for name, held in result["collections"].items()
    ]
    return "\n".join(lines)


def _copy(source: str, target: str, collection: str | None, workspace: Workspace) -> dict[str, Any]:
    source, target = _spec(source), _spec(target)
    if source == target:
        raise UsageError("FROM and TO are the same store.")
    state = [re.fullmatch(STATE, spec) is not None for spec in (source, target)]
    if state[0] != state[1]:
        raise UsageError(
            f"{hide_password(source)} and {hide_password(target)} hold different things.",
            hint=f"Copy vectors and documents one after the other. {SPECS}",
        )
    move = _copy_documents if state[0] else _copy_vectors
    with _progress("Copying") as on_progress:
        copied = move(source, target, collection, workspace, on_progress)
    key = "state" if state[0] else "vectors"
    return {
        "kind": copied.kind,
        "copied": copied.copied,
        "present": copied.present,
        "removed": copied.removed,
        "compared": copied.compared,
        "switch": f'{key} = "{hide_password(target)}"',
    }


def _copy_documents(
    source: str, target: str, collection: str | None, workspace: Workspace, progress: Progress
) -> Copied:
    old = open_registry(source, workspace.home)
    new = open_registry(target, workspace.home)
    try:
        names = _collections(old, collection)
        return copy_documents(old, new, collections=names, on_progress=progress)
    finally:
        old.close()
        new.close()


def _copy_vectors(
    source: str, target: str, collection: str | None, workspace: Workspace, progress: Progress
) -> Copied:
    registry = workspace.registry
    names = _collections(registry, collection)
    known = remembered(registry)
    index, model = registry.index_id, UNKNOWN if known is None else known.fingerprint
    old = open_vectors(source, workspace.home, index=index, model=model)
    new = open_vectors(target, workspace.home, index=index, model=model)
    try:
        return copy_vectors(registry, old, new, collections=names, on_progress=progress)
    finally:
        old.close()
        new.close()


def _collections(registry: Registry, wanted: str | None) -> list[str]:
    known = registry.collections()
    if not known or (wanted is not None and wanted not in known):
        listed = f"There are: {', '.join(known)}." if known else ""
        what = "no documents" if wanted is None else f"no collection {wanted!r}"
        raise NotFoundError(f"{registry.place} has {what}. {listed}".rstrip())
    return known if wanted is None else [wanted]


def _spec(given: str) -> str:
    spec = plain_state(given)
    if re.fullmatch(f"{STATE}|{VECTORS}", spec):
        return spec.rstrip("/")
    raise UsageError(f"{hide_password(given)!r} is no store.", hint=SPECS)


def _reembed(workspace: Workspace) -> dict[str, Any]:
    registry, model = workspace.registry, workspace.embedding_model
    if remembered(registry) is None:
        # Made before indexes remembered their model: what lies there is set apart first.
        spec = workspace.settings.store.vectors
        open_vectors(spec, workspace.home, index=registry.index_id, model=UNKNOWN).close()
    with _progress("Embedding") as on_progress:
        made = reembed(
            registry, workspace.vectors, workspace.embedder, model, on_progress=on_progress
        )
    return {"embedded": made, "model": model.name}


def _show(workspace: Workspace) -> dict[str, Any]:
    registry, store = workspace.registry, workspace.settings.store
    known = remembered(registry)
    model = UNKNOWN if known is None else known.fingerprint
    vectors = open_vectors(store.vectors, workspace.home, index=registry.index_id, model=model)
    sizes = registry.sizes()
    try:
        collections = {
            name: {
                "documents": len(registry.documents(name)),
                "passages": sizes.get(name, 0),
                "vectors": vectors.count(name),
            }
            for name in registry.collections()
        }
        return {
            "vectors": vectors.place,
            "state": registry.place,
            "model": "not known yet" if known is None else known.name,
            "dimension": None if known is None else known.dimension,
            "collections": collections,
        }
    finally:
        vectors.close()


@contextmanager
def _progress(doing: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns: Sequence[Any] = (
        TextColumn(doing),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
