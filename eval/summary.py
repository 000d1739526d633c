"""Scores -> tables: means, paired differences, the 2x2, abstention and cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from eval.outcome import Outcome
from eval.power import Power, power
from eval.question import Question, clusters_of
from eval.recipe import Arm, by_mode
from eval.risk import RiskCoverage, risk_coverage
from eval.score import COSTS, METRICS, Score
from eval.statistics import (
    Clusters,
    Estimate,
    Factorial,
    Values,
    difference,
    estimate,
    factorial,
    holm,
)

COMPARED = ("grounded", "facts", "format", "abstention")
"""Metrics on which arms are compared on all questions, and on the headline slice."""
DESCRIBED = (
    "fact_share",
    "similarity",
    "rouge",
    "chrf",
    "terms",
    "recall",
    "ndcg",
    "citation_precision",
    "citation_recall",
)
"""Metrics on which the same arms are compared on the headline slice alone."""
TAGGED = ("grounded", "facts", "format", "abstention")
MOST_TAGS = 20
MEAN_RESAMPLES = 1999
"""The interval of a mean is looked at, not decided by: fewer draws, for hundreds of cells."""
PLANNED = (
    ("facts", "rag", "base"),
    ("format", "finetuned", "base"),
    ("grounded", "combined", "rag"),
    ("grounded", "combined", "finetuned"),
)
"""Metric, mode, mode: the comparisons that the verdict reads. They are a family of their own, so
that looking at many other pairs does not make them harder to see."""
ALL = "all"
HELDOUT = "heldout"
SLICE_TITLES = {
    ALL: "All questions",
    HELDOUT: "Documents that no training ticket touches",
    "seen": "Documents that tickets touch, other facts",
    "superseded": "A newer revision replaces the fact",
    "two-documents": "The answer stands in two documents",
    "unanswerable": "The documents do not say",
    "style": "Nothing to look up: style only",
    "other": "Other questions",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One arm against another, paired by question."""

    slice: str
    metric: str
    arm: str
    against: str
    difference: Estimate
    """`arm` minus `against`; its p is adjusted within the family."""
    family: str
    """`planned`: named in `PLANNED`; any other pair is in the family of its metric."""
    power: Power
    """What a comparison of this size and spread can see."""


@dataclass(frozen=True, slots=True)
class Abstention:
    """How well an arm knows what it cannot know."""

    precision: Estimate
    """Of the answers that abstained, the share that should have."""
    recall: Estimate
    """Of the unanswerable questions, the share that the arm abstained on."""
    abstained: int
    unanswerable: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What an answer takes; None when nothing was measured."""

    mean: float | None
    p50: float | None
    p95: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Summary:
    """All numbers of a report."""

    arms: tuple[str, ...]
    modes: Mapping[str, str]
    """Mode -> the plain arm of that mode."""
    untuned: tuple[str, ...]
    """Arms that retrieve and need no training."""
    slices: Mapping[str, int]
    """Slice -> number of questions; `all` first."""
    clusters: Mapping[str, int]
    """Slice -> independent groups of questions: those that share no document."""
    headline: str
    """The slice that the verdict reads: `heldout` where the questions have it, else `all`."""
    means: Mapping[str, Mapping[str, Mapping[str, Estimate]]]
    """Slice -> arm -> metric."""
    by_tag: Mapping[str, Mapping[str, Mapping[str, Estimate]]]
    """Tag -> arm -> metric, on `TAGGED`; the most frequent tags of two questions or more."""
    comparisons: tuple[Comparison, ...]
    factorials: Mapping[str, Mapping[str, Factorial]]
    """Slice -> metric; empty when one of the four arms is missing."""
    abstention: Mapping[str, Abstention]
    risk: Mapping[str, RiskCoverage]
    """Arm -> risk against coverage."""
    costs: Mapping[str, Mapping[str, Cost]]
    failed: Mapping[str, int]

    def compare(self, metric: str, arm: str, against: str, slice_: str = "") -> Estimate | None:
        """Return `arm` minus `against`, or None when the two were not compared."""
        wanted = slice_ or self.headline
        for c in self.comparisons:
            if c.slice == wanted and c.metric == metric and {c.arm, c.against} == {arm, against}:
                return c.difference if c.arm == arm else flipped(c.difference)
        return None


class Table:
    """Scores by arm, metric and question."""

    def __init__(self, outcomes: Sequence[Outcome], cards: Sequence[Mapping[str, Score]]) -> None:
        self._cards: dict[tuple[str, str], list[Mapping[str, Score]]] = {}
        for outcome, card in zip(outcomes, cards, strict=True):
            self._cards.setdefault((outcome.arm, outcome.question_id), []).append(card)

    def values(self, arm: str, metric: str, ids: Sequence[str]) -> Values:
        """Return question id -> value, the mean over repeated answers; None is unscored."""
        return {i: self._value(self._cards[arm, i], metric) for i in ids}

    @staticmethod
    def _value(cards: Sequence[Mapping[str, Score]], metric: str) -> float | None:
        scored = [v for card in cards if (v := card[metric].value) is not None]
        return sum(scored) / len(scored) if scored else None


def flipped(estimate: Estimate) -> Estimate:
    """Return the same difference, seen from the other arm."""

    def minus(value: float | None) -> float | None:
        return None if value is None else -value

    return replace(
        estimate, mean=minus(estimate.mean), low=minus(estimate.high), high=minus(estimate.low)
    )


def summarise(
    questions: Sequence[Question],
    arms: Sequence[Arm],
    outcomes: Sequence[Outcome],
    cards: Sequence[Mapping[str, Score]],
    *,
    seed: int,
    resamples: int,
) -> Summary:
    """Return every number of the report. `cards` are the scores of `outcomes`, in their order."""
    table = Table(outcomes, cards)
    slices = slices_of(questions)
    clusters = clusters_of(questions)
    names = tuple(arm.name for arm in arms)
    modes: dict[str, str] = {mode: arm.name for mode, arm in by_mode(arms).items()}
    headline = HELDOUT if HELDOUT in slices else ALL
    mean_draws = min(resamples, MEAN_RESAMPLES)
    means = {
        slice_: {
            name: {
                m.name: estimate(
                    table.values(name, m.name, ids), clusters, seed=seed, resamples=mean_draws
                )
                for m in METRICS
            }
            for name in names
        }
        for slice_, ids in slices.items()
    }
    compared = list(dict.fromkeys((ALL, headline)))
    draws = Draws(clusters, seed, resamples)
    return Summary(
        arms=names,
        modes=modes,
        untuned=tuple(arm.name for arm in arms if arm.retrieves and not arm.tuned),
        slices={slice_: len(ids) for slice_, ids in slices.items()},
        clusters={s: len({clusters[i] for i in ids}) for s, ids in slices.items()},
        headline=headline,
        means=means,
        by_tag=_by_tag(table, names, questions, draws),
        comparisons=tuple(
            comparison
            for slice_ in compared
            for comparison in _comparisons(
                table, arms, modes, slice_, slices[slice_], draws, described=slice_ == headline
            )
        ),
        factorials=_factorials(table, modes, slices, compared, draws),
        abstention={name: _abstention(name, questions, outcomes, draws) for name in names},
        risk={name: _risk(name, questions, outcomes, cards) for name in names},
        costs={name: _costs(table, name, slices[ALL]) for name in names},
        failed={name: sum(o.arm == name and o.answer is None for o in outcomes) for name in names},
    )


class Draws(NamedTuple):
    """How uncertainty is resampled."""

    clusters: Clusters
    seed: int
    resamples: int


def _comparisons(
    table: Table,
    arms: Sequence[Arm],
    modes: Mapping[str, str],
    slice_: str,
    ids: Sequence[str],
    draws: Draws,
    *,
    described: bool,
) -> list[Comparison]:
    """Return the pairs of interest in a slice, each family with Holm's correction."""
    planned = {(m, frozenset((modes.get(a, ""), modes.get(b, "")))) for m, a, b in PLANNED}
    metrics = (*COMPARED, *DESCRIBED) if described else COMPARED
    wanted = [(metric, *pair) for metric in metrics for pair in pairs_of_interest(arms)]
    found: list[Comparison] = []
    for metric, arm, against in wanted:
        gap = difference(
            table.values(arm, metric, ids),
            table.values(against, metric, ids),
            draws.clusters,
            seed=draws.seed,
            resamples=draws.resamples,
        )
        family = "planned" if (metric, frozenset((arm, against))) in planned else metric
        found.append(Comparison(slice_, metric, arm, against, gap, family, power(gap)))
    adjusted: dict[int, Estimate] = {}
    for family in dict.fromkeys(c.family for c in found):
        places = [n for n, c in enumerate(found) if c.family == family]
        adjusted |= dict(zip(places, holm([found[n].difference for n in places]), strict=True))
    return [replace(c, difference=adjusted[n]) for n, c in enumerate(found)]


def pairs_of_interest(arms: Sequence[Arm]) -> list[tuple[str, str]]:
    """Return each arm against base, each variant against the plain arm, combined against the rest.

    Other pairs are not tested: every test of a family makes the others harder to see.
    """
    names = [arm.name for arm in arms]
    plain = {mode: arm.name for mode, arm in by_mode(arms).items()}
    focus, first = plain.get("combined", names[-1]), plain.get("base", names[0])
    pairs = [(name, first) for name in names if name not in (first, focus)]
    pairs += [(arm.name, plain[arm.mode]) for arm in arms if arm.mode in plain]
    pairs += [(focus, name) for name in names]
    once: dict[frozenset[str], tuple[str, str]] = {}
    for pair in pairs:
        once.setdefault(frozenset(pair), pair)
    return [pair for pair in once.values() if pair[0] != pair[1]]


def _by_tag(
    table: Table, names: Sequence[str], questions: Sequence[Question], draws: Draws
) -> dict[str, dict[str, dict[str, Estimate]]]:
    tags: dict[str, list[str]] = {}
    for question in questions:
        for tag in dict.fromkeys(question.tags):
            tags.setdefault(tag, []).append(question.id)
    often = sorted((t for t in tags if len(tags[t]) > 1), key=lambda t: (-len(tags[t]), t))
    return {
        tag: {
            name: {
                metric: estimate(
                    table.values(name, metric, tags[tag]),
                    draws.clusters,
                    seed=draws.seed,
                    resamples=min(draws.resamples, MEAN_RESAMPLES),
                )
                for metric in TAGGED
            }
            for name in names
        }
        for tag in often[:MOST_TAGS]
    }


def slices_of(questions: Sequence[Question]) -> dict[str, list[str]]:
    """Return slice -> question ids: all, held-out documents, then every other kind.

    A held-out question about two documents stands in both of its slices.
    """
    slices: dict[str, list[str]] = {ALL: [q.id for q in questions]}
    heldout = [q.id for q in questions if q.heldout]
    if heldout:
        slices[HELDOUT] = heldout
    for question in questions:
        if question.kind != HELDOUT:
            slices.setdefault(question.kind, []).append(question.id)
    return slices


def _factorials(
    table: Table,
    modes: Mapping[str, str],
    slices: Mapping[str, Sequence[str]],
    compared: Sequence[str],
    draws: Draws,
) -> dict[str, dict[str, Factorial]]:
    """Return the 2x2 of each slice; the two main effects and the interaction are a family."""
    if len(modes) < 4:
        return {}
    found: dict[str, dict[str, Factorial]] = {}
    for slice_ in compared:
        found[slice_] = {}
        for metric in (*COMPARED, *(m for m in DESCRIBED if slice_ == compared[-1])):
            raw = factorial(
                *(
                    table.values(modes[mode], metric, slices[slice_])
                    for mode in ("base", "rag", "finetuned", "combined")
                ),
                clusters=draws.clusters,
                seed=draws.seed,
                resamples=draws.resamples,
            )
            effects = holm([raw.retrieval, raw.tuning, raw.interaction])
            if metric in COMPARED or raw.interaction.n:  # the documents shown, `base` has none of
                found[slice_][metric] = Factorial(*effects)
    return found


def _abstention(
    arm: str, questions: Sequence[Question], outcomes: Sequence[Outcome], draws: Draws
) -> Abstention:
    answerable = {q.id: q.answerable for q in questions}
    mine = [o for o in outcomes if o.arm == arm]
    abstained: dict[str, list[bool]] = {}
    for o in mine:
        said_so = abstained.setdefault(o.question_id, [])
        if o.answer is not None:
            said_so.append(o.answer.abstained)
    # The first answer decides what an arm said; what it does on average is in the recall.
    said = {i: float(not answerable[i]) for i, each in abstained.items() if any(each[:1])}
    asked = {
        i: sum(each) / len(each) if each else None
        for i, each in abstained.items()
        if not answerable[i]
    }
    return Abstention(
        precision=estimate(said, draws.clusters, seed=draws.seed),
        recall=estimate(asked, draws.clusters, seed=draws.seed),
        abstained=len(said),
        unanswerable=len(asked),
    )


def _risk(
    arm: str,
    questions: Sequence[Question],
    outcomes: Sequence[Outcome],
    cards: Sequence[Mapping[str, Score]],
) -> RiskCoverage:
    mine = [(o, card) for o, card in zip(outcomes, cards, strict=True) if o.arm == arm]
    by_id = {question.id: question for question in questions}
    return risk_coverage(by_id, [o for o, _ in mine], [card for _, card in mine])


def _costs(table: Table, arm: str, ids: Sequence[str]) -> dict[str, Cost]:
    costs = {}
    for metric in COSTS:
        values = [v for v in table.values(arm, metric.name, ids).values() if v is not None]
        if values:
            p50, p95 = (float(p) for p in np.percentile(values, (50, 95)))
            costs[metric.name] = Cost(float(np.mean(values)), p50, p95, len(values))
        else:
            costs[metric.name] = Cost(None, None, None, 0)
    return costs
