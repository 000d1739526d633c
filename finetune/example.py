"""A training row: a conversation that ends with the answer to learn."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from assistant.engines.engine import Message, Role
from ingest.errors import DataError


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a data set."""

    messages: tuple[Message, ...]
    """System, user, ..., and last the assistant's answer, the only part that is learnt."""
    source: str
    """Id of the ticket it was made from."""
    tags: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    """Texts of the passages shown, in order; empty for a row without evidence."""

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages before the answer."""
        return self.messages[:-1]

    @property
    def target(self) -> str:
        """The answer to learn."""
        return self.messages[-1].content

    def line(self) -> str:
        """Return the row as one line of JSON."""
        return json.dumps(
            {
                "messages": [{"role": m.role, "content": m.content} for m in self.messages],
                "source": self.source,
                "tags": list(self.tags),
                "evidence": list(self.evidence),
            },
            ensure_ascii=False,
        )


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write one line an example, in UTF-8."""
    path.write_text("".join(f"{e.line()}\n" for e in examples), encoding="utf-8")


def read_examples(path: Path) -> list[Example]:
    """Read a file that holds one example a line.

    Raises:
        DataError: no such file, or lines that are no examples; names all of them.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"There is no data set file {path}.") from None
    found: list[Example] = []
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(_example(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            problems.append(f"{path}:{number}: not an example: {error}")
    if problems:
        raise DataError("\n".join(problems))
    return found


def _example(row: dict[str, Any]) -> Example:
    messages = tuple(Message(_role(m["role"]), m["content"]) for m in row["messages"])
    if len(messages) < 2 or messages[-1].role != "assistant":
        raise ValueError("the last message must be the assistant's, after at least one other")
    return Example(messages, row["source"], _texts(row, "tags"), _texts(row, "evidence"))


def _role(name: str) -> Role:
    roles: Sequence[Role] = get_args(Role)
    for role in roles:
        if role == name:
            return role
    raise ValueError(f"role {name!r}, expected one of {', '.join(roles)}")


def _texts(row: dict[str, Any], key: str) -> tuple[str, ...]:
    return tuple(str(value) for value in row.get(key, ()))
