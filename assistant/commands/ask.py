"""`groundtune ask QUESTION`: a cited answer."""

import argparse
from pathlib import Path
from typing import Any

from assistant.answer import MODES
from assistant.answer_schema import read_schema
from assistant.commands.desk import open_desk
from assistant.commands.search import add_scope, check_question
from assistant.config import Settings
from assistant.filters import parse_filters
from ingest.errors import NotFoundError, TooLargeError, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("question")
    parser.add_argument(
        "--mode", help="base, rag, finetuned or combined; combined if there is an adapter, else rag"
    )
    parser.add_argument("--adapter", metavar="NAME", help="name, name:version, or auto")
    parser.add_argument(
        "--schema", type=Path, metavar="FILE", help="hold the answer to this schema"
    )
    parser.add_argument("--collection", default="default", help="where to look")
    parser.add_argument("-k", type=int, metavar="N", help="passages shown to the model")
    add_scope(parser)


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Ask.

    Raises:
        UsageError: there is no question, or `-k` is below 1.
        NotFoundError: no such mode, adapter or collection.
        MismatchError: the adapter does not fit this configuration.
        EngineError: the model failed.
    """
    check_question(args.question, "ask")
    if args.mode not in (None, *MODES):
        raise NotFoundError(f"There is no mode {args.mode!r}. There are: {', '.join(MODES)}.")
    if args.k is not None and args.k < 1:
        raise UsageError(f"-k {args.k}: it starts at 1.")
    limit = settings.limits.question_chars
    if len(args.question) > limit:
        raise TooLargeError(f"The question has {len(args.question)} characters; limit {limit}.")
    body = {
        "question": args.question,
        "mode": args.mode or ("combined" if args.adapter or _has_adapter(settings) else "rag"),
        "adapter": args.adapter,
        "collection": args.collection,
        "top_k": args.k,
        "filters": parse_filters(args.filter),
        "include_superseded": args.include_superseded,
        "schema": None if args.schema is None else read_schema(args.schema),
    }
    with open_desk(settings, "ask") as desk:
        return desk.ask(body)


def render(result: dict[str, Any]) -> str:
    """Return the answer and what it rests on."""
    lines = [result["answer"], ""]
    for citation in result["citations"]:
        place = citation["heading"]
        if citation["page"]:
            place = f"page {citation['page']}, {place}" if place else f"page {citation['page']}"
        lines.append(f"[{citation['marker']}] {citation['source']}, {place}")
        lines.append(f"    “{' '.join(citation['quote'].split())}”")
    if result["abstained"]:
        lines.append("(The documents do not hold an answer.)")
        if result["searched"]:
            lines.append(result["searched"]["text"])
    elif not result["citations"]:
        lines.append("(No passage supports this answer.)")
    took = result["timings_ms"]["total"] / 1000
    who = result["mode"] + (f", {result['adapter']}" if result["adapter"] else "")
    if result["choice"]:
        lines.append(result["choice"]["text"])
    return "\n".join([*lines, f"{who}, {took:.1f} s"])


def _has_adapter(settings: Settings) -> bool:
    return any((settings.home / "adapters").glob("*/v*/manifest.json"))
