"""`groundtune mcp`: search, ask and ingest as tools for other programs, over stdin and stdout."""

import argparse
from pathlib import Path
from typing import Any

import anyio

from assistant.commands.desk import open_desk
from assistant.config import Settings
from assistant.mcp_server import create_server


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--folder",
        type=Path,
        action="append",
        default=[],
        help="files below it may be ingested by their path; may be repeated (default: none)",
    )


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Serve until the program on the other side is done.

    While a service owns the workspace, the tools work through it; else they own it themselves.
    """
    with open_desk(settings, "mcp") as desk:
        anyio.run(create_server(desk, args.folder).run_stdio_async)
    return {}


def render(result: dict[str, Any]) -> str:
    """Say nothing: stdout was the other program's."""
    return ""
