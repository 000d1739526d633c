import numpy as np
import pytest
from scipy import stats

from eval.statistics import difference, estimate, factorial

FAST = 999


def by_id(*values: float | None) -> dict[str, float | None]:
    return {f"q{n:03}": value for n, value in enumerate(values)}


def test_a_share_has_wilsons_interval_even_at_none_of_n() -> None:
    found = estimate([0.0] * 20 + [None], seed=1)
    assert (found.mean, found.low, found.n, found.unscored) == (0, 0, 20, 1)
    assert found.high == pytest.approx(0.1611, abs=1e-3)  # published: 0 of 20 -> 0 to 16.1 %


def test_a_mean_of_measures_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=60)
    found = estimate(list(values), seed=3, resamples=FAST)
    direct = stats.bootstrap(
        (values,), np.mean, n_resamples=FAST, method="BCa", rng=np.random.default_rng(3)
    ).confidence_interval
    assert (found.low, found.high) == (direct.low, direct.high)
    t = stats.ttest_1samp(values, 0).confidence_interval()
    assert found.low == pytest.approx(t.low, abs=0.12)
    assert found.high == pytest.approx(t.high, abs=0.12)


def test_nothing_scored_is_not_zero() -> None:
    found = estimate([None, None], seed=0)
    assert (found.mean, found.low, found.n, found.unscored) == (None, None, 0, 2)
    assert not found.seen


def test_a_difference_counts_only_questions_that_both_scored() -> None:
    a, b = by_id(1, 1, None, 0, 1), by_id(0, 1, 0, None, 0)
    found = difference(a, b, seed=1, resamples=FAST)
    assert found.mean == pytest.approx(2 / 3)
    assert (found.n, found.unscored) == (3, 2)


def test_no_common_question_gives_a_reason_and_no_number() -> None:
    found = difference({"a": 1.0}, {"b": 0.0}, seed=1)
    assert (found.mean, found.n, found.unscored) == (None, 0, 2)
    assert found.why == "no question was scored on both sides"


def test_one_question_gives_no_interval() -> None:
    found = difference(by_id(1), by_id(0), seed=1)
    assert (found.mean, found.low, found.why) == (1, None, "one question gives no interval")
    assert not found.seen


def test_identical_arms_show_no_difference() -> None:
    found = difference(by_id(1, 0, 1), by_id(1, 0, 1), seed=1)
    assert (found.mean, found.low, found.p, found.seen) == (0, None, 1, False)


def test_always_better_is_seen_although_there_is_no_interval() -> None:
    found = difference(by_id(*[1.0] * 12), by_id(*[0.0] * 12), seed=1)
    assert (found.mean, found.low) == (1, None)
    assert found.p == pytest.approx(stats.binomtest(12, 12).pvalue)
    assert found.seen


def test_the_test_of_right_and_wrong_is_mcnemars() -> None:
    a, b = by_id(*[1] * 9, *[0] * 3, *[1] * 8), by_id(*[0] * 9, *[1] * 3, *[1] * 8)
    found = difference(a, b, seed=1, resamples=FAST)
    assert found.p == pytest.approx(stats.binomtest(3, 12).pvalue)


def test_an_interval_does_not_depend_on_what_was_computed_before() -> None:
    rng = np.random.default_rng(5)
    a, b = by_id(*rng.random(30)), by_id(*rng.random(30))
    first = difference(a, b, seed=2, resamples=FAST)
    difference(b, a, seed=2, resamples=FAST)
    assert difference(a, b, seed=2, resamples=FAST) == first


def test_the_interval_of_a_paired_difference_covers_the_truth() -> None:
    rng = np.random.default_rng(11)
    runs, hits, truth = 150, 0, 0.3
    for _ in range(runs):
        b = rng.random(40) < 0.4
        a = np.where(b, rng.random(40) < 0.9, rng.random(40) < (0.7 - 0.36) / 0.6)
        found = difference(by_id(*a.astype(float)), by_id(*b.astype(float)), seed=1, resamples=399)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= truth <= found.high
    assert 0.89 <= hits / runs <= 0.99


def test_the_two_by_two_separates_main_effects_from_the_interaction() -> None:
    base, rag = by_id(*[0.0] * 10), by_id(*[0.2] * 10)
    finetuned, combined = by_id(*[0.1] * 10), by_id(*[0.9] * 9, None)
    found = factorial(base, rag, finetuned, combined, seed=1, resamples=FAST)
    assert found.retrieval.mean == pytest.approx(0.5)
    assert found.tuning.mean == pytest.approx(0.4)
    assert found.interaction.mean == pytest.approx(0.6)
    assert (found.interaction.n, found.interaction.unscored) == (9, 1)
