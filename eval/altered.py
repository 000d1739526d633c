"""Training rows whose evidence says something else than it did in training."""

import hashlib
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from assistant.engines.engine import Message
from assistant.prompt import question_of, user_text
from eval.wording import all_text
from ingest.errors import DataError, NotFoundError

VALUE = re.compile(
    r"(?<![\w.,:/-])"
    r"(?:[A-Z]{1,4}-\d+(?:-\d+)*|\d{4}-\d\d-\d\d|\d+(?:[.,:]\d+)*)"
    r"(?![\w/-]|[.,:]\d)"
)
"""A code such as TF-1228-1, a date, a time of day or a number, whole."""
MONTH = re.compile(
    r"\s+(?:January|February|March|April|May|June|July|August|September|October|November|December)"
)
LABEL = re.compile(r"^\[\d+\] (.*)$", re.MULTILINE)
LEAST_DIGITS = 2  # an answer says "3" for many reasons, and "37" for one
TRIES = 200


@dataclass(frozen=True, slots=True)
class Altered:
    """A row of a data set, asked again with other values in its passages."""

    id: str
    question: str
    system: str
    trained: tuple[Message, ...]
    """The prompt as the row has it."""
    prompt: tuple[Message, ...]
    """The same, but for the values."""
    values: dict[str, str]
    """What the trained answer says -> what the passages say now."""
    cluster: str
    """Title of the document that the first value stands in."""

    @property
    def bare(self) -> tuple[Message, ...]:
        """The same question without passages: what is known by heart."""
        return (Message("system", self.system), Message("user", user_text(self.question, [])))


def altered_rows(train: Path, *, seed: int) -> list[Altered]:
    """Return the rows of the data set in `train` that can be altered, in an order drawn by `seed`.

    A row can be altered where a value of its answer stands in its passages, and neither in the
    question nor in a title, which say what is asked about. Every place of the value in the passages
    is replaced by another value of its kind, always the same for one seed: digits by digits, a date
    by a date, a time of day by a time of day. A single digit is left alone.

    Raises:
        NotFoundError: the data set is gone.
        DataError: the file is no data set.
    """
    try:
        rows = [json.loads(line) for line in train.read_text(encoding="utf-8").splitlines()]
        found = [row for row in (_altered(r, seed) for r in rows) if row is not None]
    except OSError:
        raise NotFoundError(
            f"The data set is gone: there is no {train}.",
            hint="Build it again: groundtune dataset build CONFIG.toml",
        ) from None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{train} is not a data set: {error!r}.") from None
    return sorted(found, key=lambda row: hashlib.sha256(f"{seed}:{row.id}".encode()).hexdigest())


def values_in(text: str) -> set[str]:
    """Return the codes, dates, times and numbers of `text`, each as it is written."""
    return {match[0] for match in VALUE.finditer(text)}


def another(value: str, *, day: bool, draw: random.Random) -> str:
    """Return a value of the kind of `value`, drawn; `day` says that a month follows it."""
    if day:
        return str(draw.randint(10, 28))
    if re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        try:
            return str(date.fromisoformat(value) + timedelta(days=draw.randint(40, 300)))
        except ValueError:
            pass  # it only looks like a date
    if re.fullmatch(r"\d\d?:\d\d", value):
        return f"{draw.randint(7, 21):02d}:{draw.choice((0, 15, 30, 45)):02d}"
    return "".join(_digits(value, draw))


def _digits(value: str, draw: random.Random) -> Iterator[str]:
    """Yield the characters of `value` with other digits; zeros stay at both ends."""
    core = range(len(value) - len(value.lstrip("0")), len(value.removesuffix(".00")))
    leading = True
    for place, character in enumerate(value):
        if not character.isdigit() or place not in core:
            yield character
        else:
            yield draw.choice("123456789" if leading else "0123456789")
            leading = False


def _altered(row: dict[str, Any], seed: int) -> Altered | None:
    """Return the row with other values; None where it has none that can be altered."""
    messages = [Message(m["role"], m["content"]) for m in row["messages"]]
    *prompt, target = messages
    asked = prompt[-1].content
    question = question_of(asked)
    passages = _passages(asked, question)
    if not passages:
        return None
    labels = LABEL.findall(passages)
    asked_about = values_in("\n".join((*(m.content for m in prompt[:-1]), question, *labels)))
    fixed = {value.removesuffix(".00") for value in asked_about}
    old = values_in(all_text(target.content)) & values_in(passages)
    wanted = sorted(
        value
        for value in old
        if value.removesuffix(".00") not in fixed
        and sum(character.isdigit() for character in value) >= LEAST_DIGITS
    )
    if not wanted:
        return None
    taken = values_in(asked) | values_in(target.content)
    values: dict[str, str] = {}
    for value in wanted:
        draw = random.Random(f"{seed}:{row['source']}:{value}")
        place = next(m for m in VALUE.finditer(passages) if m[0] == value)
        day = MONTH.match(passages, place.end()) is not None
        new = next((v for v in _draws(value, day, draw) if v not in taken), None)
        if new is None:
            return None
        values[value] = new
        taken.add(new)
    changed = VALUE.sub(lambda m: values.get(m[0], m[0]), passages)
    content = asked.replace(passages, changed)
    return Altered(
        id=str(row["source"]),
        question=question,
        system=prompt[0].content,
        trained=tuple(prompt),
        prompt=(*prompt[:-1], Message("user", content)),
        values=values,
        cluster=_title(passages, wanted[0]),
    )


def _draws(value: str, day: bool, draw: random.Random) -> Iterator[str]:
    for _ in range(TRIES):
        yield another(value, day=day, draw=draw)


def _passages(asked: str, question: str) -> str:
    """Return the passages of a user message, labels included; empty where it has none."""
    begin = f"{user_text(question, [])}\n\nPassages:\n"
    if not asked.startswith(begin):
        return ""
    return asked.removeprefix(begin).removesuffix(f"\n\n{user_text(question, [])}")


def _title(passages: str, value: str) -> str:
    place = next(m.start() for m in VALUE.finditer(passages) if m[0] == value)
    labels = [m[1] for m in LABEL.finditer(passages) if m.start() <= place]
    return labels[-1].split(" > ")[0] if labels else ""
