import json
import random
from pathlib import Path

import numpy as np
import pytest

from eval.calibrate import KEPT, Example, Fit, calibrate, refuse_known
from eval.question import Question
from ingest.errors import DataError


def examples(n: int = 200, seed: int = 3) -> list[Example]:
    """Draw examples whose chance of enough evidence is a known logistic function of `cosine`."""
    draw = random.Random(seed)
    found = []
    for number in range(n):
        cosine = draw.uniform(0, 1)
        enough = draw.random() < 1 / (1 + np.exp(-10 * (cosine - 0.4)))
        values = {"cosine": cosine, "noise": draw.random()}
        found.append(Example(str(number), f"document {number % 40}", values, enough))
    return found


def test_the_fit_finds_the_chance_that_made_the_outcomes() -> None:
    fitted = calibrate(examples(2000), fingerprint="f", collection="default")
    for cosine in (0.2, 0.4, 0.6, 0.8):
        truth = 1 / (1 + np.exp(-10 * (cosine - 0.4)))
        assert fitted.strength({"cosine": cosine, "noise": 0.5}) == pytest.approx(truth, abs=0.06)
    assert fitted.fitted["ece"] < 0.05
    assert fitted.fitted["brier"] < fitted.fitted["brier_of_the_share"] - 0.05


def test_the_threshold_keeps_the_stated_share_of_what_can_be_answered() -> None:
    fitted = calibrate(examples(400), fingerprint="f", collection="default")
    assert fitted.fitted["kept"] >= KEPT
    assert 0 < fitted.threshold < 1
    assert "95%" in fitted.rule


def test_risk_never_grows_where_strength_is_right_and_ends_at_the_share() -> None:
    strengths = np.linspace(0, 1, 100)
    report = Fit(strengths, strengths > 0.3, 0.301).report()
    risks = [row["risk"] for row in report["risk_coverage"]]
    assert risks == sorted(risks)
    assert risks[0] == 0
    assert risks[-1] == pytest.approx(1 - np.mean(strengths > 0.3), abs=1e-4)
    assert report["abstention"] == {"precision": 1.0, "recall": 1.0}


def test_a_group_is_never_judged_by_a_fit_that_saw_it() -> None:
    # Every document's outcome is its own: only a fit that saw the document could know it.
    draw = random.Random(0)
    outcome = {group: draw.random() < 0.5 for group in range(30)}
    seen = [
        Example(
            str(n), str(n % 30), {f"is {g}": float(g == n % 30) for g in outcome}, outcome[n % 30]
        )
        for n in range(300)
    ]
    report = calibrate(seen, fingerprint="f", collection="c").fitted
    assert report["brier"] > 0.9 * report["brier_of_the_share"]


def test_the_same_seed_gives_the_same_numbers() -> None:
    one, two = (calibrate(examples(), fingerprint="f", collection="c", seed=5) for _ in range(2))
    assert one == two
    json.dumps(one.fitted)


def test_too_few_examples_of_one_outcome_are_refused() -> None:
    few = [example._replace(enough=n < 5) for n, example in enumerate(examples(50))]
    with pytest.raises(DataError, match=r"5 questions found enough .* 45 did not; 10 of each"):
        calibrate(few, fingerprint="f", collection="c")
    with pytest.raises(DataError, match="0 questions found enough"):
        calibrate([], fingerprint="f", collection="c")


def test_a_question_of_an_evaluation_set_is_refused_by_id_or_by_words() -> None:
    known = [Question(id="q1", question="How deep may the Burbot 20 go?")]
    refuse_known([Question(id="t1", question="How heavy is it?")], known, "questions.jsonl")
    for same in (
        Question(id="q1", question="Something else?"),
        Question(id="t2", question="how deep may the  burbot 20 go"),
    ):
        with pytest.raises(DataError, match=r"1 of the 1 questions are in questions\.jsonl"):
            refuse_known([same], known, "questions.jsonl")


def test_the_sample_companys_questions_for_fitting_are_none_of_its_evaluation(
    tmp_path: Path,
) -> None:
    from eval.question import read_questions

    root = Path("examples/tarnfell")
    fitting = read_questions(root / "calibration.jsonl")
    refuse_known(fitting, read_questions(root / "questions.jsonl"), "questions.jsonl")
    assert sum(not question.answerable for question in fitting) >= 20
