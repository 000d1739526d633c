from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from eval.power import power
from eval.statistics import (
    MCNEMAR,
    SIGN_FLIP,
    Estimate,
    cluster_bounds,
    contrast,
    difference,
    estimate,
    factorial,
    holm,
    sign_flip,
)

FAST = 999


def by_id(*values: float | None) -> dict[str, float | None]:
    return {f"q{n:03}": value for n, value in enumerate(values)}


def in_threes(n: int) -> dict[str, str]:
    return {f"q{i:03}": f"document:{i // 3}" for i in range(n)}


def test_a_share_has_wilsons_interval_even_at_none_of_n() -> None:
    found = estimate(by_id(*[0.0] * 20, None), seed=1)
    assert (found.mean, found.low, found.n, found.unscored) == (0, 0, 20, 1)
    assert found.high == pytest.approx(0.1611, abs=1e-3)  # published: 0 of 20 -> 0 to 16.1 %


def test_alike_questions_about_one_document_count_once() -> None:
    found = estimate(by_id(*[1.0] * 60), in_threes(60), seed=1)
    assert (found.mean, found.n, found.clusters) == (1, 60, 20)
    assert found.low == pytest.approx(1 - 0.1611, abs=1e-3)  # as 20 of 20


def test_a_mean_of_measures_is_near_students_interval() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=60)
    found = estimate(by_id(*values), seed=3)
    t = stats.ttest_1samp(values, 0).confidence_interval()
    assert found.low == pytest.approx(t.low, abs=0.12)
    assert found.high == pytest.approx(t.high, abs=0.12)


def test_nothing_scored_is_not_zero() -> None:
    found = estimate(by_id(None, None), seed=0)
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


def test_questions_about_one_document_alone_give_no_interval() -> None:
    found = difference(by_id(1, 1, 0), by_id(0, 1, 0), in_threes(3), seed=1)
    assert (found.low, found.why) == (None, "all questions are about one document")
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
    assert found.test == MCNEMAR
    assert found.p == pytest.approx(stats.binomtest(3, 12).pvalue)


@given(st.lists(st.sampled_from((-1.0, 0.0, 1.0)), min_size=2, max_size=12))
@settings(max_examples=25, deadline=None)
def test_the_sign_flip_test_of_single_questions_is_mcnemars(values: list[float]) -> None:
    up, down = values.count(1.0), values.count(-1.0)
    exact = stats.binomtest(up, up + down).pvalue if up + down else 1.0
    flipped = sign_flip(np.array([values]), seed=1, resamples=9999)[0]
    assert flipped == pytest.approx(exact)


def test_repeating_a_question_about_one_document_proves_nothing_more() -> None:
    values = [n / 8 for n in (3, -1, 2, 1, 4, -2, 1, 3, 2, 1)]
    once = contrast(by_id(*values), seed=1, resamples=FAST)
    thrice = contrast(by_id(*np.repeat(values, 3)), in_threes(30), seed=1, resamples=FAST)
    assert (thrice.n, thrice.clusters, thrice.test) == (30, 10, SIGN_FLIP)
    assert thrice.p == once.p
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high), abs=0.005)


def test_an_interval_does_not_depend_on_what_was_computed_before() -> None:
    rng = np.random.default_rng(5)
    a, b = by_id(*rng.random(30)), by_id(*rng.random(30))
    first = difference(a, b, seed=2, resamples=FAST)
    difference(b, a, seed=2, resamples=FAST)
    assert difference(a, b, seed=2, resamples=FAST) == first


def test_a_family_is_corrected_as_statsmodels_does() -> None:
    rng = np.random.default_rng(3)
    found = [contrast(by_id(*rng.normal(m, 1, 12)), seed=1, resamples=FAST) for m in (0, 0.7, 1)]
    adjusted = holm(found)
    wanted = multipletests([e.p for e in found], method="holm")[1]
    assert [e.adjusted for e in adjusted] == pytest.approx(list(wanted))
    assert [e.mean for e in adjusted] == [e.mean for e in found]


def test_what_is_seen_alone_can_be_noise_among_many() -> None:
    alone = contrast(by_id(*[1.0] * 9, *[0.0] * 20, -1.0), seed=1, resamples=FAST)
    assert alone.seen
    nothing = contrast(by_id(*[1.0] * 5, *[0.0] * 20, *[-1.0] * 5), seed=1, resamples=FAST)
    assert not holm([alone, *[nothing] * 5])[0].seen


def test_an_estimate_without_a_test_takes_no_part_in_a_family() -> None:
    alone = contrast(by_id(1, 1, 0, 1, 1, 1, 1, 1), seed=1, resamples=FAST)
    nothing = difference({"a": None}, {"a": None}, seed=1)
    assert holm([nothing]) == [nothing]
    assert holm([nothing, alone])[1].adjusted == alone.p


def test_the_two_by_two_separates_main_effects_from_the_interaction() -> None:
    base, rag = by_id(*[0.0] * 10), by_id(*[0.2] * 10)
    finetuned, combined = by_id(*[0.1] * 10), by_id(*[0.9] * 9, None)
    found = factorial(base, rag, finetuned, combined, seed=1, resamples=FAST)
    assert found.retrieval.mean == pytest.approx(0.5)
    assert found.tuning.mean == pytest.approx(0.4)
    assert found.interaction.mean == pytest.approx(0.6)
    assert (found.interaction.n, found.interaction.unscored) == (9, 1)


def test_one_set_gets_the_same_bounds_alone_as_among_others() -> None:
    sums = np.random.default_rng(4).normal(size=(3, 25))
    counts = np.random.default_rng(5).integers(1, 4, size=(3, 25)).astype(float)
    together = cluster_bounds(sums, counts, seed=2, resamples=FAST)
    alone = cluster_bounds(sums[1:2], counts[1:2], seed=2, resamples=FAST)
    assert (together.low[1], together.high[1]) == pytest.approx((alone.low[0], alone.high[0]))


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.4])
@pytest.mark.parametrize("clusters", [2, 12, 400])
def test_what_a_run_can_see_is_a_number_however_small_the_spread(
    one_sided: bool, alpha: float, clusters: int
) -> None:
    needed = []
    for spread in (1e-16, *np.geomspace(1e-3, 1, 30), 1000.0):  # of one group
        error = float(spread) / clusters**0.5
        found = Estimate(0.1, 0.0, 0.2, 2 * clusters, 0, clusters=clusters, error=error)
        size = power(found, alpha=alpha, one_sided=one_sided)
        assert size.detectable is not None
        assert size.detectable > 0
        assert size.needed is not None
        needed.append(size.needed)
    # Two figures of a probability that is computed to about as many: one question up or down.
    assert all(a <= b + 1 for a, b in pairwise(needed))
    assert needed[0] == 4  # two groups of two questions


def test_the_number_of_groups_is_that_of_statsmodels_where_its_solver_finds_one() -> None:
    for spread in (0.1, 0.3, 0.5):
        found = Estimate(0.1, 0.0, 0.2, 40, 0, clusters=40, error=spread / 40**0.5)
        theirs = TTestPower().solve_power(effect_size=0.05 / spread, alpha=0.05, power=0.8)
        needed = power(found).needed
        assert needed is not None
        assert theirs <= needed <= 1.1 * theirs + 1  # two figures, rounded up
