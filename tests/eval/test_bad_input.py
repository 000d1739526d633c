"""What a report says of questions, arms and answers that something is wrong with."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from assistant.answer import Ask
from eval.advice import advise
from eval.markdown import as_markdown
from eval.question import Question
from eval.report import as_dict, as_html
from eval.result import Report
from eval.verdict import verdict

Reported = Callable[..., Report]
RIGHT = json.dumps({"answer": "It is 25 N·m."})


def asked(n: int = 12, **values: Any) -> list[Question]:
    about: dict[str, Any] = {"reference": "It is 25 N·m.", "facts": (("25 N·m",),)}
    return [
        Question(id=f"q{i}", question=f"Q{i}?", documents=(f"{i}.md",), **(about | values))
        for i in range(n)
    ]


def test_questions_without_references_and_facts_are_unscored_and_the_rest_is_measured(
    reported: Reported,
) -> None:
    report = reported(asked(reference="", facts=()), lambda ask: RIGHT)
    means = report.summary.means["all"]["rag"]
    for metric in ("facts", "grounded", "similarity", "rouge", "chrf"):
        assert (means[metric].mean, means[metric].n, means[metric].unscored) == (None, 0, 12)
    assert (means["format"].mean, means["abstention"].mean) == (1, 1)
    assert advise(report.summary).choice == "unclear"
    assert "no question with key facts" in advise(report.summary).reasons[0]
    assert "no question was scored by both base and rag" in verdict(report.summary)[0]
    why = as_dict(report)["scores"][0]["scores"]["rouge"]
    assert why == {"value": None, "why": "no reference"}


def test_a_metric_that_does_not_apply_to_an_arm_is_not_a_zero(reported: Reported) -> None:
    report = reported(asked(), lambda ask: RIGHT)
    base, rag = (report.summary.means["all"][arm]["recall"] for arm in ("base", "rag"))
    assert (base.mean, base.unscored) == (None, 12)
    assert (rag.mean, rag.unscored) == (0, 0)
    assert "recall" not in report.summary.factorials["all"]
    assert "similarity" in report.summary.factorials["all"]


def test_arms_that_all_say_the_same_are_advised_against(reported: Reported) -> None:
    report = reported(asked(), lambda ask: RIGHT)
    advice = advise(report.summary)
    assert (advice.choice, advice.title) == (
        "neither",
        "For this data: neither retrieval nor tuning",
    )
    assert all("No difference seen" in sentence for sentence in verdict(report.summary))
    assert "every question gave the same value" in as_markdown(report)


def test_one_question_does_not_tell(reported: Reported) -> None:
    report = reported(asked(1), lambda ask: RIGHT if ask.mode == "combined" else "No idea.")
    assert advise(report.summary).choice == "unclear"
    assert "one question gives no interval" in as_markdown(report)
    assert "These data do not tell" in as_html(report)


def test_arms_that_never_answered_the_same_question_are_not_compared(reported: Reported) -> None:
    def torn(ask: Ask) -> str:
        odd = int(ask.question[1:-1]) % 2 == 1
        return "FAIL broken" if odd == (ask.mode == "rag") else RIGHT

    report = reported(asked(), torn)
    gap = report.summary.compare("facts", "rag", "base")
    assert gap is not None
    assert (gap.mean, gap.n, gap.why) == (None, 0, "no question was scored on both sides")
    assert "no question was scored by both base and rag" in verdict(report.summary)[0]
    assert "not measured" in as_html(report)


@pytest.mark.parametrize("mode", ["base", "combined"])
def test_an_arm_whose_server_is_gone_leaves_the_advice_open_and_the_others_stand(
    reported: Reported, mode: str
) -> None:
    report = reported(asked(), lambda ask: "GONE refused" if ask.mode == mode else RIGHT)
    assert report.summary.failed[mode] == 12
    advice = advise(report.summary)
    assert advice.choice == "unclear"
    html = as_html(report)
    assert "12 answers failed: counted as unscored" in html
    assert "GONE refused" in html
    assert report.summary.means["all"]["rag"]["facts"].mean == 1
