"""Paths as text: not every file name is UTF-8, and the registry holds nothing else."""

import os
from pathlib import Path


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
