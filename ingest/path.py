"""Paths as text: not every file name is UTF-8, and the registry holds nothing else."""

import os
from pathlib import Path

from ingest.errors import DocumentError


def printable(path: str | Path) -> str:
    r"""Return a path as text: bytes that are not UTF-8 become `\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_gone(path: Path) -> bool:
    """Return whether there is no such file; one that may not be looked for is not gone."""
    try:
        return not path.exists()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Return whether it is a folder, as far as may be seen."""
    try:
        return path.is_dir()
    except OSError:
        return False


def is_printable(path: Path) -> bool:
    """Return whether a path is text."""
    return printable(path) == str(path)


def refuse_unprintable(source: str) -> None:
    """Refuse a file name that is no text, which neither JSON nor a database can hold.

    Raises:
        DocumentError: `source` has bytes in it that are not UTF-8.
    """
    try:
        source.encode()
    except UnicodeEncodeError:
        shown = source.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        raise DocumentError(
            f"The file's name is not UTF-8: {shown}", hint="Rename the file."
        ) from None
