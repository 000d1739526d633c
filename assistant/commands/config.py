"""`groundtune config show`: every setting, and where it came from."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from assistant.config import Settings, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="show")
    actions.add_parser("show", help="print the resolved settings")


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Return `{"settings": {"section.key": {"value", "origin"}}}`."""
    origins = load(args.config).origins
    return {
        "settings": {
            key: {"value": value, "origin": origins.get(key, "default")}
            for key, value in _flat(settings.model_dump(mode="json"))
        }
    }


def render(result: dict[str, Any]) -> str:
    """Return one line a setting."""
    return "\n".join(
        f"{key} = {setting['value']!r}  ({setting['origin']})"
        for key, setting in result["settings"].items()
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
