"""Chat logs: OpenAI, ShareGPT and Alpaca, told apart by what is in them.

Each answer of a conversation becomes a row, with what was said before it as its history, in the
prompt that serves. A system text of the log gives way to that of the assistant: it is the only one
that a model is ever asked with.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.engines.engine import Message
from assistant.prompt import Turn, build_messages, neutralise
from finetune.answer_format import AnswerFormat
from finetune.example import Example, check_turns, role_of
from finetune.lines import Line, problems, read_lines
from finetune.sources.source import Harvest

SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
}


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation of a log."""

    id: str
    messages: tuple[Message, ...]
    tags: tuple[str, ...]


def read_chat(
    path: Path, *, title: str, system: str, tags: tuple[str, ...], answers: AnswerFormat
) -> Harvest:
    """Return a row for each answer of the log at `path`.

    Args:
        path: JSONL, or one JSON array.
        title: leads the source of each row.
        system: the system text that serves.
        tags: put on each row, before those of its conversation.
        answers: how every answer must be.

    Raises:
        DataError: names every line that is of no known format, of another one than the first,
            with a wrong role, without an answer, or with an answer that is not as declared.
    """
    harvest = Harvest()
    with problems("A conversation is system?, user, assistant, user, assistant, ...") as found:
        first = ""
        for line in read_lines(path, found):
            name = format_of(line.value)
            first = first or name
            if not name:
                found.add(line.where, f"neither OpenAI, ShareGPT nor Alpaca: {_keys(line)}")
                continue
            if name != first:
                found.add(line.where, f"is {name}, and the lines before are {first}")
                continue
            try:
                conversation = _conversation(line, FORMATS[name])
            except (ValueError, KeyError, TypeError) as error:
                reason = f"there is no {error}" if isinstance(error, KeyError) else str(error)
                found.add(line.where, f"{name}: {reason}")
                continue
            rows = _rows(conversation, title, system, tags)
            for row in rows:
                if reason := answers.reason(row.target):
                    found.add(line.where, f"an answer {reason}")
            harvest.examples += rows
            harvest.counts["conversations"] += 1
            own = conversation.messages[0]
            if own.role == "system" and own.content.strip() != system.strip():
                harvest.counts["system_texts_replaced"] += 1
    return harvest


def format_of(value: Mapping[str, Any]) -> str:
    """Return the format of one line, `OpenAI`, `ShareGPT` or `Alpaca`; empty if it is none."""
    if isinstance(value.get("messages"), list):
        return "OpenAI"
    if isinstance(value.get("conversations"), list):
        return "ShareGPT"
    if "instruction" in value and "output" in value:
        return "Alpaca"
    return ""


def _conversation(line: Line, read: Callable[[Mapping[str, Any]], list[Message]]) -> Conversation:
    messages = read(line.value)
    check_turns(messages)
    return Conversation(
        str(line.value.get("id") or line.value.get("conversation_id") or line.number),
        tuple(messages),
        tuple(str(tag) for tag in line.value.get("tags", ())),
    )


def _rows(
    conversation: Conversation, title: str, system: str, tags: tuple[str, ...]
) -> list[Example]:
    said = [m.content for m in conversation.messages if m.role != "system"]
    turns = [Turn(q, a) for q, a in zip(said[::2], said[1::2], strict=True)]
    return [
        Example(
            (
                *build_messages(system, turn.question, history=turns[:number]),
                Message("assistant", neutralise(turn.answer.strip())),
            ),
            f"{title}:{conversation.id}",
            (*tags, *conversation.tags),
        )
        for number, turn in enumerate(turns)
    ]


def _openai(value: Mapping[str, Any]) -> list[Message]:
    messages = []
    for message in value["messages"]:
        role = "system" if message["role"] == "developer" else message["role"]
        messages.append(Message(role_of(role), _content(message["content"])))
    return messages


def _content(content: Any) -> str:
    """Return the text of a message; it may come in parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(part.get("type") == "text" for part in content):
        return "\n".join(part["text"] for part in content)
    raise ValueError(f"content is {type(content).__name__}, expected a text")


def _sharegpt(value: Mapping[str, Any]) -> list[Message]:
    messages = []
    for turn in value["conversations"]:
        if turn["from"] not in SHAREGPT_ROLES:
            known = ", ".join(SHAREGPT_ROLES)
            raise ValueError(f"from {turn['from']!r}, expected one of {known}")
        messages.append(Message(role_of(SHAREGPT_ROLES[turn["from"]]), _content(turn["value"])))
    return messages


def _alpaca(value: Mapping[str, Any]) -> list[Message]:
    asked = "\n\n".join(part for part in (value["instruction"], value.get("input")) if part)
    before = [Message("system", value["system"])] if value.get("system") else []
    for question, answer in value.get("history") or ():
        before += [Message("user", question), Message("assistant", answer)]
    return [*before, Message("user", asked), Message("assistant", _content(value["output"]))]


def _keys(line: Line) -> str:
    return f"it has the keys {', '.join(line.value) or 'of nothing'}"


FORMATS = {"OpenAI": _openai, "ShareGPT": _sharegpt, "Alpaca": _alpaca}
