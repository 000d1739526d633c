"""Means, paired differences and the 2x2, each with its uncertainty.

The formulas are those of scipy and statsmodels. What is resampled are *clusters*: questions about
one source document stand and fall together, so they count as one draw and not as many.
"""

import gc
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.extras import require

CONFIDENCE = 0.95
SIGNIFICANT = 1 - CONFIDENCE
Values = Mapping[str, float | None]
"""Question id -> value; None is unscored."""
Clusters = Mapping[str, str]
"""Question id -> name of its cluster; a question that is not in it is a cluster of its own."""
Rows = NDArray[np.float64]
BATCH_CELLS = 2_000_000  # resamples x clusters held in memory at a time: 16 MB
MCNEMAR = "McNemar, exact"
SIGN_FLIP = "sign flip of clusters"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over questions, or over differences of questions, with its 95 % interval."""

    mean: float | None
    """None when nothing was scored."""
    low: float | None
    high: float | None
    """Both None when no interval can be given; `why` says the reason."""
    n: int
    """Questions that count."""
    unscored: int
    """Questions left out because a value is missing."""
    why: str = ""
    p: float | None = None
    """Two-sided, for the mean being zero; None for a plain mean."""
    test: str = ""
    """Where `p` comes from: McNemar's exact test or the sign-flip test of clusters."""
    adjusted: float | None = None
    """`p` after Holm's correction over its family; None outside one."""
    clusters: int = 0
    """Independent groups of questions among the n."""
    error: float | None = None
    """Standard error, from resampling clusters."""

    @property
    def seen(self) -> bool:
        """Whether the value differs from zero beyond chance, its family taken into account."""
        p = self.adjusted if self.adjusted is not None else self.p
        if self.mean is None or (p is not None and p >= SIGNIFICANT):
            return False
        if self.low is not None and self.high is not None:
            return self.low > 0 or self.high < 0
        return self.mean != 0 and p is not None

    @property
    def leaning(self) -> bool:
        """Whether the interval excludes zero and the corrected test does not agree."""
        if self.low is None or self.high is None:
            return False
        return not self.seen and (self.low > 0 or self.high < 0)


@dataclass(frozen=True, slots=True)
class Factorial:
    """What retrieval and tuning add in the 2x2, per question, then averaged."""

    retrieval: Estimate
    """Main effect: (rag + combined) / 2 - (base + finetuned) / 2."""
    tuning: Estimate
    """Main effect: (finetuned + combined) / 2 - (base + rag) / 2."""
    interaction: Estimate
    """(combined - finetuned) - (rag - base): above 0, the two help each other."""


class Bounds(NamedTuple):
    """The ends of an interval; arrays of one number a set."""

    low: Rows
    high: Rows
    error: Rows
    """Standard error of the mean."""


def estimate(
    values: Values, clusters: Clusters | None = None, *, seed: int, resamples: int = 9999
) -> Estimate:
    """Return the mean of `values` with its interval.

    Wilson's interval for right/wrong scores of independent questions (defined for 0 of n and n of n
    too), else the bootstrap. Where all clustered scores are alike, Wilson's for that many clusters.
    """
    scored = {i: v for i, v in values.items() if v is not None}
    unscored = len(values) - len(scored)
    if not scored:
        return Estimate(None, None, None, 0, unscored, "nothing was scored")
    row = np.array(list(scored.values()), dtype=np.float64)
    mean, groups = float(row.mean()), _groups(list(scored), clusters)
    size = int(groups.max()) + 1
    alike = bool(np.ptp(row) == 0)
    if np.isin(row, (0.0, 1.0)).all() and (alike or size == len(row)):
        right = round(mean * size)
        test = require("scipy.stats", extra="eval").binomtest(right, size)
        interval = test.proportion_ci(confidence_level=CONFIDENCE, method="wilson")
        low, high = float(interval.low), float(interval.high)
        error = None if alike else float(row.std(ddof=1)) / math.sqrt(size)
        return Estimate(mean, low, high, len(row), unscored, clusters=size, error=error)
    return replace(
        _with_interval(row, groups, seed, resamples), unscored=unscored, n=len(row), mean=mean
    )


def difference(
    a: Values,
    b: Values,
    clusters: Clusters | None = None,
    *,
    seed: int,
    resamples: int = 9999,
) -> Estimate:
    """Return the mean of `a - b` over the questions that both scored, with interval and test."""
    ids = sorted(a.keys() | b.keys())
    return contrast(
        {i: _sum((a.get(i), 1), (b.get(i), -1)) for i in ids}, clusters, seed, resamples
    )


def factorial(
    base: Values,
    rag: Values,
    finetuned: Values,
    combined: Values,
    *,
    clusters: Clusters | None = None,
    seed: int,
    resamples: int,
) -> Factorial:
    """Return both main effects and the interaction, over the questions that all four scored."""
    ids = sorted(base.keys() | rag.keys() | finetuned.keys() | combined.keys())

    def of(b: float, r: float, f: float, c: float) -> Estimate:
        arms = ((base, b), (rag, r), (finetuned, f), (combined, c))
        rows = {i: _sum(*((arm.get(i), weight) for arm, weight in arms)) for i in ids}
        return contrast(rows, clusters, seed, resamples)

    return Factorial(
        retrieval=of(-0.5, 0.5, -0.5, 0.5),
        tuning=of(-0.5, -0.5, 0.5, 0.5),
        interaction=of(1, -1, -1, 1),
    )


def contrast(
    values: Values, clusters: Clusters | None = None, seed: int = 0, resamples: int = 9999
) -> Estimate:
    """Return the mean of per-question differences, its interval, and a test of it being zero.

    The test flips the signs of whole clusters, which is exact where a cluster is as likely to
    speak for one side as for the other. For right/wrong scores of independent questions that is
    McNemar's exact test, and statsmodels computes it.
    """
    scored = {i: v for i, v in values.items() if v is not None}
    unscored = len(values) - len(scored)
    if not scored:
        return Estimate(None, None, None, 0, unscored, "no question was scored on both sides")
    row = np.array(list(scored.values()), dtype=np.float64)
    groups = _groups(list(scored), clusters)
    found = replace(
        _with_interval(row, groups, seed, resamples), mean=float(row.mean()), unscored=unscored
    )
    if found.clusters == len(row) and np.isin(row, (-1.0, 0.0, 1.0)).all():
        return replace(found, n=len(row), p=_mcnemar(row), test=MCNEMAR)
    sums = np.bincount(groups, weights=row).astype(np.float64)  # (clusters,)
    p = float(sign_flip(sums[None], seed=seed, resamples=resamples)[0])
    return replace(found, n=len(row), p=p, test=SIGN_FLIP)


def shortfall(
    values: Values, clusters: Clusters | None = None, *, seed: int, resamples: int = 9999
) -> Estimate:
    """Return the mean of `values` with the one-sided p of it being zero or more; no interval.

    The sign-flip test of clusters again: small p, hardly zero or more.
    """
    scored = {i: v for i, v in values.items() if v is not None}
    unscored = len(values) - len(scored)
    if not scored:
        return Estimate(None, None, None, 0, unscored, "no question was scored on both sides")
    row = np.array(list(scored.values()), dtype=np.float64)
    sums = np.bincount(_groups(list(scored), clusters), weights=row).astype(np.float64)
    p = float(sign_flip(sums[None], seed=seed, resamples=resamples, alternative="less")[0])
    return Estimate(
        float(row.mean()), None, None, len(row), unscored, p=p, test=SIGN_FLIP, clusters=len(sums)
    )


def holm(found: Sequence[Estimate]) -> list[Estimate]:
    """Return the estimates of one family, in their order, with Holm's adjusted p."""
    tested = [e.p for e in found if e.p is not None]
    if not tested:
        return list(found)
    tests = require("statsmodels.stats.multitest", extra="eval").multipletests
    gc.freeze()  # statsmodels collects all garbage here, half a second in a process full of models
    try:
        adjusted = iter(tests(tested, alpha=SIGNIFICANT, method="holm")[1])
    finally:
        gc.unfreeze()
    return [e if e.p is None else replace(e, adjusted=float(next(adjusted))) for e in found]


def cluster_bounds(
    sums: Rows,
    counts: Rows,
    *,
    seed: int,
    resamples: int,
    confidence: float = CONFIDENCE,
) -> Bounds:
    """Return the interval of `sums.sum() / counts.sum()` for each set; NaN where it is undefined.

    Args:
        sums: per cluster, shape (sets, clusters): the sum of its values.
        counts: the number of its values, of the same shape.
        seed: of the resampling; the same clusters are drawn in every set.
        resamples: draws.
        confidence: two-sided.

    The BCa bootstrap of scipy over clusters. Resampling g clusters gives intervals that are too
    short by sqrt((g-1)/g) and by normal instead of Student's quantiles; the level is raised by as
    much (Hesterberg 2015, "What Teachers Should Know About the Bootstrap", section 5.3).
    """
    stats = require("scipy.stats", extra="eval")
    g = sums.shape[-1]
    reach = stats.t.ppf((1 + confidence) / 2, g - 1) * math.sqrt(g / (g - 1))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        result = stats.bootstrap(
            (sums, counts),
            _ratio,
            paired=True,
            vectorized=True,
            axis=-1,
            n_resamples=resamples,
            batch=max(1, BATCH_CELLS // sums.size),
            confidence_level=1 - 2 * float(stats.norm.sf(reach)),
            method="BCa",
            # A fresh generator each time: what was asked before must not change an answer.
            rng=np.random.default_rng(seed),
        )
    low, high = result.confidence_interval
    return Bounds(low, high, result.standard_error)


def sign_flip(
    sums: Rows, *, seed: int, resamples: int, alternative: str = "two-sided"
) -> NDArray[np.float64]:
    """Return, for each set of cluster sums (sets, clusters), the p of their mean being zero.

    `alternative` `less` tests for a mean below zero. Few clusters are enumerated, not drawn.
    """
    kept = sums[:, np.any(sums != 0, axis=0)]  # a sum of zero is the same with either sign
    if not kept.size:
        return np.ones(len(sums))
    if kept.shape[1] == 1:  # scipy wants two observations, and a zero adds nothing
        kept = np.pad(kept, ((0, 0), (0, 1)))
    result = require("scipy.stats", extra="eval").permutation_test(
        (kept,),
        lambda x, axis: x.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        axis=-1,
        n_resamples=resamples,
        batch=max(1, BATCH_CELLS // kept.size),
        alternative=alternative,
        rng=np.random.default_rng(seed),
    )
    return np.asarray(result.pvalue, dtype=np.float64)


def _ratio(sums: Rows, counts: Rows, axis: int = -1) -> Rows:
    total: Rows = sums.sum(axis=axis) / counts.sum(axis=axis)
    return total


def _with_interval(row: Rows, groups: NDArray[np.int64], seed: int, resamples: int) -> Estimate:
    """Return an estimate that holds interval, error and number of clusters."""
    size = int(groups.max()) + 1
    empty = Estimate(None, None, None, len(row), 0, clusters=size)
    if len(row) < 2:
        return replace(empty, why="one question gives no interval")
    if np.ptp(row) == 0:
        return replace(empty, why="every question gave the same value")
    if size < 2:
        return replace(empty, why="all questions are about one document")
    sums = np.bincount(groups, weights=row).astype(np.float64)[None]
    counts = np.bincount(groups).astype(np.float64)[None]
    found = cluster_bounds(sums, counts, seed=seed, resamples=resamples)
    low, high, error = float(found.low[0]), float(found.high[0]), float(found.error[0])
    if not (math.isfinite(low) and math.isfinite(high)):
        return replace(empty, why="the bootstrap is undefined for these values")
    return replace(empty, low=low, high=high, error=error)


def _groups(ids: Sequence[str], clusters: Clusters | None) -> NDArray[np.int64]:
    """Return the number of each question's cluster, counted from 0."""
    names = [i if clusters is None else clusters.get(i, i) for i in ids]
    return np.unique(names, return_inverse=True)[1]


def _sum(*terms: tuple[float | None, float]) -> float | None:
    total = 0.0
    for value, weight in terms:
        if value is None:
            return None
        total += weight * value
    return total


def _mcnemar(differences: Rows) -> float:
    up, down = int((differences > 0).sum()), int((differences < 0).sum())
    if up + down == 0:
        return 1.0
    test = require("statsmodels.stats.contingency_tables", extra="eval").mcnemar
    return float(test([[0, up], [down, 0]], exact=True).pvalue)
