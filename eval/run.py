"""Questions x arms -> answers, kept as they come."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from assistant.answer import Answer, Ask
from eval.cache import Cache
from eval.outcome import Outcome, answer_of, answer_row
from eval.plan import Plan
from eval.question import Question
from eval.recipe import Arm
from ingest.errors import EngineUnavailableError, GroundtuneError, MissingModelError

GIVE_UP_AFTER = 3
"""Answers in a row that a model's server did not give, before the run stops asking it."""


class Assistant(Protocol):
    """Answers a question."""

    async def answer(self, ask: Ask) -> Answer:
        """Return the cited answer.

        Raises:
            GroundtuneError: there is none.
        """
        ...


class Assistants(Protocol):
    """Knows who answers for an arm."""

    def of(self, arm: Arm) -> Assistant:
        """Return the assistant of `arm`; that of an arm with another language model may close.

        Raises:
            GroundtuneError: its model cannot be started.
        """
        ...


class Progress(Protocol):
    """Is told how far a run is."""

    def advance(self) -> None:
        """One more answer is there."""
        ...


class Task(NamedTuple):
    """One answer that a run needs."""

    question: Question
    arm: Arm
    repeat: int


def schedule(plan: Plan) -> dict[str, list[list[Task]]]:
    """Return engine -> batches of work, in an order that is kind to its prompt cache.

    Adapters are switched as seldom as possible, and so are worked examples, which open a prompt.
    Within a group, the arms that show one question the same prompt follow each other, for servers.
    """
    groups: dict[tuple[str, str, str], list[Arm]] = {}
    for arm in plan.arms:
        opening = str(arm.examples or arm.shots or "")
        group = plan.engines[arm.name], plan.adapters.get(arm.name, ""), opening
        groups.setdefault(group, []).append(arm)
    order = list(dict.fromkeys(plan.engines[arm.name] for arm in plan.arms))
    work: dict[str, list[list[Task]]] = {engine: [] for engine in order}
    for engine, adapter, examples in sorted(groups):
        arms = groups[engine, adapter, examples]
        arms.sort(key=lambda arm: (arm.mode, arm.top_k or 0, arm.constrain))
        work[engine] += [
            [Task(question, arm, n) for arm in arms for n in range(plan.repeats(arm))]
            for question in plan.questions
        ]
    return work


async def answer_all(
    plan: Plan, assistants: Assistants, cache: Cache, progress: Progress, *, parallel: int = 1
) -> list[Outcome]:
    """Answer every question by every arm; return the outcomes by question, arm and repeat.

    Each answer is in `cache` before the next is asked for, and what is there already is taken from
    it, so a run that was killed goes on where it stopped. A failure is not kept: a later run tries
    again. One language model is at work at a time; where its server is gone, the arms of the others
    still finish.
    """
    plan.check()
    tasks = list(_in_order(plan))
    known = cache.get(plan.key(*task) for task in tasks)
    outcomes: dict[tuple[str, str, int], Outcome] = {}
    for batches in schedule(plan).values():
        waiting: list[list[Task]] = []
        for batch in batches:
            missing = []
            for task in batch:
                key = plan.key(*task)
                if key in known:
                    outcomes[_place(task)] = _outcome(task, key, answer_of(known[key]), cached=True)
                    progress.advance()
                else:
                    missing.append(task)
            if missing:
                waiting.append(missing)
        if waiting:
            found = await _ask_one_engine(plan, assistants, cache, progress, waiting, parallel)
            outcomes |= {(o.question_id, o.arm, o.repeat): o for o in found}
    return [outcomes[_place(task)] for task in tasks]


async def _ask_one_engine(
    plan: Plan,
    assistants: Assistants,
    cache: Cache,
    progress: Progress,
    batches: Iterable[list[Task]],
    parallel: int,
) -> list[Outcome]:
    server = _Server(assistants)
    outcomes: list[Outcome] = []
    work = iter(batches)

    async def worker() -> None:
        for batch in work:  # shared: each worker takes the next question of the group
            for task in batch:
                key = plan.key(*task)
                answer, error = await server.answer(task.arm, plan.ask(*task))
                if answer is not None:
                    cache.put({key: answer_row(answer)})
                outcomes.append(_outcome(task, key, answer, error))
                progress.advance()

    async with asyncio.TaskGroup() as group:
        for _ in range(parallel):
            group.create_task(worker())
    return outcomes


class _Server:
    """One language model, and whether it is still worth asking."""

    def __init__(self, assistants: Assistants) -> None:
        self._assistants = assistants
        self._lost = 0
        self._gone = ""

    async def answer(self, arm: Arm, ask: Ask) -> tuple[Answer | None, str]:
        """Return the answer, or None and why."""
        if self._gone:
            return None, f"not asked, as the model did not answer before: {self._gone}"
        try:
            answer = await self._assistants.of(arm).answer(ask)
        except (EngineUnavailableError, MissingModelError) as error:
            self._lost += 1
            if self._lost >= GIVE_UP_AFTER:
                self._gone = error.message
            return None, error.message
        except GroundtuneError as error:
            self._lost = 0
            return None, error.message
        self._lost = 0
        return answer, ""


def _outcome(
    task: Task, key: str, answer: Answer | None, error: str = "", *, cached: bool = False
) -> Outcome:
    return Outcome(task.question.id, task.arm.name, key, answer, error, task.repeat, cached)


def _in_order(plan: Plan) -> Iterator[Task]:
    for question in plan.questions:
        for arm in plan.arms:
            for repeat in range(plan.repeats(arm)):
                yield Task(question, arm, repeat)


def _place(task: Task) -> tuple[str, str, int]:
    return task.question.id, task.arm.name, task.repeat
