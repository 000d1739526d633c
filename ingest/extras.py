"""Optional packages, imported where they are used."""

from importlib import import_module
from typing import Any

from ingest.errors import MissingExtraError


def require(module: str, *, extra: str) -> Any:
    """Import `module`, or say which extra brings it.

    Raises:
        MissingExtraError: `module` is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name.split(".")[0]):
            raise
        raise MissingExtraError(
            f"This command needs the package `{module.split('.')[0]}`.",
            hint=f"Install it with: pip install 'groundtune[{extra}]'",
        ) from None
