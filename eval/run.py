"""Questions x arms -> answers, kept as they come."""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from assistant.answer import Answer, Ask
from assistant.prompt import Turn
from eval.outcome import Outcome, read_outcomes
from eval.question import Question
from eval.recipe import Arm
from ingest.errors import ConfigError, GroundtuneError

ANSWERS = "answers.jsonl"


class Assistant(Protocol):
    """Answers a question."""

    async def answer(self, ask: Ask) -> Answer:
        """Return the cited answer.

        Raises:
            GroundtuneError: there is none.
        """
        ...


class Progress(Protocol):
    """Is told how far a run is."""

    def advance(self) -> None:
        """One more answer is there."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that shapes the answers of a run."""

    questions: tuple[Question, ...]
    arms: tuple[Arm, ...]
    examples: Mapping[str, tuple[Turn, ...]]
    """Arm name -> worked examples."""
    collection: str
    adapter: str | None
    schema: Mapping[str, Any] | None
    """The house format, for the arms that are constrained to it."""
    max_tokens: int | None
    seed: int
    context: str
    """Hash of the index, the prompt contract, the base model and the adapter."""

    def ask(self, question: Question, arm: Arm) -> Ask:
        """Return what the assistant is asked for one question by one arm.

        Raises:
            ConfigError: a constrained arm, and no schema.
        """
        schema = question.json_schema if question.json_schema is not None else self.schema
        if arm.constrain and schema is None:
            raise ConfigError(
                f"Arm {arm.name!r} is constrained to a schema, and there is none.",
                hint="Name one in groundtune.toml: [answer] schema_file = 'answer.schema.json'",
            )
        return Ask(
            question=question.question,
            mode=arm.mode,
            collection=self.collection,
            adapter=self.adapter if arm.tuned else None,
            examples=self.examples.get(arm.name, ()),
            top_k=arm.top_k,
            schema=schema if arm.constrain else None,
            max_tokens=arm.max_tokens if arm.max_tokens is not None else self.max_tokens,
            temperature=0.0,
            seed=self.seed,
        )

    def key(self, question: Question, arm: Arm) -> str:
        """Return the hash of everything that shapes this answer: 16 hex digits."""
        ask = self.ask(question, arm)
        parts = [
            self.context,
            question.id,
            *(repr(getattr(ask, name)) for name in Ask.__dataclass_fields__ if name != "schema"),
            json.dumps(ask.schema, sort_keys=True),
        ]
        return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:16]

    def fingerprint(self) -> str:
        """Return the hash of the whole run: 8 hex digits."""
        keys = [f"{arm.name}={self.key(q, arm)}" for q in self.questions for arm in self.arms]
        return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:8]


def schedule(plan: Plan) -> Iterator[list[tuple[Question, Arm]]]:
    """Yield the work in an order that is kind to the engine's prompt cache.

    Adapters are switched as seldom as possible, and so are worked examples, which open a prompt.
    Within a group, the arms that show one question the same prompt follow each other.
    """
    groups: dict[tuple[bool, str], list[Arm]] = {}
    for arm in plan.arms:
        groups.setdefault((arm.tuned, str(arm.examples or "")), []).append(arm)
    for _, arms in sorted(groups.items()):
        arms.sort(key=lambda arm: (arm.mode, arm.top_k or 0, arm.constrain))
        for question in plan.questions:
            yield [(question, arm) for arm in arms]


async def answer_all(
    plan: Plan, assistant: Assistant, folder: Path, progress: Progress, *, parallel: int = 1
) -> list[Outcome]:
    """Answer every question by every arm, and return the outcomes by question, then arm.

    Each is appended to `folder/answers.jsonl` at once; a later run with the same plan and folder
    takes them from there, and tries those that failed again.
    """
    for arm in plan.arms:
        plan.ask(plan.questions[0], arm)  # refuse a plan that cannot be asked before the first hour
    path = folder / ANSWERS
    _drop_torn_line(path)
    done = {(o.question_id, o.arm, o.key): o for o in read_outcomes(path) if o.answer is not None}
    work = schedule(plan)
    with path.open("a", encoding="utf-8") as file:

        async def worker() -> None:
            for batch in work:  # shared: each worker takes the next question of the group
                for question, arm in batch:
                    place = (question.id, arm.name, plan.key(question, arm))
                    if place not in done:
                        outcome = await _outcome(plan, assistant, question, arm, place[2])
                        file.write(outcome.line())
                        file.flush()
                        done[place] = outcome
                    progress.advance()

        async with asyncio.TaskGroup() as group:
            for _ in range(parallel):
                group.create_task(worker())
    return _in_order(plan, done)


async def _outcome(
    plan: Plan, assistant: Assistant, question: Question, arm: Arm, key: str
) -> Outcome:
    try:
        answer = await assistant.answer(plan.ask(question, arm))
    except GroundtuneError as error:
        return Outcome(question.id, arm.name, key, None, error.message)
    return Outcome(question.id, arm.name, key, answer)


def _in_order(plan: Plan, done: Mapping[tuple[str, str, str], Outcome]) -> list[Outcome]:
    return [
        done[question.id, arm.name, plan.key(question, arm)]
        for question in plan.questions
        for arm in plan.arms
    ]


def _drop_torn_line(path: Path) -> None:
    """Cut what a stopped run left of a line, so that the next one starts on a line of its own."""
    if path.exists():
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            path.write_bytes(whole)
