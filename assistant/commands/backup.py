"""`groundtune backup FILE`: the whole workspace in one file, while it is served."""

import argparse
from pathlib import Path
from typing import Any

from assistant.commands.desk import open_desk
from assistant.config import Settings
from ingest.errors import ConflictError, StoreError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", type=Path, metavar="FILE", help="such as backup.tar.gz")
    parser.add_argument("--force", action="store_true", help="write over a file that is there")


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Write the backup; where that fails, no file is left and an older one stays.

    Raises:
        ConflictError: the file is there already, or another backup is being made.
        StoreError: it cannot be written.
    """
    file: Path = args.file
    if file.exists() and not args.force:
        raise ConflictError(f"{file} is there already.", hint="--force writes over it.")
    part = file.with_name(f".{file.name}.part")
    try:
        part.touch(mode=0o600)
        try:
            with open_desk(settings, "backup") as desk:
                result = desk.backup(part)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror}.") from None
    return {"file": str(file), "bytes": file.stat().st_size, **result}


def render(result: dict[str, Any]) -> str:
    """Return the result in words."""
    return (
        f"{result['file']}: {result['documents']} documents, {result['chunks']} passages, "
        f"{result['bytes'] / 1_000_000:.1f} MB.\nIt holds documents, questions and the hashes of "
        "keys: keep it as you keep them.\nBring it back with: groundtune restore "
        f"{result['file']}"
    )
