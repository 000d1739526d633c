"""`groundtune restore FILE`: a backup becomes the workspace."""

import argparse
from pathlib import Path
from typing import Any

from assistant.config import Settings
from assistant.restore import restore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", type=Path, metavar="FILE", help="what `groundtune backup` wrote")
    parser.add_argument("--force", action="store_true", help="replace the workspace that is there")


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Check the backup and put it in the workspace's place.

    Raises:
        ConflictError: the workspace holds something, and `--force` is not given.
        UsageError: the file is no backup, damaged, or of a newer version.
    """
    return restore(args.file, settings, force=args.force)


def render(result: dict[str, Any]) -> str:
    """Return the result in words."""
    return (
        f"Restored into {result['restored']} as it was at {result['created']}: "
        f"{result['documents']} documents, {result['chunks']} passages."
    )
