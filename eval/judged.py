"""What a judge says of a run: scores with what is missing, comparisons, noise, and its fitness."""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from eval.judge import JUDGED, Judge
from eval.outcome import Outcome
from eval.probe import Agreement, agreement
from eval.question import Question
from eval.recipe import JudgeSettings
from eval.run import Progress
from eval.score import Score
from eval.statistics import Clusters, Estimate, Values, difference, estimate, holm
from ingest.errors import DataError

RIGHT = 0.5
"""A score of at least this is a yes, where it is compared with a human's yes or no."""
Judgements = Mapping[tuple[str, str, str], Score | None]
"""Arm, question id, metric -> score; None where the metric does not apply."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Scores of one arm on one metric."""

    mean: Estimate
    asked: int
    """Answers that the metric applies to."""
    scored: int
    reasons: Mapping[str, int]
    """Why the rest was not scored, and how often."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two arms on one metric, over the questions that every arm has a score for."""

    metric: str
    arm: str
    against: str
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Noise:
    """How much the judge disagrees with itself."""

    mean_change: float | None
    """Mean absolute change of a score that was given twice; None when none was."""
    n: int
    unscored: int
    """Repeats that gave no score."""

    @property
    def sentence(self) -> str:
        """Say how far the judge's scores can be told from its moods."""
        if self.mean_change is None:
            return "No score was given twice, so the judge's noise is unknown."
        gone = f", and {self.unscored} more gave none the second time" if self.unscored else ""
        return (
            f"Scores that were given twice (n = {self.n}) differ by {self.mean_change:.2f} on "
            f"average{gone}."
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """Everything that a report says of its judge."""

    judge: str
    fitness: Agreement
    sentence: str
    """Whether the judge is fit, from its own agreement with the probe pairs."""
    coverage: Mapping[str, Mapping[str, Coverage]]
    """Metric -> arm."""
    pairings: tuple[Pairing, ...]
    refused: Mapping[str, str]
    """Metric -> why its arms are not compared."""
    noise: Noise
    human: Mapping[str, Agreement]
    """Metric -> agreement with human labels; empty without them."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What its noise is, and how it agrees with people on each metric."""
        labels = {metric.name: metric.label for metric in JUDGED}
        people = (
            found.sentence(f"On {labels[metric]} the judge", "human labels")
            for metric, found in self.human.items()
        )
        return (self.noise.sentence, *people)


class Label(NamedTuple):
    """A human's verdict on one answer."""

    arm: str
    question_id: str
    metric: str
    right: bool


async def judge_all(
    judge: Judge,
    settings: JudgeSettings,
    questions: Mapping[str, Question],
    outcomes: Sequence[Outcome],
    progress: Progress,
    *,
    seed: int,
) -> Judgements:
    """Score every first answer on every metric, in an order that is shuffled by `seed`.

    So no arm is judged first, or last, when a server's state or a rate limit drifts.
    """
    work = [(o, metric) for o in outcomes if o.repeat == 0 for metric in settings.metrics]
    work.sort(key=lambda pair: (pair[0].question_id, pair[0].arm, pair[1]))
    random.Random(f"{seed}:judge").shuffle(work)
    found: dict[tuple[str, str, str], Score | None] = {}
    for outcome, metric in work:
        score = None
        if outcome.answer is not None:
            score = await judge.score(metric, questions[outcome.question_id], outcome.answer)
        found[outcome.arm, outcome.question_id, metric] = score
        progress.advance()
    return found


async def noise_of(
    judge: Judge,
    settings: JudgeSettings,
    questions: Mapping[str, Question],
    outcomes: Sequence[Outcome],
    judgements: Judgements,
    *,
    seed: int,
) -> Noise:
    """Judge a sample of what was scored a second time, and return how much changed."""
    answers = {(o.arm, o.question_id): o.answer for o in outcomes if o.repeat == 0}
    scored = {p: s.value for p, s in judgements.items() if s is not None and s.value is not None}
    n = min(len(scored), round(settings.repeat_share * len(scored)) or 1)
    changes: list[float] = []
    drawn = random.Random(f"{seed}:noise").sample(sorted(scored), n if settings.repeat_share else 0)
    for place in drawn:
        arm, question_id, metric = place
        answer = answers[arm, question_id]
        if answer is None:
            continue
        again = await judge.score(metric, questions[question_id], answer, seed=seed + 1)
        if again is not None and again.value is not None:
            changes.append(abs(again.value - scored[place]))
    mean = sum(changes) / len(changes) if changes else None
    return Noise(mean, len(changes), len(drawn) - len(changes))


def summarise_judged(
    judge: str,
    fitness: Agreement,
    settings: JudgeSettings,
    arms: Sequence[str],
    judgements: Judgements,
    noise: Noise,
    labels: Sequence[Label],
    clusters: Clusters,
    *,
    seed: int,
    resamples: int,
) -> Judged:
    """Return what the report shows. A comparison is refused where too many scores are missing."""
    ids = sorted({question_id for _, question_id, _ in judgements})
    coverage: dict[str, dict[str, Coverage]] = {}
    pairings: list[Pairing] = []
    refused: dict[str, str] = {}
    for metric in settings.metrics:
        cards = {arm: {i: judgements[arm, i, metric] for i in ids} for arm in arms}
        coverage[metric] = {
            arm: _coverage(card, clusters, seed, resamples) for arm, card in cards.items()
        }
        applies = [arm for arm in arms if coverage[metric][arm].asked]
        poor = [arm for arm in applies if not _enough(coverage[metric][arm], settings.floor)]
        if poor:
            shares = ", ".join(
                f"{arm} {coverage[metric][arm].scored} of {coverage[metric][arm].asked}"
                for arm in poor
            )
            refused[metric] = f"too few scores ({shares}; the floor is {settings.floor:.0%})"
            continue
        values: dict[str, Values] = {arm: _values(cards[arm]) for arm in applies}
        common = [i for i in ids if all(values[arm].get(i) is not None for arm in applies)]
        if len(applies) < 2 or not common:
            refused[metric] = "no question was scored for two arms"
            continue
        values = {arm: {i: values[arm][i] for i in common} for arm in applies}
        pairs = list(combinations(applies, 2))
        gaps = holm(
            [
                difference(values[b], values[a], clusters, seed=seed, resamples=resamples)
                for a, b in pairs
            ]
        )
        pairings += [Pairing(metric, b, a, gap) for (a, b), gap in zip(pairs, gaps, strict=True)]
    return Judged(
        judge=judge,
        fitness=fitness,
        sentence=fitness.sentence(judge),
        coverage=coverage,
        pairings=tuple(pairings),
        refused=refused,
        noise=noise,
        human=_with_humans(judgements, labels),
    )


def read_labels(path: Path) -> list[Label]:
    """Read human labels.

    Raises:
        DataError: no such file, or bad lines; names all of them.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"The human labels at {path} cannot be read: {why}.") from None
    known = {metric.name for metric in JUDGED}
    labels, problems = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            label = Label(row["arm"], row["question_id"], row["metric"], row["label"])
        except (ValueError, KeyError, TypeError) as error:
            problems.append(f"{path}:{number}: not a label: {error!r}")
            continue
        if label.metric not in known or not isinstance(label.right, bool):
            problems.append(f"{path}:{number}: wanted are a judged metric and true or false")
        labels.append(label)
    if problems:
        raise DataError("\n".join(problems))
    return labels


def _values(card: Mapping[str, Score | None]) -> dict[str, float | None]:
    return {i: score.value for i, score in card.items() if score is not None}


def _coverage(
    card: Mapping[str, Score | None], clusters: Clusters, seed: int, resamples: int
) -> Coverage:
    asked = [score for score in card.values() if score is not None]
    reasons = Counter(score.why for score in asked if score.value is None)
    mean = estimate(_values(card), clusters, seed=seed, resamples=resamples)
    return Coverage(mean, len(asked), mean.n, dict(sorted(reasons.items())))


def _enough(coverage: Coverage, floor: float) -> bool:
    return coverage.scored >= floor * coverage.asked


def _with_humans(judgements: Judgements, labels: Sequence[Label]) -> dict[str, Agreement]:
    found: dict[str, Agreement] = {}
    for metric in dict.fromkeys(label.metric for label in labels):
        rated = [
            (label.right, judgements.get((label.arm, label.question_id, metric)))
            for label in labels
            if label.metric == metric
        ]
        both = [(right, s.value >= RIGHT) for right, s in rated if s and s.value is not None]
        found[metric] = agreement(
            [human for human, _ in both],
            [machine for _, machine in both],
            unscored=len(rated) - len(both),
        )
    return found
