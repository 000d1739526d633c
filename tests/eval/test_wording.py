import json

import pytest

from eval.wording import all_text, holds, spoken


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("Tighten to 2.1 N·m.", "2.1 N·m"),
        ("Tighten to 2.1\u00a0N⋅m.", "2.1 N·m"),
        ("it trips at 70°C", "70 °C"),
        ("it trips at 70 °C.", "70 °C"),
        ("EVERY 90  DAYS", "90 days"),
        ("It costs EUR 3,260.00 today", "EUR 3260"),
        ("It costs EUR 3\u202f260", "EUR 3,260.00"),
        ("at −15 °C", "-15 °C"),
        ("from 10-15 °C", "15 °C"),
        ("code E-154", "E-154"),
        ("the limit is 25.", "25"),
        ("the limit is 25, at most", "25"),
        ("wait 5 minutes [2].", "5 minutes"),
        ("TF-1410-2 fits", "TF-1410-2"),
    ],
)
def test_a_fact_is_found_however_it_is_written(text: str, spelling: str) -> None:
    assert holds(text, spelling)


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("it is 125", "25"),
        ("it is 250", "25"),
        ("it is 2.25", "25"),
        ("it is 25.5", "25"),
        ("it is 1,025", "25"),
        ("wait 15 minutes", "5 minutes"),
        ("wait 0.5 minutes", "5 minutes"),
        ("hose of 12 mm", "12 m"),
        ("down to -15 °C", "15 °C"),
        ("EUR 3260.50", "EUR 3260"),
        ("code E-1542", "E-154"),
        ("part TF-1410-25", "TF-1410-2"),
        ("see passage [25]", "25"),
        ("", "25"),
    ],
)
def test_a_fact_is_not_found_inside_another(text: str, spelling: str) -> None:
    assert not holds(text, spelling)


def test_passage_numbers_of_a_json_answer_are_not_facts() -> None:
    answer = json.dumps({"answer": "No.", "part_numbers": ["TF-1000-1"], "sources": [3]})
    assert not holds(all_text(answer), "3")
    assert holds(all_text(answer), "TF-1000-1")


def test_escaped_characters_of_a_json_answer_are_read() -> None:
    assert holds(all_text('{"answer": "2.1 N\\u00b7m"}'), "2.1 N·m")


def test_what_a_json_answer_says_is_its_answer_field() -> None:
    assert spoken('{"answer": "Yes.", "steps": ["Go"]}') == "Yes."
    assert spoken("Yes [1].") == "Yes."
    assert spoken("[1, 2]") != ""
