"""Old versions of adapters, and their removal."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from assistant.adapter import Adapter, AdapterStore
from assistant.alias import locked
from ingest.errors import UsageError


def garbage(store: AdapterStore, *, keep: int) -> list[Adapter]:
    """Return the versions that nobody needs: of each name, those behind the newest `keep`.

    One that an alias stands for, or that is deployed on a server, is never among them.

    Raises:
        UsageError: `keep` is below 1.
    """
    if keep < 1:
        raise UsageError(f"--keep {keep}: at least the newest version stays.")
    return [adapter for adapter in _old(store, keep) if not _needed(store, adapter)]


def collect(store: AdapterStore, *, keep: int) -> list[Adapter]:
    """Remove what `garbage` returns, and return it.

    A version is first taken out of sight in one stroke and then deleted; no alias is given
    meanwhile.
    """
    removed = []
    with locked(store.folder):
        for adapter in garbage(store, keep=keep):
            hidden = adapter.folder.with_name(f".gone-{adapter.version}-{uuid4().hex[:8]}")
            adapter.folder.rename(hidden)
            removed.append(adapter)
    for rest in store.folder.glob("*/.gone-*"):  # those that a killed process left as well
        shutil.rmtree(rest, ignore_errors=True)
    return removed


def size_of(folder: Path) -> int:
    """Return the bytes of all files in `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _old(store: AdapterStore, keep: int) -> Iterator[Adapter]:
    found = store.list()
    for name in sorted({adapter.name for adapter in found}):
        yield from [adapter for adapter in found if adapter.name == name][:-keep]


def _needed(store: AdapterStore, adapter: Adapter) -> bool:
    aliased = store.aliases(adapter.name).of(adapter.version)
    return bool(aliased or adapter.manifest.get("deployed"))
