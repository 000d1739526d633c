import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from assistant.answer import Ask
from assistant.prompt import Turn
from eval.outcome import read_outcomes
from eval.question import Question
from eval.recipe import Arm
from eval.run import ANSWERS, Plan, answer_all, schedule
from ingest.errors import ConfigError, DataError

ARMS = (
    Arm(name="finetuned", mode="finetuned"),
    Arm(name="rag_schema", mode="rag", constrain=True),
    Arm(name="base", mode="base"),
    Arm(name="shots", mode="rag", examples=Path("shots.jsonl")),
    Arm(name="rag", mode="rag"),
    Arm(name="combined", mode="combined"),
)
Script = Callable[[Callable[[Ask], str]], Any]


class Counter:
    def __init__(self) -> None:
        self.seen = 0

    def advance(self) -> None:
        self.seen += 1


@pytest.fixture
def plan() -> Plan:
    return Plan(
        questions=tuple(Question(id=f"q{n}", question=f"Why {n}?") for n in range(4)),
        arms=ARMS,
        examples={"shots": (Turn("How?", "So."),)},
        collection="default",
        adapter="house:v1",
        schema={"type": "object"},
        max_tokens=20,
        seed=0,
        context="index",
    )


def echo(ask: Ask) -> str:
    return f"{ask.question} {ask.mode}"


def go(plan: Plan, assistant: Any, folder: Path, parallel: int = 1) -> list[Any]:
    return asyncio.run(answer_all(plan, assistant, folder, Counter(), parallel=parallel))


def test_every_question_is_answered_by_every_arm_in_order(
    plan: Plan, scripted: Script, tmp_path: Path
) -> None:
    outcomes = go(plan, scripted(echo), tmp_path, parallel=3)
    wanted = [(q.id, arm.name) for q in plan.questions for arm in plan.arms]
    assert [(o.question_id, o.arm) for o in outcomes] == wanted
    assert outcomes[0].answer.answer == "Why 0? finetuned"


def test_an_arm_asks_for_what_it_says(plan: Plan) -> None:
    asks = {arm.name: plan.ask(plan.questions[0], arm) for arm in ARMS}
    assert asks["rag_schema"].schema == {"type": "object"}
    assert asks["rag"].schema is None
    assert asks["shots"].examples == (Turn("How?", "So."),)
    assert (asks["base"].adapter, asks["combined"].adapter) == (None, "house:v1")
    assert {ask.max_tokens for ask in asks.values()} == {20}


def test_adapters_switch_once_and_equal_prompts_follow_each_other(plan: Plan) -> None:
    work = [arm for batch in schedule(plan) for _, arm in batch]
    assert len(list(groupby(arm.tuned for arm in work))) == 2
    names = [arm.name for arm in work]
    assert all(names[i + 1] == "rag_schema" for i, name in enumerate(names) if name == "rag")
    assert len(list(groupby(name == "shots" for name in names))) == 3


def test_a_failed_answer_is_kept_with_its_reason_and_tried_again(
    plan: Plan, scripted: Script, tmp_path: Path
) -> None:
    def broken(ask: Ask) -> str:
        return "FAIL out of memory" if ask.mode == "combined" else echo(ask)

    failed = [o for o in go(plan, scripted(broken), tmp_path) if o.answer is None]
    assert [(o.arm, o.error) for o in failed] == [("combined", "FAIL out of memory")] * 4
    healthy = scripted(echo)
    assert all(o.answer for o in go(plan, healthy, tmp_path))
    assert len(healthy.asked) == 4


def test_resuming_gives_the_same_result_as_not_stopping(
    plan: Plan, scripted: Script, tmp_path: Path
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder in (whole, stopped):
        folder.mkdir()
    expected = go(plan, scripted(echo), whole)
    lines = (whole / ANSWERS).read_text().splitlines(keepends=True)
    (stopped / ANSWERS).write_text("".join(lines[:9]) + lines[9][:40])  # killed while writing
    rest = scripted(echo)
    assert go(plan, rest, stopped) == expected
    assert len(rest.asked) == len(expected) - 9
    assert len(read_outcomes(stopped / ANSWERS)) == len(expected)


def test_a_stopped_run_keeps_what_it_has(plan: Plan, scripted: Script, tmp_path: Path) -> None:
    def stopping(ask: Ask) -> str:
        if ask.question == "Why 2?":
            raise KeyboardInterrupt
        return echo(ask)

    with pytest.raises(KeyboardInterrupt):
        go(plan, scripted(stopping), tmp_path)
    assert len(read_outcomes(tmp_path / ANSWERS)) > 0


@pytest.mark.parametrize(
    "change", [{"context": "other index"}, {"max_tokens": 30}, {"seed": 1}, {"collection": "x"}]
)
def test_answers_to_another_plan_are_not_taken(
    plan: Plan, scripted: Script, tmp_path: Path, change: dict[str, Any]
) -> None:
    go(plan, scripted(echo), tmp_path)
    again = scripted(echo)
    go(replace(plan, **change), again, tmp_path)
    assert len(again.asked) == len(plan.questions) * len(plan.arms)


def test_a_constrained_arm_without_a_schema_is_refused(
    plan: Plan, scripted: Script, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="'rag_schema' is constrained to a schema"):
        go(replace(plan, schema=None), scripted(echo), tmp_path)


def test_a_file_that_holds_something_else_is_refused(
    plan: Plan, scripted: Script, tmp_path: Path
) -> None:
    (tmp_path / ANSWERS).write_text('{"question": 1}\n')
    with pytest.raises(DataError, match=r"answers\.jsonl:1 is not an answer"):
        go(plan, scripted(echo), tmp_path)
