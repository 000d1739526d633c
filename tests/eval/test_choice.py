import json
from pathlib import Path

import pytest

from eval.choice import (
    Case,
    Scored,
    evaluate_choice,
    fit_threshold,
    halves,
    outcome,
    read_cases,
    render,
)
from ingest.errors import DataError, UsageError
from tests.assistant.test_choice import BOOKS, PUMPS, make
from tests.fakes import ScriptedEngine, small_workspace


def scored(number: int, expected: str, **scores: float) -> Scored:
    case = Case(f"{expected}/{number}", "?", expected, f"{expected}/document {number // 2}")
    return Scored(case, dict(sorted(scores.items(), key=lambda item: -item[1])))


def mix() -> list[Scored]:
    """Questions for a and b score above 0.5, those for neither below 0.4."""
    return [
        *(scored(n, "a", a=0.5 + n / 100, b=0.2) for n in range(10)),
        *(scored(n, "b", a=0.3, b=0.6) for n in range(6)),
        *(scored(n, "none", a=0.2 + n / 100, b=0.1) for n in range(20)),
    ]


def test_the_threshold_lies_in_the_middle_of_where_all_choices_are_right() -> None:
    threshold = fit_threshold(mix())
    assert 0.39 < threshold < 0.5
    assert outcome(mix(), threshold, seed=0)["right"].mean == 1


def test_a_threshold_is_fitted_though_no_question_is_for_nobody() -> None:
    only = [s for s in mix() if s.case.expected != "none"]
    assert fit_threshold(only) < 0.5


def test_a_wrong_adapter_is_told_from_none() -> None:
    cases = [scored(0, "a", a=0.1, b=0.9), scored(2, "a", a=0.1, b=0.0), scored(4, "a", a=0.9)]
    found = outcome(cases, 0.5, seed=0)
    assert [found[kind].mean for kind in ("right", "wrong", "missed")] == [1 / 3] * 3


def test_no_document_is_on_both_sides_and_every_case_is_on_one() -> None:
    sides = halves(mix(), seed=3)
    dev, test = ({s.case.cluster for s in side} for side in sides)
    assert not dev & test
    assert len(sides.dev) + len(sides.test) == len(mix())
    assert {s.case.expected for s in sides.test} == {"a", "b", "none"}
    assert halves(mix()[::-1], seed=3).dev == sides.dev[::-1] or dev == {
        s.case.cluster for s in halves(mix()[::-1], seed=3).dev
    }


def write(path: Path, questions: list[str]) -> Path:
    path.write_text("".join(json.dumps({"question": q}) + "\n" for q in questions), "utf-8")
    return path


def test_sets_of_questions_are_put_to_the_chooser(tmp_path: Path) -> None:
    make(tmp_path, "pumps", PUMPS)
    make(tmp_path, "books", BOOKS)
    workspace = small_workspace(tmp_path, ScriptedEngine())
    sets = [
        f"pumps={write(tmp_path / 'p', ['Which oil for the pump?', 'Is the pump tight?'])}",
        f"books={write(tmp_path / 'b', ['May I renew a lost book?', 'What is a book?'])}",
        f"none={write(tmp_path / 'n', ['Whither?', 'Wherefore so sad?'])}",
    ]
    result = evaluate_choice(sets, workspace)
    assert (result["cases"], result["dev"]) == (6, 3)
    assert result["fitted"]["sets"]["all"]["right"]["mean"] == 1
    assert "books: right 1.00" in render(result)


def test_what_is_no_set_of_questions_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "books", BOOKS)
    workspace = small_workspace(tmp_path, ScriptedEngine())
    with pytest.raises(UsageError, match="expected NAME=QUESTIONS"):
        evaluate_choice(["books"], workspace)
    file = write(tmp_path / "q", ["Why?"])
    with pytest.raises(UsageError, match="no adapter 'boats'"):
        evaluate_choice([f"boats={file}"], workspace)
    for content in ("{", '{"id": 1}', "", "[1]"):
        (tmp_path / "bad").write_text(content, "utf-8")
        with pytest.raises(DataError, match="bad"):
            read_cases("books", tmp_path / "bad")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        read_cases("books", tmp_path / "nowhere.jsonl")
