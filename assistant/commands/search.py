"""`groundtune search QUERY`: evidence only."""

import argparse
import textwrap
from typing import Any

from assistant.commands.desk import open_desk
from assistant.config import Settings
from ingest.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("query", help="what to look for")
    parser.add_argument("-k", type=int, metavar="N", help="passages wanted")
    parser.add_argument("--collection", default="default", help="where to look")


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Search.

    Raises:
        NotFoundError: there is no such collection.
        UsageError: `-k` is below 1.
    """
    if args.k is not None and args.k < 1:
        raise UsageError(f"-k {args.k}: it starts at 1.")
    with open_desk(settings, "search") as desk:
        return desk.search(args.query, k=args.k, collection=args.collection)


def render(result: dict[str, Any]) -> str:
    """Return the passages as a person reads them."""
    lines = []
    for number, hit in enumerate(result["hits"], start=1):
        place = hit["heading"] or (f"page {hit['page']}" if hit["page"] else "")
        lines.append(f"[{number}] {hit['source']}  {place}  (score {hit['score']:.4f})")
        lines.append(textwrap.indent(textwrap.fill(hit["text"], 96), "    "))
    return "\n".join(lines) if lines else "Nothing found."
