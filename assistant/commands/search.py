"""`groundtune search QUERY`: evidence only."""

import argparse
import textwrap
from typing import Any

from assistant.commands.desk import open_desk
from assistant.config import Settings
from assistant.filters import parse_filters
from ingest.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("query", help="what to look for")
    parser.add_argument("-k", type=int, metavar="N", help="passages wanted")
    parser.add_argument("--collection", default="default", help="where to look")
    add_scope(parser)
    parser.add_argument(
        "--explain", action="store_true", help="say how each passage came to its place"
    )


def add_scope(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that say which documents are searched."""
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only documents that fit: source (a glob), kind, title, document_id or a key of their "
        "metadata; may be repeated",
    )
    parser.add_argument(
        "--include-superseded",
        action="store_true",
        help="also documents that another one takes the place of",
    )


def check_question(question: str, command: str) -> None:
    """Refuse a question or query without a word.

    Raises:
        UsageError: it is empty.
    """
    if not question.strip():
        raise UsageError("The question is empty.", hint=f'groundtune {command} "..."')


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Search.

    Raises:
        NotFoundError: there is no such collection, or no document fits the filters.
        UsageError: there is no query, `-k` is below 1, or documents cannot be filtered so.
    """
    check_question(args.query, "search")
    if args.k is not None and args.k < 1:
        raise UsageError(f"-k {args.k}: it starts at 1.")
    filters = parse_filters(args.filter)
    with open_desk(settings, "search") as desk:
        return desk.search(
            args.query,
            k=args.k,
            collection=args.collection,
            filters=filters,
            include_superseded=args.include_superseded,
            explain=args.explain,
        )


def render(result: dict[str, Any]) -> str:
    """Return the passages as a person reads them."""
    lines = []
    for number, hit in enumerate(result["hits"], start=1):
        lines.append(f"[{number}] {_place(hit)}  (score {hit['score']:.4f})")
        lines += _remarks(hit)
        lines.append(textwrap.indent(textwrap.fill(hit["text"], 96), "    "))
    for hit in result.get("dropped", ()):
        why = {"duplicate": "the same as in", "superseded": "superseded by"}[hit["why"]]
        lines.append(f"left out: {_place(hit)}  ({why} {hit['by']})")
        lines += _remarks(hit)
    return "\n".join(lines) if lines else "Nothing found."


def _place(hit: dict[str, Any]) -> str:
    place = hit["heading"] or (f"page {hit['page']}" if hit["page"] else "")
    return f"{hit['source']}  {place}".rstrip()


def _remarks(hit: dict[str, Any]) -> list[str]:
    remarks = []
    if hit["also_in"]:
        remarks.append(f"    also in: {', '.join(copy['source'] for copy in hit['also_in'])}")
    if hit["superseded_by"]:
        remarks.append(f"    superseded by {hit['superseded_by']}")
    if explained := hit.get("explanation"):
        remarks.append(f"    {_explained(explained)}")
    return remarks


def _explained(how: dict[str, Any]) -> str:
    dense = "not among the nearest"
    if how["dense_rank"] is not None:
        dense = f"dense rank {how['dense_rank']} (cosine {how['cosine']:.3f})"
    words = "no word matched"
    if how["bm25_rank"] is not None:
        words = f"BM25 rank {how['bm25_rank']} (score {how['bm25']:.2f})"
    fused = f"fused {how['fused']:.4f} (half ranks, half scores, dense {how['dense_weight']:g})"
    parts = [dense, words, fused]
    if how["rerank"] is not None:
        parts.append(f"rerank {how['rerank']:.3f}")
    return "; ".join(parts)
