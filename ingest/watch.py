"""Following folders: what changed in them, a moment after it did."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

DEBOUNCE_MS = 1000
"""Changes that follow each other are handed out together, after at most this long."""


def changes(
    arguments: Sequence[str], *, stop: threading.Event | None = None
) -> Iterator[set[Path]]:
    """Yield the absolute paths of files that changed, came or went, until `stop` is set.

    A folder is followed with all below it; of a glob, the folder before its first wildcard.
    Ctrl-C ends it as `stop` does.
    """
    from watchfiles import watch

    roots = sorted({_root(argument) for argument in arguments})
    for found in watch(
        *roots, debounce=DEBOUNCE_MS, step=100, stop_event=stop, raise_interrupt=False
    ):
        yield {Path(path).absolute() for _, path in found}


def _root(argument: str) -> Path:
    path = Path(argument)
    while any(mark in path.name for mark in "*?[") or not path.exists():
        path = path.parent
    return path.absolute()
