"""`groundtune ingest PATH...`: files, folders and globs become searchable."""

import argparse
import contextlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from assistant.commands.desk import open_desk
from assistant.config import Settings
from assistant.local import LocalWorkspace
from assistant.uploads import check_collection_name
from ingest.errors import ConflictError, NotFoundError, UsageError
from ingest.files import Upload, find_files
from ingest.path import printable

PASSED_OVER = 5
"""Files passed over that are named."""
LISTED = 20
"""Files that a summary lists; more are counted, unless `--verbose` asks for them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file, a folder or a glob")
    parser.add_argument("--collection", default="default", help="where to put the documents")
    parser.add_argument(
        "--prune", action="store_true", help="remove documents whose files are gone from PATH"
    )
    parser.add_argument(
        "--watch", action="store_true", help="go on with what changes in PATH, until Ctrl-C"
    )
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="read and embed on a Ray cluster; `auto` finds a local one"
    )
    parser.add_argument(
        "--verbose", "-v", action="store_true", help=f"list every file, not the first {LISTED}"
    )


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Ingest and return the tally; with `--watch`, that of all rounds together.

    Raises:
        NotFoundError: a path names nothing.
        ConflictError: `--ray` while a server owns the workspace.
    """
    check_collection_name(args.collection)
    if args.watch and args.ray:
        raise UsageError("--watch and --ray do not go together.", hint="Leave one of them out.")
    others: list[Path] = []
    uploads = find_files(args.paths, on_other=others.append)
    if others:
        _say(_passed_over(others))
    result = _round(args, settings, uploads)
    if args.watch:
        _say("Watching. Ctrl-C ends it.")
        with contextlib.suppress(KeyboardInterrupt):  # wherever it strikes, what was done is told
            for more in _rounds(args, settings):
                result = {key: value + more[key] for key, value in result.items()}
                _say(render({**more, "verbose": True}))
    return {**result, "verbose": args.verbose} if args.verbose and not args.json else result


def _passed_over(others: Sequence[Path]) -> str:
    """Say which files of a folder are not read, the first of them by name."""
    names = ", ".join(printable(path.name) for path in others[:PASSED_OVER])
    more = f" and {len(others) - PASSED_OVER:,} more" if len(others) > PASSED_OVER else ""
    return (
        f"Passed over, by their names or because they are links to folders: {names}{more}. "
        "What is named itself is read for what it is."
    )


def _rounds(args: argparse.Namespace, settings: Settings) -> Iterator[dict[str, Any]]:
    from ingest.watch import changes

    for paths in changes(args.paths):
        # A folder that is gone for a moment is no reason to stop.
        found: dict[Path | None, Upload] = {}
        for path in args.paths:
            with contextlib.suppress(NotFoundError):
                found |= {upload.path: upload for upload in find_files([path])}
        # Of a folder that was moved here, and of one that is filled faster than it is followed, the
        # folder alone is named.
        changed = [u for p, u in found.items() if p and not paths.isdisjoint((p, *p.parents))]
        if changed or args.prune:
            yield _round(args, settings, changed)


def _round(args: argparse.Namespace, settings: Settings, uploads: Sequence[Upload]) -> Any:
    """Ingest files once. Between two rounds of `--watch` the workspace is free for others."""
    with (
        open_desk(
            settings,
            "ingest",
            wait_s=math.inf,
            on_wait=lambda who: _say(f"{who} works on this workspace; waiting for it to finish."),
        ) as desk,
        _bar(len(uploads)) as moved,
    ):
        if isinstance(desk, LocalWorkspace):
            result = desk.ingest(uploads, args.collection, moved, ray=args.ray)
        elif args.ray:
            raise ConflictError(
                "--ray needs the workspace to itself, and a server works on it.",
                hint="Stop the server first, or ingest without --ray.",
            )
        else:
            result = desk.ingest(uploads, args.collection, moved)
        if args.prune:
            result["deleted"] = desk.prune([Path(path) for path in args.paths], args.collection)
        return result


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with rate and time left on stderr; yield what moves it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        Task,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.text import Text

    class Pace(TextColumn):
        """Files a second since the start, and the time left at that.

        Files are through by batches, so the pace of the last moment says nothing.
        """

        def render(self, task: Task) -> Text:
            if not task.completed or not task.elapsed:
                return Text("ETA -:--:--")
            rate = task.completed / task.elapsed
            left = timedelta(seconds=math.ceil(task.remaining / rate)) if task.remaining else 0
            return Text(f"{rate:.{1 if rate >= 1 else 2}f} files/s  ETA {left or '0:00:00'}")

    columns = (
        TextColumn("Ingesting"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        Pace(""),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("ingest", total=total)
        yield lambda done, total: bar.update(task, completed=done)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def render(result: dict[str, Any]) -> str:
    """Return the tally in words: each file that changed or failed, the unchanged ones counted."""
    kinds = ("added", "updated", "moved", "unchanged", "deleted")
    counts = ", ".join(f"{result[k]} {k}" for k in kinds if result[k] or k != "moved")
    lines = [f"{counts}; {result['chunks']} new passages in {result['seconds']:g} s."]
    done = [file for file in result["files"] if file["outcome"] != "failed"]
    shown = done if result.get("verbose") else done[:LISTED]
    lines += [f"  {f['outcome']:<8} {f['source']} ({f['chunks']} passages)" for f in shown]
    if len(done) > len(shown):
        lines.append(f"  and {len(done) - len(shown)} more; --verbose lists them all")
    lines += [f"  failed   {f['source']}: {f['error']}" for f in result["failed"]]
    return "\n".join(lines)
