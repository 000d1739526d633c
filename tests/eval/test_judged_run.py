"""Every metric of the judge through ragas, and a whole evaluation with a judge in it."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assistant.answer import Answer
from assistant.engines.engine import Request
from eval.cache import Cache
from eval.command import run
from eval.evaluate import evaluate
from eval.judge import JUDGED, Judge
from eval.question import Question
from eval.recipe import JudgeSettings, Recipe
from ingest.embed import Embedder
from ingest.errors import UsageError
from tests.fakes import ScriptedEngine
from tests.rig import NOW, Rig, reply

RUBRIC = {f"score{n}_description": f"level {n}" for n in range(1, 6)}
TORQUE = Question(id="q", question="How tight?", reference="It is tightened to 25 N·m.")


def filled(request: Request, verdict: int = 1) -> str:
    """Fill whatever form is asked for: one claim, and `verdict` on it."""
    assert request.schema is not None
    forms = request.schema.get("$defs", {})

    def value(form: dict[str, Any], name: str) -> Any:
        if "$ref" in form:
            return value(forms[form["$ref"].rpartition("/")[2]], name)
        if "properties" in form:
            return {key: value(inner, key) for key, inner in form["properties"].items()}
        if form.get("type") == "array":
            return [value(form["items"], name)]
        if "enum" in form:
            return form["enum"][1 - verdict]
        if form.get("type") == "integer":
            return {"noncommittal": 1 - verdict, "score": 1 + 4 * verdict}.get(name, verdict)
        return "How tight?" if name == "question" else "It is 25 N·m."

    return json.dumps(value(request.schema, ""))


@pytest.mark.parametrize("metric", [metric.name for metric in JUDGED])
@pytest.mark.parametrize("verdict", [1, 0])
def test_every_metric_is_scored_from_0_to_1(
    metric: str,
    verdict: int,
    cache: Cache,
    embedder: Embedder,
    said: Callable[..., Answer],
) -> None:
    engine = ScriptedEngine(lambda request: filled(request, verdict), context_tokens=50_000)
    judge = Judge(
        engine, "scripted", embedder, cache, max_tokens=500, temperature=0.0, rubric=RUBRIC
    )
    answer = said("It is 25 N·m.", shown=["a.md"])
    score = asyncio.run(judge.score(metric, TORQUE, answer))
    assert score is not None
    expected = 0 if metric == "noise_sensitivity" and verdict else verdict
    if (metric, verdict) == ("noise_sensitivity", 0):
        expected = 0  # a claim that no passage led to
    assert score.value == pytest.approx(expected, abs=1e-6), score.why
    assert all(request.schema for request in engine.requests)


@pytest.fixture
def judged(rig: Rig, recipe: Callable[..., Recipe]) -> Callable[..., dict[str, Any]]:
    """Evaluate with a judge that fills every form; return the report."""

    def go(answers: Callable[[Request], str] = filled, **values: Any) -> dict[str, Any]:
        rig.scripted._reply = lambda r: answers(r) if r.schema is not None else reply(r)
        rig.scripted.context_tokens = 50_000
        settings = JudgeSettings(**values)
        result = evaluate(recipe(judge=settings), rig, now=NOW)
        folder = Path(result["report"])
        report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        pages = [(folder / name).read_text(encoding="utf-8") for name in PAGES]
        return report | {"pages": pages}

    return go


PAGES = ("report.html", "report.md")


def test_a_report_says_of_its_judge_whether_it_is_fit_and_how_many_scores_there_are(
    judged: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    labels = tmp_path / "labels.jsonl"
    rows = [
        {"question_id": i, "arm": "rag", "metric": "faithfulness", "label": label}
        for i, label in (("Osprey 77", True), ("Wick 12", False))
    ]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    report = judged(metrics=("faithfulness", "factual_correctness"), agreement=labels)
    found = report["judged"]
    assert "is not fit to judge" in found["sentence"]  # it says yes to all 60 pairs
    assert found["fitness"]["n"] == 60
    rag, base = (found["coverage"]["faithfulness"][arm] for arm in ("rag", "base"))
    assert (rag["asked"], rag["scored"], base["asked"]) == (3, 3, 0)  # base is shown no passages
    assert found["noise"]["n"] == 1
    assert found["human"]["faithfulness"]["n"] == 2
    for page in report["pages"]:
        assert found["sentence"].partition("Cohen's")[0] in page
        assert "Scores that were given twice (n = 1) differ by 0.00 on average" in page
        assert "On Faithful the judge is not fit to judge" in page
        assert "3 of 3 scored" in page


def test_a_judge_that_answers_nonsense_is_counted_and_the_rest_of_the_report_stands(
    judged: Callable[..., dict[str, Any]],
) -> None:
    report = judged(lambda request: "Well.", metrics=("factual_correctness",))
    found = report["judged"]
    assert "gave no verdict on any of 60 probe pairs" in found["sentence"]
    cover = found["coverage"]["factual_correctness"]["rag"]
    assert (cover["asked"], cover["scored"]) == (3, 0)
    assert list(cover["reasons"]) == [
        "the judge failed: it did not answer in the form asked for: 'Well.'"
    ]
    assert "too few scores" in found["refused"]["factual_correctness"]
    assert report["summary"]["means"]["all"]["rag"]["facts"]["mean"] == 1
    for page in report["pages"]:
        assert "0 of 3 scored" in page
        assert "too few scores" in page


def test_human_labels_without_a_judge_are_refused(
    rig: Rig, parse: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "eval.toml"
    path.write_text('questions = "q.jsonl"', encoding="utf-8")
    with pytest.raises(UsageError, match="the recipe has none"):
        run(parse("run", str(path), "--agreement", "labels.jsonl"), rig.settings)


def test_what_a_judge_is_shown_differs_between_arms_in_nothing_but_the_answer(
    cache: Cache, embedder: Embedder, said: Callable[..., Answer]
) -> None:
    prompts = []
    for text in ("It is 25 N·m.", "It is 99 N·m."):
        engine = ScriptedEngine(filled, context_tokens=50_000)
        judge = Judge(engine, text, embedder, cache, max_tokens=500, temperature=0.0, rubric={})
        answer = replace(said(text, shown=["a.md"]), mode="rag")
        asyncio.run(judge.score("faithfulness", TORQUE, answer))
        prompts.append(engine.requests[0].messages[-1].content.replace(text, "ANSWER"))
    assert prompts[0] == prompts[1]
