"""The judge through ragas, with a language model that is scripted at the engine's seam."""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import cohen_kappa_score

from assistant.answer import Answer
from assistant.engines.engine import Request
from eval.cache import Cache
from eval.judge import Judge
from eval.judged import (
    Label,
    Noise,
    judge_all,
    noise_of,
    read_labels,
    summarise_judged,
)
from eval.outcome import Outcome
from eval.probe import Agreement, agreement, probe, read_probe
from eval.question import Question
from eval.recipe import JudgeSettings
from eval.score import Score
from ingest.embed import Embedder
from ingest.errors import DataError, EngineError
from tests.fakes import ScriptedEngine
from tests.rig import Counter

Say = Callable[..., Answer]
TORQUE = Question(id="q", question="How tight?", reference="It is tightened to 25 N·m.")
PAIRS = read_probe()
KEY = {(p.passage, p.question, p.answer): p.right for p in PAIRS}


def expert(request: Request) -> str:
    """Answer each form that ragas asks for; a claim holds when its number stands in the text."""
    assert request.schema is not None
    prompt = request.messages[-1].content
    asked = request.schema["properties"]
    if "verdict" in asked:
        place = re.match(r"Passage: (.*)\nQuestion: (.*)\nAnswer: (.*)\n", prompt)
        assert place is not None
        return json.dumps({"verdict": "yes" if KEY[place.groups()] else "no"})  # type: ignore[index]
    inner = prompt.rpartition("Now perform")[2] or prompt
    if "$defs" not in request.schema:
        said = re.findall(r'"answer": "(.*?)"', inner)
        return json.dumps({"statements": said[-1:]})
    context = re.findall(r'"context": "(.*?)"', inner)[-1]
    claims = json.loads(re.findall(r'"statements": (\[.*?\])', inner, re.S)[-1])
    verdicts = [
        {"statement": c, "reason": "r", "verdict": int(_number(c) in context)} for c in claims
    ]
    return json.dumps({"statements": verdicts})


def _number(text: str) -> str:
    found = re.search(r"\d+", text)
    return found[0] if found else "none"


@pytest.fixture
def judge(cache: Cache, embedder: Embedder) -> Callable[..., Judge]:
    def make(engine: ScriptedEngine, **values: Any) -> Judge:
        defaults: dict[str, Any] = {"max_tokens": 500, "temperature": 0.0, "rubric": {}}
        return Judge(engine, "scripted", embedder, cache, **(defaults | values))

    return make


def speaking(reply: Any, **values: Any) -> ScriptedEngine:
    return ScriptedEngine(reply, context_tokens=50_000, **values)


def faithful(judge: Judge, answer: Answer, seed: int = 0) -> Score | None:
    return asyncio.run(judge.score("faithfulness", TORQUE, answer, seed=seed))


def shown(said: Say, text: str, passage: str) -> Answer:
    answer = said(text, shown=["a.md"])
    return replace(answer, evidence=tuple(replace(e, text=passage) for e in answer.evidence))


def test_ragas_scores_what_the_engine_says_in_the_form_asked_for(
    judge: Callable[..., Judge], said: Say
) -> None:
    engine = speaking(expert)
    good = faithful(judge(engine), shown(said, "It is 25 N·m.", "Tighten it to 25 N·m."))
    bad = faithful(judge(engine), shown(said, "It is 99 N·m.", "Tighten it to 25 N·m."))
    assert (good and good.value, bad and bad.value) == (1, 0)
    assert all(request.schema for request in engine.requests)


def test_a_judge_that_talks_nonsense_gives_no_score_and_is_asked_again(
    judge: Callable[..., Judge], said: Say
) -> None:
    answer = shown(said, "It is 25 N·m.", "25")
    engine = speaking("Well, I would say so.")
    for asked in (1, 2):
        score = faithful(judge(engine), answer)
        assert score is not None
        assert score.value is None
        assert "it did not answer in the form asked for: 'Well, I would" in score.why
        assert len(engine.requests) == asked


def test_a_judge_that_falls_over_gives_no_score(judge: Callable[..., Judge], said: Say) -> None:
    engine = speaking("x", fail_after=0, error=EngineError("out of memory"))
    score = faithful(judge(engine), shown(said, "It is 25 N·m.", "25"))
    assert score == Score(None, "the judge failed: out of memory")


def test_a_judge_that_finds_no_claim_gives_no_score(judge: Callable[..., Judge], said: Say) -> None:
    score = faithful(judge(speaking('{"statements": []}')), shown(said, "Hm.", "25"))
    assert score == Score(None, "the judge found nothing to score")


def test_a_score_is_asked_for_once_but_for_another_seed(
    judge: Callable[..., Judge], said: Say
) -> None:
    engine, answer = speaking(expert), shown(said, "It is 25 N·m.", "25")
    first = faithful(judge(engine), answer)
    asked = len(engine.requests)
    assert faithful(judge(engine), answer) == first
    assert len(engine.requests) == asked
    faithful(judge(engine), answer, seed=1)
    assert len(engine.requests) == 2 * asked
    faithful(judge(engine, temperature=0.5), answer)
    assert len(engine.requests) == 3 * asked


def test_a_metric_that_does_not_apply_asks_nothing(judge: Callable[..., Judge], said: Say) -> None:
    engine = speaking(expert)
    assert faithful(judge(engine), said("It is 25 N·m.")) is None  # no passages
    assert faithful(judge(engine), shown(said, "", "25")) is None
    assert not engine.requests


def outcomes_of(said: Say, arms: tuple[str, ...], n: int = 6) -> list[Outcome]:
    return [
        Outcome(
            f"q{i}", arm, "k", shown(said, f"It is {i if arm == 'good' else 90 + i} N·m.", f"{i}")
        )
        for i in range(n)
        for arm in arms
    ]


def questions_of(n: int = 6) -> dict[str, Question]:
    return {f"q{i}": TORQUE.model_copy(update={"id": f"q{i}"}) for i in range(n)}


FAITHFUL = JudgeSettings(metrics=("faithfulness",), repeat_share=0.5)


def test_the_judge_sees_no_arm_and_no_order_of_arms(judge: Callable[..., Judge], said: Say) -> None:
    engine = speaking(expert)
    outcomes = outcomes_of(said, ("good", "zebra"))
    bar = Counter()
    found = asyncio.run(judge_all(judge(engine), FAITHFUL, questions_of(), outcomes, bar, seed=1))
    assert bar.seen == len(outcomes)
    assert {arm: [found[arm, f"q{i}", "faithfulness"].value for i in range(6)]  # type: ignore[union-attr]
            for arm in ("good", "zebra")} == {"good": [1] * 6, "zebra": [0] * 6}  # fmt: skip
    prompts = [request.messages[-1].content for request in engine.requests]
    assert not any("zebra" in prompt for prompt in prompts)
    order = ["9" in re.findall(r"It is (\d+) N", prompt)[-1] for prompt in prompts[::2]]
    assert order != sorted(order)
    assert order != [False, True] * 6


def summed(found: Any, arms: tuple[str, ...], floor: float = 0.8, **values: Any) -> Any:
    fitness = agreement([True, False] * 30, [True, False] * 30)
    settings = JudgeSettings(metrics=("faithfulness",), floor=floor)
    defaults: dict[str, Any] = {"labels": [], "noise": Noise(None, 0, 0)}
    given = defaults | values
    return summarise_judged(
        "scripted", fitness, settings, arms, found, given["noise"], given["labels"], {},
        seed=1, resamples=199,
    )  # fmt: skip


def judgements(**arms: list[float | None | str]) -> dict[Any, Any]:
    """Return scores by arm: a number, None for unscored, or "-" where the metric does not apply."""
    return {
        (arm, f"q{i}", "faithfulness"): None
        if value == "-"
        else Score(value, "the judge failed: timeout" if value is None else "")  # type: ignore[arg-type]
        for arm, values in arms.items()
        for i, value in enumerate(values)
    }


def test_arms_are_compared_on_the_questions_that_all_of_them_scored() -> None:
    found = summed(judgements(a=[1, 1, 1, 1, 0], b=[0, 0, None, 0, 0]), ("a", "b"))
    (pair,) = found.pairings
    assert (pair.difference.n, pair.difference.mean) == (4, -0.75)
    cover = found.coverage["faithfulness"]["b"]
    assert (cover.asked, cover.scored, cover.reasons) == (5, 4, {"the judge failed: timeout": 1})
    assert found.coverage["faithfulness"]["a"].mean.mean == 0.8


def test_below_the_floor_there_is_no_comparison_and_the_reason_is_given() -> None:
    found = summed(judgements(a=[1, 1, 1, 1, 1], b=[0, None, None, 0, 0]), ("a", "b"))
    assert not found.pairings
    assert found.refused == {
        "faithfulness": "too few scores (b 3 of 5; the floor is 80%)",
    }


def test_an_arm_that_the_metric_does_not_apply_to_takes_no_part() -> None:
    found = summed(judgements(base=["-"] * 3, a=[1, 0, 1], b=[0, 0, 0]), ("base", "a", "b"))
    assert [(p.arm, p.against) for p in found.pairings] == [("b", "a")]
    assert found.coverage["faithfulness"]["base"].asked == 0
    alone = summed(judgements(base=["-"], a=[1]), ("base", "a"))
    assert alone.refused == {"faithfulness": "no question was scored for two arms"}


def test_the_noise_of_a_judge_is_how_much_it_contradicts_itself(
    judge: Callable[..., Judge], said: Say
) -> None:
    def moody(request: Request) -> str:
        reply = expert(request)
        return reply.replace('"verdict": 1', '"verdict": 0') if request.seed else reply

    outcomes, questions = outcomes_of(said, ("good",)), questions_of()
    for engine, change in ((speaking(moody), 1.0), (speaking(expert), 0.0)):
        asked = judge(engine, max_tokens=500 + int(change))

        async def go(asked: Judge = asked) -> Noise:
            found = await judge_all(asked, FAITHFUL, questions, outcomes, Counter(), seed=1)
            return await noise_of(asked, FAITHFUL, questions, outcomes, found, seed=1)

        assert asyncio.run(go()) == Noise(change, 3, 0)


def test_human_labels_are_held_against_the_judge() -> None:
    labels = [Label("a", f"q{i}", "faithfulness", bool(i % 2)) for i in range(6)]
    found = summed(judgements(a=[0, 1, 0, 1, 0, None]), ("a",), labels=labels)
    human = found.human["faithfulness"]
    assert (human.kappa, human.n, human.unscored) == (1, 5, 1)


def test_bad_labels_are_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    good = {"arm": "rag", "question_id": "q", "metric": "faithfulness", "label": True}
    path.write_text(json.dumps(good) + '\n{"arm": 1}\n' + json.dumps(good | {"label": 3}) + "\n")
    with pytest.raises(DataError, match=r"(?s):2: not a label.*:3: wanted are a judged metric"):
        read_labels(path)
    path.write_text(json.dumps(good) + "\n")
    assert read_labels(path) == [Label("rag", "q", "faithfulness", True)]


def test_kappa_is_that_of_scikit_learn_and_lies_in_its_interval() -> None:
    a = [True, False, True, True, False, False, True, False] * 5
    b = [True, False, False, True, False, True, True, False] * 5
    found = agreement(a, b)
    assert found.kappa == pytest.approx(cohen_kappa_score(a, b))
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.5 < found.high


def test_the_probe_holds_sixty_pairs_half_of_them_right() -> None:
    assert len(PAIRS) == len(KEY) == 60
    assert sum(pair.right for pair in PAIRS) == 30


def test_a_judge_that_agrees_with_the_probe_is_fit(judge: Callable[..., Judge]) -> None:
    found = asyncio.run(probe(judge(speaking(expert)), PAIRS, Counter()))
    assert (found.kappa, found.n, found.fit) == (1, 60, True)
    assert found.sentence("The model").startswith("The model is fit to judge: Cohen's kappa 1.00")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (json.dumps({"verdict": "yes"}), "is not fit to judge: Cohen's kappa 0.00"),
        ("I do not know.", "it gave no verdict on any of 60 probe pairs"),
    ],
    ids=["always yes", "nonsense"],
)
def test_a_judge_that_does_not_read_is_unfit_by_its_own_numbers(
    judge: Callable[..., Judge], reply: str, words: str
) -> None:
    found = asyncio.run(probe(judge(speaking(reply)), PAIRS, Counter()))
    assert not found.fit
    assert words in found.sentence("The model")
    assert "Do not rely on its scores" in found.sentence("The model")


def test_a_judge_that_skips_the_hard_pairs_is_unfit() -> None:
    assert not Agreement(1.0, 1.0, 1.0, 50, 10).fit
    assert Agreement(1.0, 1.0, 1.0, 57, 3).fit


@pytest.mark.model
def test_the_small_model_that_ships_is_declared_unfit(cache: Cache, embedder: Embedder) -> None:
    from assistant.config import Settings
    from assistant.engines.embedded import EmbeddedEngine
    from ingest.model_file import resolve

    name = Settings().engine.model
    engine = EmbeddedEngine(
        resolve(name), name=name, context_tokens=1024, parallel=1, waiting=8, threads=0, adapters=[]
    )
    judge = Judge(engine, name, embedder, cache, max_tokens=24, temperature=0.0, rubric={})
    try:
        found = asyncio.run(probe(judge, PAIRS[:12], Counter()))
    finally:
        engine.close()
    assert found.n + found.unscored == 12
    assert not found.fit
    assert "is not fit to judge" in found.sentence(name)
