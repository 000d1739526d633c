"""What the statistics promise, checked on a thousand simulated evaluations each.

Pairs of right/wrong answers are drawn from correlated normal variables, with a part that all
questions about one document share; the true difference is known by construction.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from eval.power import power
from eval.statistics import cluster_bounds, contrast, estimate, sign_flip

SETS = 1000
Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    documents: int
    each: int
    """Questions about a document."""
    shared: float
    """Standard deviation of a document's own difficulty; 0 makes questions independent."""


DESIGNS = (Design(12, 4, 0.7), Design(20, 3, 0.5), Design(40, 1, 0.0), Design(40, 3, 0.7))


def simulate(design: Design, *, base: float, gain: float, seed: int) -> Rows:
    """Return differences of right/wrong answers: (SETS, documents, each), mean `gain`."""
    rng = np.random.default_rng(seed)
    shape = (SETS, design.documents, design.each)
    common = 0.7 * rng.normal(size=shape)
    spread = np.sqrt(1 + design.shared**2)

    def right(share: float) -> Rows:
        own = np.sqrt(1 - 0.7**2) * rng.normal(size=shape)
        document = design.shared * rng.normal(size=(SETS, design.documents, 1))
        latent = (common + own + document) / spread
        return (latent < stats.norm.ppf(share)).astype(np.float64)

    return right(base + gain) - right(base)


def counts_of(differences: Rows) -> Rows:
    return np.full(differences.shape[:2], float(differences.shape[2]))


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_the_interval_covers_the_truth_as_often_as_it_says(design: Design) -> None:
    differences = simulate(design, base=0.4, gain=0.15, seed=11)
    found = cluster_bounds(differences.sum(axis=2), counts_of(differences), seed=1, resamples=999)
    covered = np.mean((found.low <= 0.15) & (found.high >= 0.15))
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize(("n", "share"), [(30, 0.2), (60, 0.5), (112, 0.8)])
def test_the_interval_of_a_share_of_unrelated_questions_covers_it(n: int, share: float) -> None:
    right = np.random.default_rng(23).binomial(n, share, size=SETS)
    found = {
        int(k): estimate({f"q{i}": float(i < k) for i in range(n)}, seed=1)
        for k in np.unique(right)
    }
    covered = [(e.low or 0.0) <= share <= (e.high or 0.0) for e in (found[int(k)] for k in right)]
    assert 0.93 <= np.mean(covered) <= 0.97


def test_documents_of_unequal_size_are_covered_too() -> None:
    differences = simulate(Design(30, 6, 0.5), base=0.5, gain=0.1, seed=12)
    kept = np.random.default_rng(13).integers(1, 7, size=(SETS, 30, 1)) > np.arange(6)
    found = cluster_bounds(
        (differences * kept).sum(axis=2), kept.sum(axis=2).astype(float), seed=1, resamples=999
    )
    assert 0.93 <= np.mean((found.low <= 0.1) & (found.high >= 0.1)) <= 0.97


def test_treating_clustered_questions_as_independent_would_cover_too_little() -> None:
    differences = simulate(Design(12, 8, 1.0), base=0.4, gain=0.15, seed=14)
    flat = differences.reshape(SETS, -1)
    naive = cluster_bounds(flat, np.ones_like(flat), seed=1, resamples=999)
    assert np.mean((naive.low <= 0.15) & (naive.high >= 0.15)) < 0.9


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_equal_arms_are_called_different_at_most_as_often_as_stated(design: Design) -> None:
    differences = simulate(design, base=0.5, gain=0.0, seed=15)
    p = sign_flip(differences.sum(axis=2), seed=1, resamples=999)
    # 5 % plus what 1,000 sets leave to chance: three standard errors.
    assert np.mean(p < 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / SETS)


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_the_stated_detectable_difference_is_seen_eight_times_in_ten(design: Design) -> None:
    pilot = simulate(design, base=0.45, gain=0.0, seed=16)
    stated = np.median(
        [
            power(contrast(values_of(one), clusters_of(one), seed=1, resamples=199)).detectable
            for one in pilot[:40]
        ]
    )
    differences = simulate(design, base=0.45, gain=float(stated), seed=17)
    seen = np.mean(sign_flip(differences.sum(axis=2), seed=1, resamples=999) < 0.05)
    assert 0.7 <= seen <= 0.9


def test_the_stated_number_of_questions_suffices_for_five_points() -> None:
    pilot = simulate(Design(60, 1, 0.0), base=0.45, gain=0.05, seed=18)
    stated = [power(contrast(values_of(one), seed=1, resamples=199)).needed for one in pilot[:40]]
    needed = int(np.median([n for n in stated if n is not None]))
    differences = simulate(Design(needed, 1, 0.0), base=0.45, gain=0.05, seed=19)[:, :, 0]
    t = differences.mean(axis=1) / (differences.std(axis=1, ddof=1) / np.sqrt(needed))
    assert 0.7 <= np.mean(np.abs(t) > stats.t.ppf(0.975, needed - 1)) <= 0.9


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_the_gate_raises_no_more_false_alarms_than_stated(design: Design) -> None:
    noise = 3 * np.sqrt(0.05 * 0.95 / SETS)
    for gain, most in ((0.0, 0.03), (-0.05, 0.05 + noise)):  # no change; exactly at the margin
        differences = simulate(design, base=0.6, gain=gain, seed=20)
        moved = (differences + 0.05).sum(axis=2)
        p = sign_flip(moved, seed=1, resamples=999, alternative="less")
        assert np.mean(p <= 0.05) <= most


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_the_gate_stops_the_regression_that_it_states(design: Design) -> None:
    pilot = simulate(design, base=0.6, gain=0.0, seed=21)
    found = [
        contrast(values_of(one), clusters_of(one), seed=1, resamples=199) for one in pilot[:40]
    ]
    stated = float(np.median([power(one, one_sided=True).detectable or 0 for one in found]))
    differences = simulate(design, base=0.6, gain=-0.05 - stated, seed=22)
    moved = (differences + 0.05).sum(axis=2)
    stopped = np.mean(sign_flip(moved, seed=1, resamples=999, alternative="less") <= 0.05)
    assert 0.7 <= stopped <= 0.9


def values_of(one: Rows) -> dict[str, float | None]:
    return {f"q{i}": float(v) for i, v in enumerate(one.ravel())}


def clusters_of(one: Rows) -> dict[str, str]:
    return {f"q{i}": f"d{i // one.shape[1]}" for i in range(one.size)}
