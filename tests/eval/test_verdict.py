from collections.abc import Mapping

import pytest

from eval.power import power
from eval.statistics import Estimate
from eval.summary import Comparison, Summary
from eval.verdict import interval, points, verdict

MODES = {"base": "base", "rag": "rag", "finetuned": "finetuned", "combined": "combined"}


def gap(mean: float, low: float, high: float) -> Estimate:
    return Estimate(mean, low, high, 40, 0, p=0.001 if low * high > 0 else 0.5)


UP, NONE, DOWN = gap(0.4, 0.2, 0.6), gap(0.05, -0.1, 0.2), gap(-0.3, -0.5, -0.1)


def numbers(
    gaps: Mapping[tuple[str, str, str], Estimate], modes: Mapping[str, str] = MODES
) -> Summary:
    mean = Estimate(0.5, 0.4, 0.6, 40, 0)
    return Summary(
        arms=tuple(modes.values()),
        modes=modes,
        untuned=("rag",),
        slices={"all": 40},
        clusters={"all": 40},
        headline="all",
        means={"all": {a: dict.fromkeys(("facts", "format", "grounded"), mean) for a in MODES}},
        by_tag={},
        comparisons=tuple(
            Comparison("all", *place, found, "planned", power(found))
            for place, found in gaps.items()
        ),
        factorials={},
        abstention={},
        risk={},
        costs={},
        failed={},
    )


def spoken(facts: Estimate, form: Estimate, rag: Estimate, tuned: Estimate) -> tuple[str, ...]:
    return verdict(
        numbers(
            {
                ("facts", "rag", "base"): facts,
                ("format", "finetuned", "base"): form,
                ("grounded", "combined", "rag"): rag,
                ("grounded", "combined", "finetuned"): tuned,
            }
        )
    )


def test_a_difference_is_claimed_when_its_interval_excludes_zero() -> None:
    facts, form, both = spoken(UP, UP, UP, UP)
    assert facts.startswith("Retrieval makes answers more correct: 50 % of the rag answers")
    assert "(+40 points, 95 % interval +20 to +60, n = 40)" in facts
    assert form.startswith("Tuning teaches the format")
    assert both.startswith("The combination beats both its parts on grounded answers: at 50 %")


def test_no_difference_is_claimed_when_the_interval_holds_zero() -> None:
    facts, form, both = spoken(NONE, NONE, NONE, NONE)
    assert facts.startswith("No difference seen from retrieval on facts")
    assert form.startswith("No difference seen from tuning on format")
    assert both.startswith("No difference seen between the combination and its parts")


def test_harm_is_said_as_plainly_as_help() -> None:
    facts, form, both = spoken(DOWN, DOWN, DOWN, UP)
    assert facts.startswith("Retrieval makes answers less correct")
    assert form.startswith("Tuning harms the format")
    assert both.startswith("The combination does not beat both its parts")
    assert "behind rag (−30 points" in both


def test_beating_one_part_is_not_beating_both() -> None:
    both = spoken(UP, UP, UP, NONE)[2]
    assert both.startswith("The combination beats only one of its parts")
    assert "not told apart from finetuned" in both


@pytest.mark.parametrize(("p", "opening"), [(0.001, "Retrieval makes"), (0.25, "No difference")])
def test_without_an_interval_the_exact_test_decides(p: float, opening: str) -> None:
    same = Estimate(1.0, None, None, 12, 0, "every question gave the same value", p)
    sentence = spoken(same, UP, UP, UP)[0]
    assert sentence.startswith(opening)
    assert f"exact test p = {p:.2g}" in sentence


def test_what_was_not_measured_is_said_to_be_so() -> None:
    sentences = verdict(numbers({}, {"base": "base", "rag": "rag"}))
    assert len(sentences) == 3
    assert "no question was scored by both base and rag" in sentences[0]
    assert sentences[1].endswith("not measured: this run has no finetuned arm.")
    assert sentences[2].endswith("not measured: this run has no combined and no finetuned arm.")


def test_a_comparison_is_read_from_either_side() -> None:
    summary = numbers({("facts", "rag", "base"): UP})
    turned = summary.compare("facts", "base", "rag")
    assert turned is not None
    assert (turned.mean, turned.low, turned.high) == (-0.4, -0.6, -0.2)


@pytest.mark.parametrize(
    ("value", "words"), [(0.004, "0"), (-0.004, "0"), (0.126, "+13"), (-0.1, "−10")]
)
def test_points_are_signed_and_never_minus_zero(value: float, words: str) -> None:
    assert points(value) == words


def test_an_interval_beside_zero_that_the_test_does_not_bear_out_says_so() -> None:
    few = Estimate(0.32, 0.13, 0.52, 19, 0, p=0.06, adjusted=0.09, clusters=11)
    assert few.leaning
    assert not few.seen
    assert "p = 0.09 after Holm's correction, with 11 documents" in interval(few)
    enough = Estimate(0.32, 0.13, 0.52, 19, 0, p=0.001, adjusted=0.004, clusters=11)
    assert not enough.leaning
    assert "Holm" not in interval(enough)
