import asyncio
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from assistant.answer import Ask
from assistant.prompt import Turn
from eval.cache import Cache
from eval.plan import Plan
from eval.question import Question
from eval.recipe import Arm
from eval.run import GIVE_UP_AFTER, answer_all, schedule
from ingest.errors import ConfigError
from tests.rig import Counter

ARMS = (
    Arm(name="finetuned", mode="finetuned"),
    Arm(name="rag_schema", mode="rag", constrain=True),
    Arm(name="base", mode="base"),
    Arm(name="shots", mode="rag", examples=Path("shots.jsonl")),
    Arm(name="rag", mode="rag"),
    Arm(name="combined", mode="combined"),
)
Script = Callable[[Callable[[Ask], str]], Any]


@pytest.fixture
def plan(planned: Callable[..., Plan]) -> Plan:
    return planned(
        [Question(id=f"q{n}", question=f"Why {n}?") for n in range(4)],
        ARMS,
        examples={"shots": (Turn("How?", "So."),)},
        schema={"type": "object"},
        max_tokens=20,
    )


def echo(ask: Ask) -> str:
    return f"{ask.question} {ask.mode}"


def go(plan: Plan, assistant: Any, cache: Cache, parallel: int = 1) -> list[Any]:
    return asyncio.run(answer_all(plan, assistant, cache, Counter(), parallel=parallel))


def order(plan: Plan) -> list[str]:
    return [t.arm.name for batches in schedule(plan).values() for batch in batches for t in batch]


def test_every_question_is_answered_by_every_arm_in_order(
    plan: Plan, scripted: Script, cache: Cache
) -> None:
    outcomes = go(plan, scripted(echo), cache, parallel=3)
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
    names = order(plan)
    tuned = {arm.name for arm in ARMS if arm.tuned}
    assert len(list(groupby(name in tuned for name in names))) == 2
    assert all(names[i + 1] == "rag_schema" for i, name in enumerate(names) if name == "rag")
    assert len(list(groupby(name == "shots" for name in names))) == 3


def test_one_language_model_is_done_before_the_next_begins(plan: Plan) -> None:
    names = order(replace(plan, engines={**plan.engines, "base": "other", "combined": "other"}))
    assert len(list(groupby(name in ("base", "combined") for name in names))) == 2


def test_a_failed_answer_is_counted_with_its_reason_and_tried_again(
    plan: Plan, scripted: Script, cache: Cache
) -> None:
    def broken(ask: Ask) -> str:
        return "FAIL out of memory" if ask.mode == "combined" else echo(ask)

    failed = [o for o in go(plan, scripted(broken), cache) if o.answer is None]
    assert [(o.arm, o.error) for o in failed] == [("combined", "FAIL out of memory")] * 4
    healthy = scripted(echo)
    assert all(o.answer for o in go(plan, healthy, cache))
    assert len(healthy.asked) == 4


def test_where_a_server_dies_half_way_the_other_arms_finish_and_the_rest_comes_later(
    plan: Plan, scripted: Script, cache: Cache
) -> None:
    plan = replace(plan, engines={**plan.engines, "base": "other server"})
    calls = iter(range(100))

    def dying(ask: Ask) -> str:
        return "GONE refused" if ask.mode == "base" and next(calls) > 0 else echo(ask)

    asked = scripted(dying)
    outcomes = go(plan, asked, cache)
    base = [o for o in outcomes if o.arm == "base"]
    assert all(o.answer for o in outcomes if o.arm != "base")
    assert [o.answer is not None for o in base] == [True, False, False, False]
    healthy = scripted(echo)
    resumed = go(plan, healthy, cache)
    assert [ask.mode for ask in healthy.asked] == ["base"] * 3
    assert [o.answer.answer for o in resumed if o.arm == "base"] == [
        f"Why {n}? base" for n in range(4)
    ]


def test_a_server_that_is_gone_is_not_asked_for_ever(
    planned: Callable[..., Plan], scripted: Script, cache: Cache
) -> None:
    asked = scripted(lambda ask: "GONE refused")
    many = [Question(id=f"q{n}", question=f"Why {n}?") for n in range(50)]
    outcomes = go(planned(many, [Arm(name="rag", mode="rag")]), asked, cache)
    assert len(asked.asked) == GIVE_UP_AFTER
    assert outcomes[-1].error == "not asked, as the model did not answer before: GONE refused"


def test_answers_to_one_content_are_shared_whatever_the_question_is_called(
    plan: Plan, scripted: Script, cache: Cache
) -> None:
    go(plan, scripted(echo), cache)
    renamed = tuple(q.model_copy(update={"id": f"new-{q.id}"}) for q in plan.questions)
    again = scripted(echo)
    outcomes = go(replace(plan, questions=renamed), again, cache)
    assert not again.asked
    assert all(o.cached for o in outcomes)


@pytest.mark.parametrize(
    "change",
    [
        {"contexts": dict.fromkeys([arm.name for arm in ARMS], "other index")},
        {"max_tokens": 30},
        {"temperature": 0.5},
        {"collection": "x"},
    ],
    ids=str,
)
def test_answers_to_another_plan_are_not_taken(
    plan: Plan, scripted: Script, cache: Cache, change: dict[str, Any]
) -> None:
    go(plan, scripted(echo), cache)
    again = scripted(echo)
    go(replace(plan, **change), again, cache)
    assert len(again.asked) == len(plan.questions) * len(plan.arms)


def test_what_one_arm_rests_on_does_not_ask_the_others_again(
    plan: Plan, scripted: Script, cache: Cache
) -> None:
    go(plan, scripted(echo), cache)
    again = scripted(echo)
    go(replace(plan, contexts={**plan.contexts, "combined": "new adapter"}), again, cache)
    assert {ask.mode for ask in again.asked} == {"combined"}


def test_sampling_arms_answer_as_often_as_asked_each_time_with_another_seed(
    planned: Callable[..., Plan], scripted: Script, cache: Cache
) -> None:
    arms = [Arm(name="rag", mode="rag", temperature=0.8), Arm(name="base", mode="base")]
    asked = scripted(echo)
    question = Question(id="q", question="Why?")
    outcomes = go(planned([question], arms, repeat=3, seed=5), asked, cache)
    assert [(o.arm, o.repeat) for o in outcomes] == [
        ("rag", 0),
        ("rag", 1),
        ("rag", 2),
        ("base", 0),
    ]
    assert sorted(ask.seed for ask in asked.asked if ask.mode == "rag") == [5, 6, 7]


def test_repeating_greedy_answers_is_refused(plan: Plan, scripted: Script, cache: Cache) -> None:
    with pytest.raises(ConfigError, match="every arm decodes greedily"):
        go(replace(plan, repeat=2), scripted(echo), cache)


def test_a_constrained_arm_without_a_schema_is_refused(
    plan: Plan, scripted: Script, cache: Cache
) -> None:
    with pytest.raises(ConfigError, match="'rag_schema' is constrained to a schema"):
        go(replace(plan, schema=None), scripted(echo), cache)


KILLED = """
import asyncio, sys, time
sys.path.insert(0, "tests/eval")
from pathlib import Path
import conftest
from eval.cache import Cache
from eval.recipe import Arm
from eval.question import Question
from eval.plan import Plan
from eval.run import answer_all

def slow(ask):
    if SLEEP:
        time.sleep(0.05)
    return f"{ask.question} {ask.mode}"

class Silent:
    def advance(self):
        print("one", flush=True)

arms = tuple(Arm(name=m, mode=m) for m in ("base", "rag"))
plan = Plan(
    questions=tuple(Question(id=f"q{n}", question=f"Why {n}?") for n in range(40)), arms=arms,
    examples={}, collection="default", schema=None, contexts={"base": "", "rag": ""},
    engines={"base": "m", "rag": "m"}, adapters={}, max_tokens=None, temperature=0.0, seed=0,
    repeat=1,
)
assistant = conftest.ScriptedAssistant(slow)
with Cache(Path(sys.argv[1])) as cache:
    found = asyncio.run(answer_all(plan, assistant, cache, Silent()))
print([(o.question_id, o.arm, o.answer.answer) for o in found], len(assistant.asked))
"""


def test_a_killed_run_goes_on_with_the_same_result(tmp_path: Path) -> None:
    def command(sleep: bool, cache: str) -> list[str]:
        code = KILLED.replace("SLEEP", str(sleep))
        return [sys.executable, "-c", code, str(tmp_path / cache)]

    def finish(cache: str) -> tuple[str, int]:
        done = subprocess.run(command(False, cache), capture_output=True, text=True, check=True)
        answers, _, asked = done.stdout.splitlines()[-1].rpartition(" ")
        return answers, int(asked)

    victim = subprocess.Popen(command(True, "killed.sqlite"), stdout=subprocess.PIPE, text=True)
    assert victim.stdout is not None
    for _ in range(9):
        assert victim.stdout.readline() == "one\n"
    victim.kill()
    victim.wait(timeout=30)
    victim.stdout.close()
    resumed, asked = finish("killed.sqlite")
    whole, all_asked = finish("whole.sqlite")
    assert resumed == whole
    assert all_asked == 80
    assert 0 < asked <= 80 - 9
