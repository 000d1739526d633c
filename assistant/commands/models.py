"""`groundtune models fetch [NAME]`: bring models onto this machine, once."""

import argparse
from typing import Any

from assistant.config import Settings
from ingest.model_file import fetch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="fetch")
    one = actions.add_parser("fetch", help="download a model, if it is not here yet")
    one.add_argument("name", nargs="?", help="default: the models of the configuration")


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Fetch, and return where each model lies.

    Raises:
        EngineError: a download failed.
        ConfigError: not a model's name.
    """
    names = [args.name] if args.name else [settings.engine.model, settings.embedding.model]
    return {"models": {name: str(fetch(name)) for name in names}}


def render(result: dict[str, Any]) -> str:
    """Return the models with their places."""
    return "\n".join(f"{name}\n    {path}" for name, path in result["models"].items())
