"""Optional packages: a missing one is answered with the command that installs it."""

import importlib
from types import ModuleType

from ingest.errors import MissingExtraError


def require(module: str) -> ModuleType:
    """Import `module`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"Evaluation needs the Python package {error.name!r}, which is not installed.",
            hint="Install it with: pip install 'groundtune[eval]'",
        ) from None
