"""`groundtune ingest PATH...`: files, folders and globs become searchable."""

import argparse
from pathlib import Path
from typing import Any

from assistant.commands.desk import open_desk
from assistant.config import Settings
from assistant.local import LocalWorkspace
from assistant.uploads import check_collection_name
from ingest.errors import UsageError
from ingest.files import find_files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file, a folder or a glob")
    parser.add_argument("--collection", default="default", help="where to put the documents")
    parser.add_argument(
        "--prune", action="store_true", help="remove documents whose files are gone from PATH"
    )


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Ingest and return the tally.

    Raises:
        NotFoundError: a path names nothing.
        UsageError: `--prune` while a server owns the workspace.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    check_collection_name(args.collection)
    uploads = find_files(args.paths)
    columns = (
        TextColumn("Ingesting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with (
        open_desk(settings, "ingest") as desk,
        Progress(*columns, console=Console(stderr=True)) as bar,
    ):
        task = bar.add_task("ingest", total=len(uploads))
        result = desk.ingest(
            uploads, args.collection, lambda done, total: bar.update(task, completed=done)
        )
        if args.prune:
            if not isinstance(desk, LocalWorkspace):
                raise UsageError("--prune needs the workspace to itself; stop the server first.")
            folders = [Path(path) for path in args.paths]
            result["deleted"] = desk.prune(folders, args.collection)
    return result


def render(result: dict[str, Any]) -> str:
    """Return the tally in words."""
    counts = ", ".join(f"{result[k]} {k}" for k in ("added", "updated", "unchanged", "deleted"))
    lines = [f"{counts}; {result['chunks']} new passages in {result['seconds']:g} s."]
    lines += [f"  could not read {f['source']}: {f['error']}" for f in result["failed"]]
    return "\n".join(lines)
