"""Answered tickets: what the house style is learnt from."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"There is no ticket file {path}.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}") from None
    tickets: list[Ticket] = []
    problems: list[str] = []
    first_line: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            ticket = Ticket.model_validate(json.loads(line))
        except (ValueError, ValidationError) as error:
            problems += [f"{path}:{number}: {reason}" for reason in _reasons(error)]
            continue
        if ticket.id in first_line:
            problems.append(
                f"{path}:{number}: id {ticket.id!r} was used in line {first_line[ticket.id]}"
            )
        first_line.setdefault(ticket.id, number)
        tickets.append(ticket)
    if problems:
        raise DataError(
            "\n".join(problems),
            hint='A line is {"id", "question", "answer", "documents", "facts", "tags"}.',
        )
    if not tickets:
        raise DataError(f"{path} holds no tickets.")
    return tickets


def _reasons(error: ValueError) -> list[str]:
    if isinstance(error, ValidationError):
        return [
            f"{'.'.join(str(part) for part in issue['loc']) or 'line'}: {issue['msg']}"
            for issue in error.errors()
        ]
    return [f"not JSON: {error}"]
