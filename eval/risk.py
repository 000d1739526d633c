"""Risk against coverage: how many answers are wrong when only the surest are given.

An answer is as sure as its best citation (the share of the answer's telling words that the cited
passage holds); one without a citation is not sure at all. An abstention is not given at any
threshold. A given answer is wrong when a key fact is missing, or when there was nothing to answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eval.outcome import Outcome
from eval.question import Question
from eval.score import Score


@dataclass(frozen=True, slots=True)
class Point:
    """One threshold."""

    threshold: float
    """Answers at least this sure are given."""
    coverage: float
    """Share of the questions that get an answer, 0 to 1."""
    risk: float
    """Share of the given answers that are wrong, 0 to 1."""
    given: int


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """The curve of one arm."""

    points: tuple[Point, ...]
    """From the surest answers alone to all that were given."""
    area: float | None
    """Mean risk over the coverages reached (AURC; Geifman and El-Yaniv, 2017); lower is better."""
    n: int


def risk_coverage(
    questions: Mapping[str, Question],
    outcomes: Sequence[Outcome],
    cards: Sequence[Mapping[str, Score]],
) -> RiskCoverage:
    """Return the curve of one arm's first answers; those without a key fact to check are left out.

    `cards` are the scores of `outcomes`, in their order.
    """
    rows: list[tuple[float, bool]] = []
    n = 0
    for outcome, card in zip(outcomes, cards, strict=True):
        question = questions[outcome.question_id]
        fact = card["facts"].value
        if outcome.repeat or outcome.answer is None or (question.answerable and fact is None):
            continue
        n += 1
        if not outcome.answer.abstained:
            sure = max((c.score for c in outcome.answer.citations), default=0.0)
            rows.append((sure, not question.answerable or fact != 1))
    if not rows:
        return RiskCoverage((), None, n)
    sureness = np.array([row[0] for row in rows])
    wrong = np.array([float(row[1]) for row in rows])
    points = []
    for threshold in sorted({row[0] for row in rows}, reverse=True):
        given = sureness >= threshold
        count = int(given.sum())
        points.append(Point(threshold, count / n, float(wrong[given].mean()), count))
    weights = np.diff([0.0, *(point.coverage for point in points)])
    area = float(np.average([point.risk for point in points], weights=weights))
    return RiskCoverage(tuple(points), area, n)
