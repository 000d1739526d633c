"""Tables: support tickets, and questions with their answers."""

import csv
import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.answer_format import AnswerFormat
from finetune.lines import Line, Problems, problems, read_lines, read_text
from finetune.rows import answer_text
from finetune.ticket import Ticket
from ingest.errors import ConfigError

USUAL = {
    "id": ("id", "ticket_id", "ticket", "key", "number"),
    "question": ("question", "prompt", "query", "subject", "description", "request", "q"),
    "answer": ("answer", "response", "reply", "resolution", "completion", "output", "a"),
    "documents": ("documents", "document", "sources", "source"),
    "facts": ("facts",),
    "tags": ("tags", "labels", "category"),
}
"""Names that the columns usually have, best first; case does not count."""
SEPARATOR = ";"
"""Between the members of a cell that holds several."""


@dataclass(frozen=True, slots=True)
class Tickets:
    """What a table holds."""

    tickets: list[Ticket]
    documented: bool
    """Whether it says which documents hold the answers; then an empty cell means that none do."""


def read_table(
    path: Path, *, title: str, columns: Mapping[str, str], answers: AnswerFormat
) -> Tickets:
    """Read a CSV, TSV or JSONL table. The id of a ticket is `title:id`, or `title:line`.

    Raises:
        ConfigError: a column of the mapping is not there, or none looks like question or answer.
        DataError: names every line with an empty question or answer, an id used twice, or an
            answer that is not as declared.
    """
    with problems("Every row needs a question and an answer.") as found:
        lines = _cells(path, found)
        names = _columns(path, lines, columns) if lines else {}
        tickets: list[Ticket] = []
        first: dict[str, str] = {}
        for line in lines:
            ticket = _ticket(line, names, title, found)
            if ticket is None:
                continue
            if ticket.id in first:
                found.add(line.where, f"id {ticket.id!r} was used at {first[ticket.id]}")
            first.setdefault(ticket.id, line.where)
            if reason := answers.reason(answer_text(ticket.answer)):
                found.add(line.where, f"the answer {reason}")
            tickets.append(ticket)
    return Tickets(tickets, "documents" in names)


def _cells(path: Path, found: Problems) -> list[Line]:
    if path.suffix.lower() not in (".csv", ".tsv"):
        return read_lines(path, found)
    text = read_text(path)
    try:
        dialect: Any = csv.Sniffer().sniff(text[:10_000], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel_tab if path.suffix.lower() == ".tsv" else csv.excel
    reader = csv.DictReader(text.splitlines(keepends=True), dialect=dialect, restkey="")
    lines, ended = [], 1
    for row in reader:
        number, ended = ended + 1, reader.line_num
        where = f"{path}:{number}"
        if "" in row or None in row.values():
            found.add(where, f"has not the {len(reader.fieldnames or ())} cells of the first line")
        else:
            lines.append(Line(where, number, row))
    return lines


def _columns(path: Path, lines: Sequence[Line], given: Mapping[str, str]) -> dict[str, str]:
    """Return field -> column. Columns are those of any line: a JSON key may be left out."""
    there = list(dict.fromkeys(key for line in lines for key in line.value))
    lower = {name.strip().casefold(): name for name in reversed(there)}
    wrong = [f"{field!r} is no field" for field in given if field not in USUAL]
    for column in given.values():
        if column not in there:
            near = difflib.get_close_matches(column, there, n=1, cutoff=0.5)
            wrong.append(
                f"no column {column!r}" + (f" (did you mean {near[0]!r}?)" if near else "")
            )
    names = dict(given)
    for field, usual in USUAL.items():
        if field not in names and (known := [lower[name] for name in usual if name in lower]):
            names[field] = known[0]
    wrong += [f"no column for {need!r}" for need in ("question", "answer") if need not in names]
    if wrong:
        raise ConfigError(
            f"{path}: {'; '.join(wrong)}. Its columns are: {', '.join(there)}. "
            f"Fields are: {', '.join(USUAL)}.",
            hint='Name them: columns = { question = "Subject", answer = "Reply" }',
        )
    return names


def _ticket(line: Line, names: Mapping[str, str], title: str, found: Problems) -> Ticket | None:
    cells: dict[str, Any] = {field: line.value.get(column) for field, column in names.items()}
    question, answer = cells["question"], cells["answer"]
    wrong = [field for field in ("question", "answer") if not str(cells[field] or "").strip()]
    for field in wrong:
        found.add(line.where, f"the {field} is empty (column {names[field]!r})")
    if question and not isinstance(question, str):
        found.add(line.where, f"the question is {type(question).__name__}, expected a text")
    if wrong or not isinstance(question, str):
        return None
    return Ticket(
        id=f"{title}:{cells.get('id') or line.number}",
        question=question.strip(),
        answer=_answer(answer),
        documents=_several(cells.get("documents")),
        facts=tuple(_several(fact) for fact in _members(cells.get("facts"))),
        tags=_several(cells.get("tags")),
    )


def _answer(cell: Any) -> dict[str, Any] | str:
    if isinstance(cell, dict):
        return cell
    text = str(cell).strip()
    if text.startswith("{"):
        try:
            value = json.loads(text)
        except ValueError:
            return text
        return value if isinstance(value, dict) else text
    return text


def _several(cell: Any) -> tuple[str, ...]:
    return tuple(text for member in _members(cell) if (text := str(member).strip()))


def _members(cell: Any) -> list[Any]:
    """Return the members of a cell: of a list, or of a text with separators in it."""
    if cell is None:
        return []
    return cell if isinstance(cell, list) else str(cell).split(SEPARATOR)
