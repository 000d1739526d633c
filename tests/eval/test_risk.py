from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from assistant.answer import Answer
from eval.outcome import Outcome
from eval.question import Question
from eval.risk import RiskCoverage, risk_coverage
from eval.score import Score

Say = Callable[..., Answer]


@pytest.fixture
def curve(said: Say) -> Callable[..., RiskCoverage]:
    """Draw the curve of answers given as (sureness or None for abstained, right, answerable)."""

    def make(*rows: tuple[float | None, bool, bool]) -> RiskCoverage:
        questions, outcomes, cards = {}, [], []
        for n, (sure, right, answerable) in enumerate(rows):
            values: dict[str, Any] = {"abstained": sure is None}
            answer = said("x", cited=["a.md"] if sure else [], **values)
            citations = tuple(replace(c, score=sure or 0) for c in answer.citations)
            questions[f"q{n}"] = Question(id=f"q{n}", question="?", answerable=answerable)
            outcomes.append(Outcome(f"q{n}", "rag", "k", replace(answer, citations=citations)))
            cards.append({"facts": Score(float(right) if answerable else None, "")})
        return risk_coverage(questions, outcomes, cards)

    return make


def test_the_surest_answers_come_first(curve: Callable[..., RiskCoverage]) -> None:
    found = curve((0.9, True, True), (0.6, False, True), (0.6, True, True), (None, False, True))
    assert [(p.threshold, p.coverage, p.given) for p in found.points] == [
        (0.9, 0.25, 1),
        (0.6, 0.75, 3),
    ]
    assert [p.risk for p in found.points] == [0, pytest.approx(1 / 3)]
    assert found.area == pytest.approx((0.25 * 0 + 0.5 / 3) / 0.75)


def test_answering_what_has_no_answer_is_wrong_and_abstaining_is_not(
    curve: Callable[..., RiskCoverage],
) -> None:
    assert curve((0.5, True, False)).points[-1].risk == 1
    silent = curve((None, True, False), (None, False, True))
    assert (silent.points, silent.area, silent.n) == ((), None, 2)


def test_an_answer_without_a_citation_is_the_least_sure(
    curve: Callable[..., RiskCoverage],
) -> None:
    found = curve((0.0, False, True), (0.2, True, True))
    assert [p.threshold for p in found.points] == [0.2, 0.0]
