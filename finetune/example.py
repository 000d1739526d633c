"""A training row: a conversation that ends with the answer to learn."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from assistant.engines.engine import Message, Role
from assistant.prompt import question_of
from finetune.lines import problems, read_lines


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a data set."""

    messages: tuple[Message, ...]
    """System, user, ..., and last the assistant's answer, the only part that is learnt."""
    source: str
    """What it was made from: id of a ticket or a conversation, path of a document."""
    tags: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    """Texts of the passages shown, in order; empty for a row without evidence."""
    documents: tuple[str, ...] = ()
    """Paths of the documents that it is about; rows that share one stay on one side of a split."""

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages before the answer."""
        return self.messages[:-1]

    @property
    def target(self) -> str:
        """The answer to learn."""
        return self.messages[-1].content

    @property
    def question(self) -> str:
        """The last question, without passages."""
        asked = [m.content for m in self.prompt if m.role == "user"]
        return question_of(asked[-1]) if asked else ""

    @property
    def dialogue(self) -> str:
        """All that was said before the answer, without system text and passages."""
        return "\n".join(
            question_of(m.content) if m.role == "user" else m.content
            for m in self.prompt
            if m.role != "system"
        )

    def line(self) -> str:
        """Return the row as one line of JSON."""
        row: dict[str, Any] = {
            "messages": [{"role": m.role, "content": m.content} for m in self.messages],
            "source": self.source,
            "tags": list(self.tags),
            "evidence": list(self.evidence),
        }
        if self.documents:
            row["documents"] = list(self.documents)
        return json.dumps(row, ensure_ascii=False)


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write one line an example, in UTF-8."""
    path.write_text("".join(f"{e.line()}\n" for e in examples), encoding="utf-8")


def read_examples(path: Path) -> list[Example]:
    """Read a file that holds one example a line.

    Raises:
        DataError: no such file, not UTF-8, empty, or lines that are no examples; names all.
    """
    examples: list[Example] = []
    with problems('A row is {"messages": [...], "source", "tags", "evidence"}.') as found:
        for line in read_lines(path, found):
            try:
                examples.append(_example(line.value))
            except (ValueError, KeyError, TypeError) as error:
                found.add(line.where, f"not an example: {_reason(error)}")
    return examples


def check_turns(messages: Sequence[Message]) -> None:
    """Refuse a conversation that no chat template can render, or that teaches nothing.

    Raises:
        ValueError: says what is out of order.
    """
    spoken = [m for m in messages if m.role != "system"]
    if any(m.role == "system" for m in messages[1:]):
        raise ValueError("a system message stands behind the first message")
    if not spoken or spoken[-1].role != "assistant":
        raise ValueError("the last message must be the assistant's, and it is missing")
    for number, message in enumerate(spoken):
        expected = "assistant" if number % 2 else "user"
        if message.role != expected:
            raise ValueError(
                f"turn {number + 1} is the {message.role}'s, expected the {expected}'s"
            )
        if not message.content.strip():
            raise ValueError(f"turn {number + 1}, the {message.role}'s, is empty")


def role_of(name: Any) -> Role:
    """Return the role called `name`.

    Raises:
        ValueError: there is none.
    """
    roles: Sequence[Role] = get_args(Role)
    for role in roles:
        if role == name:
            return role
    raise ValueError(f"role {name!r}, expected one of {', '.join(roles)}")


def _example(row: dict[str, Any]) -> Example:
    messages = tuple(Message(role_of(m["role"]), _text(m["content"])) for m in row["messages"])
    check_turns(messages)
    return Example(
        messages,
        _text(row["source"]),
        _texts(row, "tags"),
        _texts(row, "evidence"),
        _texts(row, "documents"),
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"expected a text, got {type(value).__name__}")


def _texts(row: dict[str, Any], key: str) -> tuple[str, ...]:
    return tuple(str(value) for value in row.get(key, ()))


def _reason(error: Exception) -> str:
    return f"there is no {error}" if isinstance(error, KeyError) else str(error)
