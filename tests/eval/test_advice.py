from collections.abc import Mapping
from dataclasses import replace

import pytest

from eval.advice import Advice, advise, worth
from eval.power import power
from eval.statistics import Estimate, difference
from eval.summary import Comparison, Summary

MODES = {mode: mode for mode in ("base", "rag", "finetuned", "combined")}
UNTUNED = ("rag", "rag_schema")


def gap(mean: float, low: float, high: float) -> Estimate:
    seen = low > 0 or high < 0
    return Estimate(mean, low, high, 40, 0, p=0.001 if seen else 0.5, clusters=40, error=0.07)


YES = gap(0.3, 0.2, 0.4)
NO = gap(0.0, -0.04, 0.04)
WORSE = gap(-0.3, -0.4, -0.2)
UNCLEAR = gap(0.05, -0.1, 0.2)
SAME = {n: {f"q{i}": float(i % 2) for i in range(n)} for n in (7, 8)}
Pairs = Mapping[tuple[str, str], Estimate]


def summary(pairs: Pairs, metric: str = "grounded", failed: int = 0) -> Summary:
    share = Estimate(0.5, 0.4, 0.6, 40, 0)
    return Summary(
        arms=(*MODES, "rag_schema"),
        modes=MODES,
        untuned=UNTUNED,
        slices={"all": 40},
        clusters={"all": 40},
        headline="all",
        means={
            "all": {arm: dict.fromkeys(("facts", "format", "grounded"), share) for arm in MODES}
        },
        by_tag={},
        comparisons=tuple(
            Comparison("all", name, a, b, found, "planned", power(found))
            for name, a, b, found in (
                *((metric, a, b, found) for (a, b), found in pairs.items()),
                ("facts", "rag", "base", gap(0.41, 0.3, 0.5)),
                ("format", "finetuned", "base", gap(0.37, 0.3, 0.5)),
            )
        ),
        factorials={},
        abstention={},
        risk={},
        costs={},
        failed={"rag": failed},
    )


def advised(
    retrieval: Estimate,
    tuning: Estimate,
    rag: Estimate = YES,
    finetuned: Estimate = YES,
    rival: Estimate = YES,
) -> Advice:
    return advise(
        summary(
            {
                ("combined", "finetuned"): retrieval,
                ("combined", "rag"): tuning,
                ("rag", "base"): rag,
                ("finetuned", "base"): finetuned,
                ("combined", "rag_schema"): rival,
            }
        )
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (YES, "yes"),
        (WORSE, "no"),
        (NO, "no"),
        (UNCLEAR, "unclear"),
        (difference({"a": 1.0}, {"a": 0.0}, seed=1), "unclear"),  # one question
        (difference(SAME[8], SAME[8], seed=1), "no"),
        (difference(SAME[7], SAME[7], seed=1), "unclear"),
        (replace(NO, clusters=7), "unclear"),
        (difference({"a": None}, {"a": None}, seed=1), "unclear"),
    ],
    ids=[
        "gain",
        "loss",
        "too small to matter",
        "wide",
        "one question",
        "identical",
        "identical in few documents",
        "small in few documents",
        "nothing",
    ],
)
def test_a_gain_is_worth_it_when_seen_and_not_when_it_must_be_small(
    found: Estimate, expected: str
) -> None:
    assert worth(found) == expected


@pytest.mark.parametrize(
    ("retrieval", "tuning", "choice"),
    [
        (YES, YES, "both"),
        (YES, NO, "retrieve"),
        (YES, WORSE, "retrieve"),
        (YES, UNCLEAR, "retrieve"),
        (NO, YES, "tune"),
        (UNCLEAR, YES, "tune"),
        (UNCLEAR, UNCLEAR, "unclear"),
        (NO, UNCLEAR, "unclear"),
        (UNCLEAR, NO, "unclear"),
    ],
)
def test_each_step_is_advised_when_it_adds_to_the_other(
    retrieval: Estimate, tuning: Estimate, choice: str
) -> None:
    assert advised(retrieval, tuning).choice == choice


@pytest.mark.parametrize(
    ("rag", "finetuned", "choice"),
    [
        (YES, YES, "retrieve"),
        (NO, YES, "tune"),
        (NO, NO, "neither"),
        (WORSE, WORSE, "neither"),
        (NO, UNCLEAR, "unclear"),
        (UNCLEAR, NO, "unclear"),
    ],
)
def test_where_neither_adds_to_the_other_one_may_be_enough(
    rag: Estimate, finetuned: Estimate, choice: str
) -> None:
    assert advised(NO, NO, rag, finetuned).choice == choice


def test_an_untuned_rival_that_is_as_good_makes_tuning_needless() -> None:
    found = advised(YES, YES, rival=NO)
    assert (found.choice, found.title) == ("retrieve", "For this data: retrieval, as in rag_schema")
    assert "needs no training and is not behind combined" in " ".join(found.reasons)


def test_an_untuned_rival_that_may_be_as_good_is_named() -> None:
    found = advised(YES, YES, rival=UNCLEAR)
    assert found.choice == "both"
    assert "Whether rag_schema, which needs no training" in found.reasons[-1]


def test_the_reasons_are_plain_words_with_their_uncertainty() -> None:
    first, second = advised(YES, YES).reasons
    assert first == (
        "Retrieval adds 41 points of correct facts; tuning adds 37 points of valid format; "
        "together, 50 % of the answers are grounded (base: 50 %)."
    )
    assert "retrieval adds +30 points (95 % interval +20 to +40, n = 40)" in second


def test_what_a_part_does_alone_is_called_that_where_it_is_not_seen() -> None:
    steps = {("combined", "finetuned"): YES, ("combined", "rag"): YES}
    steps |= {("rag", "base"): YES, ("finetuned", "base"): YES}
    plain = summary(steps)
    alone = [
        replace(c, difference=UNCLEAR) if (c.metric, c.arm) == ("facts", "rag") else c
        for c in plain.comparisons
    ]
    found = advise(replace(plain, comparisons=tuple(alone)))
    assert found.choice == "both"
    assert found.reasons[0].startswith(
        "Each by itself, retrieval shows no difference in correct facts beyond the noise; tuning "
        "adds 37 points of valid format; together"
    )


def test_what_would_change_the_advice_names_the_questions_it_takes() -> None:
    changes = " ".join(advised(UNCLEAR, YES).changes)
    assert "What retrieval adds to grounded answers is inside the noise" in changes
    assert "To see a difference of 5 points you need about" in changes
    assert "About tuning, this run sees differences of" in changes


def test_too_few_groups_of_documents_are_named() -> None:
    few = replace(UNCLEAR, clusters=5)
    assert "about 5 groups of documents" in " ".join(advised(few, few).changes)
    assert "groups of documents, and" not in " ".join(advised(UNCLEAR, YES).changes)


def test_too_many_failed_answers_leave_everything_unclear() -> None:
    found = advise(summary({("combined", "rag"): YES, ("finetuned", "base"): YES}, failed=5))
    assert found.choice == "unclear"
    assert "5 of 40 answers of rag failed" in found.reasons[0]


def test_without_a_format_the_facts_decide() -> None:
    pairs = {
        ("combined", "finetuned"): YES,
        ("combined", "rag"): NO,
        ("finetuned", "base"): NO,
        ("rag", "base"): YES,
    }
    found = advise(summary(pairs, metric="facts"))
    assert found.choice == "retrieve"
    assert "answers with every key fact" in found.reasons[1]


def test_a_run_without_the_four_arms_says_what_is_missing() -> None:
    found = advise(replace(summary({}), modes={"rag": "rag"}))
    assert found.choice == "unclear"
    assert "lacks one of the arms" in found.reasons[0]
    assert advise(summary({})).choice == "unclear"


def test_where_the_headline_does_not_tell_all_questions_are_heard_as_well() -> None:
    pairs = {
        ("combined", "finetuned"): UNCLEAR,
        ("combined", "rag"): UNCLEAR,
        ("rag", "base"): YES,
        ("finetuned", "base"): YES,
    }
    few = summary(pairs)
    heldout = tuple(replace(c, slice="heldout") for c in few.comparisons)
    whole = {("combined", "finetuned"): YES, ("combined", "rag"): YES}
    both = replace(
        few,
        headline="heldout",
        slices={"all": 40, "heldout": 19},
        means={"heldout": few.means["all"]},
        comparisons=heldout + summary(pairs | whole).comparisons,
    )
    advice = advise(both)
    assert advice.choice == "unclear"
    assert "Over all 40 questions" in advice.reasons[-1]
    assert "retrieval adds +30 points" in advice.reasons[-1]
    still = replace(both, comparisons=heldout + few.comparisons)
    assert "Over all" not in " ".join(advise(still).reasons)


def test_what_gains_only_on_top_of_an_unclear_step_is_not_advised_alone() -> None:
    assert advised(UNCLEAR, YES, finetuned=UNCLEAR).choice == "unclear"
    assert advised(YES, UNCLEAR, rag=UNCLEAR).choice == "unclear"
    assert advised(UNCLEAR, YES, finetuned=YES).choice == "tune"
    assert advised(NO, YES, finetuned=UNCLEAR).choice == "tune"
