"""Means, paired differences and the 2x2, each with its uncertainty; the formulas are scipy's."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.extras import require

CONFIDENCE = 0.95
SIGNIFICANT = 1 - CONFIDENCE
Values = Mapping[str, float | None]
"""Question id -> value; None is unscored."""


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
    """Exact two-sided sign test (McNemar for right/wrong scores); None for a plain mean."""

    @property
    def seen(self) -> bool:
        """Whether the value differs from zero beyond chance."""
        if self.mean is None:
            return False
        if self.low is not None and self.high is not None:
            return self.low > 0 or self.high < 0
        return self.mean != 0 and self.p is not None and self.p < SIGNIFICANT


@dataclass(frozen=True, slots=True)
class Factorial:
    """What retrieval and tuning add in the 2x2, per question, then averaged."""

    retrieval: Estimate
    """Main effect: (rag + combined) / 2 - (base + finetuned) / 2."""
    tuning: Estimate
    """Main effect: (finetuned + combined) / 2 - (base + rag) / 2."""
    interaction: Estimate
    """(combined - finetuned) - (rag - base): above 0, the two help each other."""


def estimate(values: Sequence[float | None], *, seed: int, resamples: int = 9999) -> Estimate:
    """Return the mean of `values` with its interval.

    Wilson's interval for right/wrong scores (defined for 0 of n and n of n too), else the BCa
    bootstrap.
    """
    scored = np.array([v for v in values if v is not None], dtype=np.float64)
    unscored = len(values) - len(scored)
    if not len(scored):
        return Estimate(None, None, None, 0, unscored, "nothing was scored")
    mean = float(scored.mean())
    if np.isin(scored, (0.0, 1.0)).all():
        stats = require("scipy.stats", extra="eval")
        test = stats.binomtest(int(scored.sum()), len(scored))
        interval = test.proportion_ci(confidence_level=CONFIDENCE, method="wilson")
        return Estimate(mean, float(interval.low), float(interval.high), len(scored), unscored)
    low, high, why = _bootstrap(scored, seed, resamples)
    return Estimate(mean, low, high, len(scored), unscored, why)


def difference(a: Values, b: Values, *, seed: int, resamples: int = 9999) -> Estimate:
    """Return the mean of `a - b` over the questions that both scored, with its interval."""
    ids = sorted(a.keys() | b.keys())
    return _contrast([_minus(a.get(i), b.get(i)) for i in ids], seed, resamples)


def factorial(
    base: Values, rag: Values, finetuned: Values, combined: Values, *, seed: int, resamples: int
) -> Factorial:
    """Return both main effects and the interaction, over the questions that all four scored."""
    ids = sorted(base.keys() | rag.keys() | finetuned.keys() | combined.keys())
    retrieval: list[float | None] = []
    tuning: list[float | None] = []
    interaction: list[float | None] = []
    for i in ids:
        b, r, f, c = base.get(i), rag.get(i), finetuned.get(i), combined.get(i)
        if b is None or r is None or f is None or c is None:
            retrieval.append(None)
            tuning.append(None)
            interaction.append(None)
        else:
            retrieval.append((r + c - b - f) / 2)
            tuning.append((f + c - b - r) / 2)
            interaction.append((c - f) - (r - b))
    return Factorial(
        retrieval=_contrast(retrieval, seed, resamples),
        tuning=_contrast(tuning, seed, resamples),
        interaction=_contrast(interaction, seed, resamples),
    )


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _contrast(values: Sequence[float | None], seed: int, resamples: int) -> Estimate:
    scored = np.array([v for v in values if v is not None], dtype=np.float64)
    unscored = len(values) - len(scored)
    if not len(scored):
        return Estimate(None, None, None, 0, unscored, "no question was scored on both sides")
    low, high, why = _bootstrap(scored, seed, resamples)
    return Estimate(float(scored.mean()), low, high, len(scored), unscored, why, _sign_test(scored))


def _sign_test(differences: NDArray[np.float64]) -> float:
    up, down = int((differences > 0).sum()), int((differences < 0).sum())
    if up + down == 0:
        return 1.0
    return float(require("scipy.stats", extra="eval").binomtest(up, up + down).pvalue)


def _bootstrap(
    values: NDArray[np.float64], seed: int, resamples: int
) -> tuple[float | None, float | None, str]:
    """Return low, high, and the reason when there is no interval."""
    if len(values) < 2:
        return None, None, "one question gives no interval"
    if np.ptp(values) == 0:
        return None, None, "every question gave the same value"
    stats = require("scipy.stats", extra="eval")
    for method in ("BCa", "percentile"):  # BCa is undefined for some tiny samples
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            result = stats.bootstrap(
                (values,),
                np.mean,
                n_resamples=resamples,
                confidence_level=CONFIDENCE,
                method=method,
                # A fresh generator for each interval: the order of the questions asked of this
                # module must not change an answer.
                rng=np.random.default_rng(seed),
            )
        low, high = result.confidence_interval
        if np.isfinite(low) and np.isfinite(high):
            return float(low), float(high), ""
    return None, None, "the bootstrap is undefined for these values"
