"""`groundtune documents list|show ID|delete ID`."""

import argparse
from typing import Any

from assistant.commands.desk import open_desk
from assistant.config import Settings

EVALUATED = ("reports", "cache/evaluation.sqlite")
"""What evaluations keep, in a workspace."""
HINT = "Reports and kept answers of evaluations may quote it: groundtune eval forget"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|delete")
    listing = actions.add_parser("list", help="all documents, or those of one collection")
    listing.add_argument("--collection", help="only this one")
    for action, summary in (("show", "a document's text"), ("delete", "remove a document")):
        one = actions.add_parser(action, help=summary)
        one.add_argument("id", metavar="ID", help="as `documents list` shows it")


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """List, show or delete.

    Raises:
        NotFoundError: there is no such document.
    """
    with open_desk(settings, "documents") as desk:
        if args.action == "list":
            return desk.documents(args.collection)
        if args.action == "show":
            return desk.document(args.id)
        deleted = desk.delete(args.id)
    if any((settings.home / place).exists() for place in EVALUATED):
        deleted = {**deleted, "hint": HINT}
    return deleted


def render(result: dict[str, Any]) -> str:
    """Return what a person reads."""
    if "documents" in result:
        lines = [line for document in result["documents"] for line in _lines(document)]
        return "\n".join(lines) if lines else "No documents yet. Add some: groundtune ingest PATH"
    if "text" in result:
        return f"{result['title']}\n{result['source']}\n\n{result['text']}"
    said = f"Deleted {result['deleted']}."
    return f"{said}\n{result['hint']}" if "hint" in result else said


def _lines(document: dict[str, Any]) -> list[str]:
    pages = "" if document["pages"] is None else f"{document['pages']} pages"
    line = (
        f"{document['id']}  {document['status']:<6} {document['chunks']:>5} passages {pages:>10}  "
        f"{document['source']}  ({document['title']})"
    )
    return [line] if document["error"] is None else [line, f"    {document['error']}"]
