"""Answered tickets: what the house style is learnt from."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finetune.lines import Line, Problems, problems, read_lines
from ingest.errors import DataError


class Ticket(BaseModel):
    """A question that somebody answered well. Other keys of its line are ignored."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    answer: dict[str, Any] | str
    """The whole answer in the house style, an object or a text."""
    documents: tuple[str, ...] = Field(default=())
    """Paths of the documents that hold the answer; empty where there is none to hold it."""
    facts: tuple[tuple[str, ...], ...] = Field(default=())
    """What an answer must say: for each fact the accepted spellings."""
    tags: tuple[str, ...] = Field(default=())


def read_tickets(path: Path) -> list[Ticket]:
    """Read a JSONL file of tickets; blank lines are skipped.

    Raises:
        DataError: no such file, no tickets, or wrong lines; names every one with its reason.
    """
    with problems('A line is {"id", "question", "answer", "documents", "facts", "tags"}.') as found:
        tickets = tickets_of(read_lines(path, found), found)
    if not tickets:
        raise DataError(f"{path} holds no tickets.")
    return tickets


def tickets_of(lines: list[Line], found: Problems) -> list[Ticket]:
    """Return the tickets of `lines`; what is wrong with them is noted in `found`."""
    tickets: list[Ticket] = []
    first: dict[str, str] = {}
    for line in lines:
        try:
            ticket = Ticket.model_validate(line.value)
        except ValidationError as error:
            for issue in error.errors():
                key = ".".join(str(part) for part in issue["loc"]) or "line"
                found.add(line.where, f"{key}: {issue['msg']}")
            continue
        if ticket.id in first:
            found.add(line.where, f"id {ticket.id!r} was used in {_place(first[ticket.id])}")
        first.setdefault(ticket.id, line.where)
        tickets.append(ticket)
    return tickets


def _place(where: str) -> str:
    _, colon, line = where.rpartition(":")
    return f"line {line}" if colon else where
