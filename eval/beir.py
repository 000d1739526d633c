"""Labelled collections in the BEIR layout: corpus.jsonl, queries.jsonl and qrels/test.tsv."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ingest.errors import DataError

CORPUS = "corpus.jsonl"
QUERIES = "queries.jsonl"
QRELS = "qrels/test.tsv"
SHOWN_PROBLEMS = 10


class Entry(NamedTuple):
    """A document to be found."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Collection:
    """Documents, queries, and which of them belong together."""

    entries: tuple[Entry, ...]
    queries: Mapping[str, str]
    """Query id -> text; only those with a judgement."""
    qrels: Mapping[str, Mapping[str, int]]
    """Query id -> document id -> grade; 0 is judged and not relevant."""


def read_collection(folder: Path) -> Collection:
    """Read the collection in `folder`.

    Raises:
        DataError: a file is missing, empty or wrong, or a judgement names what is not there; says
            which lines.
    """
    entries = [
        Entry(str(row["_id"]), str(row.get("title") or ""), str(row["text"]))
        for row in _rows(folder / CORPUS)
    ]
    queries = {str(row["_id"]): str(row["text"]) for row in _rows(folder / QUERIES)}
    qrels = _qrels(folder / QRELS)
    known = {entry.id for entry in entries}
    if len(known) < len(entries):
        raise DataError(f"{folder / CORPUS}: {len(entries) - len(known)} ids stand twice.")
    problems = [f"query {q!r} is not in {QUERIES}" for q in qrels if q not in queries]
    problems += [
        f"document {d!r}, judged for query {q!r}, is not in {CORPUS}"
        for q, judged in qrels.items()
        for d in judged
        if d not in known
    ]
    _refuse(folder / QRELS, problems)
    judged = {q: grades for q, grades in qrels.items() if any(grades.values())}
    return Collection(tuple(entries), {q: queries[q] for q in judged}, judged)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    rows, problems = [], []
    for number, line in _lines(path):
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not {"_id", "text"} <= row.keys():
                raise ValueError("no `_id` and `text`")
            rows.append(row)
        except ValueError as error:
            problems.append(f"line {number}: {error}")
    _refuse(path, problems)
    yield from rows


def _qrels(path: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    problems = []
    for number, line in _lines(path):
        fields = line.rstrip("\r\n").split("\t")
        if number == 1 and fields[-1].strip() == "score":
            continue
        try:
            query, document, grade = fields
            qrels.setdefault(query, {})[document] = int(grade)
        except ValueError:
            problems.append(f"line {number}: not `query-id<TAB>corpus-id<TAB>score`")
    _refuse(path, problems)
    return qrels


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.",
            hint=f"The folder needs {CORPUS}, {QUERIES} and {QRELS}, as BEIR has them.",
        ) from None
    found = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not found:
        raise DataError(f"{path} is empty.")
    return found


def _refuse(path: Path, problems: list[str]) -> None:
    if problems:
        more = len(problems) - SHOWN_PROBLEMS
        shown = problems[:SHOWN_PROBLEMS] + ([f"... and {more} more"] if more > 0 else [])
        raise DataError("\n  ".join([f"{path}:", *shown]))
