"""Evaluation questions: read from JSONL, checked, and drawn from in fair shares."""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from assistant.config import explain
from ingest.errors import DataError, UsageError

KINDS = ("heldout", "seen", "superseded", "two-documents", "unanswerable", "style", "other")
SHOWN_PROBLEMS = 20


class Quantity(BaseModel):
    """A key fact that is a number: right in any spelling, and within a tolerance."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    value: float
    unit: tuple[str, ...] = ()
    """Accepted spellings of the unit, such as `N·m` and `Nm`; none takes the bare number."""
    tolerance: float = Field(default=0.0, ge=0)
    """How far the stated number may be off, in the same unit."""

    def __str__(self) -> str:
        return " ".join(part for part in (f"{self.value:g}", *self.unit[:1]) if part)


class Question(BaseModel):
    """One question, what a right answer holds, and where the evidence stands."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    reference: str = ""
    """A right answer, in plain words."""
    documents: tuple[str, ...] = ()
    """Sources of the documents that hold the evidence; empty when none is needed or none exists."""
    answerable: bool = True
    """False: the documents do not say, and a good answer says so."""
    facts: tuple[tuple[str, ...] | Quantity, ...] = ()
    """Key facts; each is a list of accepted spellings, or `{"value", "unit", "tolerance"}`. The
    members of a set are a fact each."""
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    """The format of this answer; None takes the house format."""
    tags: tuple[str, ...] = ()

    @field_validator("facts")
    @classmethod
    def _spelled(
        cls, facts: tuple[tuple[str, ...] | Quantity, ...]
    ) -> tuple[tuple[str, ...] | Quantity, ...]:
        spelled = [fact for fact in facts if not isinstance(fact, Quantity)]
        if any(not fact or not all(spelling.strip() for spelling in fact) for fact in spelled):
            raise ValueError("each fact needs at least one spelling, and no spelling is empty")
        return facts

    @property
    def kind(self) -> str:
        """One of `KINDS`: the stratum that the question is drawn from."""
        if not self.answerable:
            return "unanswerable"
        for tag in ("style", "superseded", "two-documents", "heldout"):
            if tag in self.tags:
                return tag
        return "seen" if "seen-document" in self.tags or "seen" in self.tags else "other"

    @property
    def heldout(self) -> bool:
        """Whether no training row is about any document of this question."""
        return "heldout" in self.tags


def read_questions(path: Path) -> list[Question]:
    """Read a JSONL file of questions, in file order.

    Raises:
        DataError: no such file, no questions, or bad lines; names all of them.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"The questions at {path} cannot be read: {why}.") from None
    questions: list[Question] = []
    problems: list[str] = []
    first_line: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            question = Question.model_validate(json.loads(line))
        except json.JSONDecodeError as error:
            problems.append(f"{where}: not JSON: {error.msg} at column {error.colno}")
            continue
        except ValidationError as error:
            problems.append(explain(error, Question, where))
            continue
        if question.id in first_line:
            problems.append(
                f"{where}: id {question.id!r} is taken by line {first_line[question.id]}"
            )
            continue
        first_line[question.id] = number
        questions.append(question)
    if problems:
        raise DataError(_listed(f"{len(problems)} bad lines in {path}:", problems))
    if not questions:
        raise DataError(f"{path} holds no questions.")
    return questions


def check_documents(questions: Sequence[Question], known: Collection[str], where: str) -> None:
    """Refuse questions whose evidence is not in the index: no arm could answer them.

    Raises:
        DataError: names each document that is missing, and the questions that need it.
    """
    asking: dict[str, list[str]] = defaultdict(list)
    for question in questions:
        for document in question.documents:
            if document not in known:
                asking[document].append(question.id)
    if asking:
        problems = [f"{name}: needed by {', '.join(ids)}" for name, ids in sorted(asking.items())]
        raise DataError(
            _listed(f"{len(problems)} documents of the questions are not in {where}:", problems),
            hint="Ingest the folder that they stand in: groundtune ingest FOLDER",
        )


def clusters_of(questions: Sequence[Question]) -> dict[str, str]:
    """Return question id -> the first of the documents that it shares with other questions.

    Questions are in one cluster when a chain of common documents joins them: they stand and fall
    together, and statistics counts them as one draw. One without documents is on its own.
    """
    joined: dict[str, set[str]] = {}
    for question in questions:
        merged = set(question.documents)
        for document in question.documents:
            merged |= joined.get(document, set())
        for document in merged:
            joined[document] = merged
    return {
        q.id: f"document:{min(joined[q.documents[0]])}" if q.documents else f"question:{q.id}"
        for q in questions
    }


def sample(questions: Sequence[Question], n: int, *, seed: int) -> list[Question]:
    """Return `n` of `questions` (all, when there are not more), each kind in its fair share.

    Within a kind every document gives one question before any gives a second: answers about one
    document stand and fall together, so more documents tell more. The draw depends on the ids, the
    documents and the seed alone, not on the order of the file; the result is in file order. No
    kind is left out while `n` is at least the number of kinds.

    Raises:
        UsageError: `n` is below 1.
    """
    if n < 1:
        raise UsageError(f"Cannot evaluate {n} questions; the limit starts at 1.")
    if n >= len(questions):
        return list(questions)
    pools: dict[str, list[str]] = defaultdict(list)
    for question in sorted(questions, key=lambda q: q.id):
        pools[question.kind].append(question.id)
    shares = _shares({kind: len(ids) for kind, ids in pools.items()}, n)
    clusters = clusters_of(questions)
    chosen: set[str] = set()
    for kind, ids in pools.items():
        random.Random(f"{seed}:{kind}").shuffle(ids)
        chosen.update(_spread(ids, clusters)[: shares[kind]])
    return [question for question in questions if question.id in chosen]


def _spread(ids: Sequence[str], clusters: Mapping[str, str]) -> list[str]:
    """Return `ids` with the first of every cluster in front, then the second of each, ..."""
    met: Counter[str] = Counter()
    rounds = {}
    for name in ids:
        rounds[name] = met[clusters[name]]
        met[clusters[name]] += 1
    return sorted(ids, key=lambda name: rounds[name])


def _shares(sizes: dict[str, int], n: int) -> dict[str, int]:
    """Split `n` over the kinds by largest remainder, at least one each where that is possible."""
    total = sum(sizes.values())
    order = sorted(sizes, key=lambda kind: (KINDS.index(kind), kind))
    floor = 1 if n >= len(sizes) else 0
    shares = Counter({kind: max(floor, n * sizes[kind] // total) for kind in order})
    while sum(shares.values()) != n:
        gap = {kind: n * sizes[kind] / total - shares[kind] for kind in order}
        if sum(shares.values()) < n:
            open_kinds = [kind for kind in order if shares[kind] < sizes[kind]]
            shares[max(open_kinds, key=lambda kind: gap[kind])] += 1
        else:
            shares[min((k for k in order if shares[k] > floor), key=lambda kind: gap[kind])] -= 1
    return dict(shares)


def _listed(headline: str, problems: Sequence[str]) -> str:
    shown = [f"  {problem}" for problem in problems[:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        shown.append(f"  ... and {len(problems) - SHOWN_PROBLEMS} more")
    return "\n".join([headline, *shown])
