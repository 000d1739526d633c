"""Two reports over the same questions: what changed, and whether a gate lets it through."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from eval.gate import Gate, Rule
from eval.past import PastReport, check_same_questions
from eval.power import Power, power
from eval.score import COSTS, METRICS, Metric
from eval.statistics import Estimate, difference, holm, shortfall
from ingest.errors import UsageError

WORST = 10
WORST_BY = ("grounded", "facts", "abstention", "format", "similarity")
"""A question's change is that of the first of these that both reports scored."""


@dataclass(frozen=True, slots=True)
class Change:
    """One arm and metric in both reports."""

    arm: str
    metric: str
    before: float | None
    after: float | None
    """Means over the questions that both scored."""
    difference: Estimate
    """After minus before; p adjusted over all changes."""
    words: str
    """`better`, `worse`, or `no difference seen`."""
    power: Power


@dataclass(frozen=True, slots=True)
class Worse:
    """One answer that got worse."""

    question_id: str
    question: str
    arm: str
    metric: str
    drop: float
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """One rule of a gate, decided."""

    arm: str
    metric: str
    margin: float
    difference: Estimate
    """After minus before."""
    p: float | None
    """Of the regression being no larger than the margin, adjusted over the rules."""
    detectable: float | None
    """The regression that this rule would stop 8 times in 10, on its own, margin included."""
    passed: bool
    why: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that `eval compare` says."""

    a: str
    b: str
    questions: int
    changes: tuple[Change, ...]
    worst: tuple[Worse, ...]
    judgements: tuple[Judgement, ...]
    """Empty without a gate."""

    @property
    def passed(self) -> bool:
        """Whether every rule let it through."""
        return all(judgement.passed for judgement in self.judgements)

    def body(self) -> dict[str, Any]:
        """Return what `--json` prints; `passed` is there only where a gate was asked."""
        body = asdict(self)
        return body | {"passed": self.passed} if self.judgements else body


def compare(
    a: PastReport, b: PastReport, gate: Gate | None, *, seed: int = 0, resamples: int = 9999
) -> Comparison:
    """Compare `b`, the new report, with `a`, paired by question.

    Raises:
        UsageError: they asked different questions, have no arm in common, or the gate has a rule
            that the two cannot decide.
    """
    check_same_questions(a, b)
    arms = [arm for arm in a.arms if arm in b.arms]
    if not arms:
        raise UsageError(
            f"{a.folder.name} and {b.folder.name} have no arm in common: "
            f"{', '.join(a.arms)} against {', '.join(b.arms)}.",
            hint="Give the arms that are to be compared the same name in both recipes.",
        )
    both = a.metrics() & b.metrics()
    metrics = [m for m in (*METRICS, *COSTS) if m.name in both]
    found = [(arm, metric) for arm in arms for metric in metrics]
    gaps = holm([_gap(a, b, arm, m.name, seed, resamples) for arm, m in found])
    return Comparison(
        a=str(a.folder),
        b=str(b.folder),
        questions=len(a.questions),
        changes=tuple(
            _change(a, b, arm, metric, gap)
            for (arm, metric), gap in zip(found, gaps, strict=True)
            if gap.n
        ),
        worst=tuple(_worst(a, b, arms)),
        judgements=() if gate is None else _judge(a, b, gate, arms, seed, resamples),
    )


def _gap(
    a: PastReport, b: PastReport, arm: str, metric: str, seed: int, resamples: int
) -> Estimate:
    return difference(
        b.values(arm, metric), a.values(arm, metric), a.clusters, seed=seed, resamples=resamples
    )


def _change(a: PastReport, b: PastReport, arm: str, metric: Metric, gap: Estimate) -> Change:
    before, after = a.values(arm, metric.name), b.values(arm, metric.name)
    shared = [(x, y) for i, x in before.items() if x is not None and (y := after[i]) is not None]
    words = "no difference seen"
    if gap.seen and gap.mean is not None:
        words = "better" if (gap.mean > 0) == (metric.better == "high") else "worse"
    return Change(
        arm=arm,
        metric=metric.name,
        before=sum(x for x, _ in shared) / len(shared),
        after=sum(y for _, y in shared) / len(shared),
        difference=gap,
        words=words,
        power=power(gap),
    )


def _worst(a: PastReport, b: PastReport, arms: Sequence[str]) -> list[Worse]:
    """Return the answers that lost most, the largest loss first, at most `WORST`."""
    found: list[Worse] = []
    for arm in arms:
        for i, row in a.questions.items():
            for metric in WORST_BY:
                before = a.scores.get((arm, i), {}).get(metric)
                after = b.scores.get((arm, i), {}).get(metric)
                if before is None or after is None:
                    continue
                if after < before:
                    said = a.answers[arm, i], b.answers[arm, i]
                    found.append(Worse(i, row["question"], arm, metric, before - after, *said))
                break
    rank = {metric: n for n, metric in enumerate(WORST_BY)}
    return sorted(found, key=lambda w: (-w.drop, rank[w.metric], w.question_id, w.arm))[:WORST]


def _judge(
    a: PastReport,
    b: PastReport,
    gate: Gate,
    arms: Sequence[str],
    seed: int,
    resamples: int,
) -> tuple[Judgement, ...]:
    missing = sorted({rule.arm for rule in gate.rule} - set(arms))
    if missing:
        raise UsageError(
            f"The gate has rules for {', '.join(missing)}, and both reports have only: "
            f"{', '.join(arms)}.",
            hint="Run those arms in both, or take the rules out of the gate.",
        )
    tested = holm([_beyond(a, b, rule, seed, resamples) for rule in gate.rule])
    return tuple(
        _judgement(rule, gate, _gap(a, b, rule.arm, rule.metric, seed, resamples), found)
        for rule, found in zip(gate.rule, tested, strict=True)
    )


def _beyond(a: PastReport, b: PastReport, rule: Rule, seed: int, resamples: int) -> Estimate:
    """Return the gain plus the margin: below zero, the regression is larger than the margin.

    Raises:
        UsageError: no question was scored by both; a gate must not pass on nothing.
    """
    sign = -1 if rule.lower_is_better else 1
    before, after = a.values(rule.arm, rule.metric), b.values(rule.arm, rule.metric)
    moved: dict[str, float | None] = {
        i: None if x is None or (y := after[i]) is None else sign * (y - x) + rule.margin
        for i, x in before.items()
    }
    found = shortfall(moved, a.clusters, seed=seed, resamples=resamples)
    if found.mean is None:
        raise UsageError(
            f"The gate has a rule for {rule.metric} of {rule.arm}, and no question was scored on "
            "it by both reports.",
            hint="Take the rule out, or use a metric that applies to these questions.",
        )
    return found


def _judgement(rule: Rule, gate: Gate, gap: Estimate, beyond: Estimate) -> Judgement:
    beyond_margin = beyond.mean is not None and beyond.mean < 0
    sure = beyond.adjusted is not None and beyond.adjusted <= gate.alpha
    why = "within the margin"
    if beyond_margin:
        why = "worse beyond the margin"
        if not sure:
            why += " in this sample, but inside the noise"
    passed = not (beyond_margin and sure)
    seen = power(gap, alpha=gate.alpha, one_sided=True).detectable
    return Judgement(
        arm=rule.arm,
        metric=rule.metric,
        margin=rule.margin,
        difference=gap,
        p=beyond.adjusted,
        detectable=None if seen is None else rule.margin + seen,
        passed=passed,
        why=why,
    )
