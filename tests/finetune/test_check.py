import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from assistant.engines.engine import Message
from finetune.answer_format import AnswerFormat
from finetune.check.finding import Finding, Row, Subject
from finetune.check.fix import mend
from finetune.check.report import as_html, as_text, check, write_report
from finetune.example import Example

FREE = AnswerFormat(None)


def example(question: str, answer: str, source: str = "", **keys: Any) -> Example:
    messages = (Message("system", "S"), Message("user", question), Message("assistant", answer))
    return Example(messages, source or question, **keys)


def placed(side: str, *examples: Example) -> list[Row]:
    return [Row(side, f"{side}.jsonl", n, e) for n, e in enumerate(examples, start=1)]


def words(examples: Sequence[Example]) -> list[int]:
    return [sum(len(m.content.split()) for m in e.messages) for e in examples]


def findings(rows: Sequence[Row], name: str, **keys: Any) -> list[Finding]:
    report = check(Subject(rows, keys.pop("answers", FREE), **keys), name="x")
    return [f for f in report.findings if f.check == name]


def bad(rows: Sequence[Row], name: str, **keys: Any) -> Finding:
    (found,) = [f for f in findings(rows, name, **keys) if f.level != "note"]
    return found


def places(finding: Finding) -> list[str]:
    return [spot.row.where for spot in finding.spots]


A = example("How tight do the sensor collars go?", "To 3.2 N·m, and no more than that.")
B = example("When is the wiper brush to be changed?", "After 9000 sweeps of the arm.")
C = example("What does the display say at night?", "It shows the battery and the hour.")


def test_rows_in_good_order_give_no_error() -> None:
    report = check(Subject(placed("rows", A, B, C), FREE, lengths=words), name="x")
    assert report.errors == []
    assert report.as_dict()["passed"] is True


def test_an_exact_repetition_and_a_near_one_are_told_apart() -> None:
    again = example(A.question, A.target, "other")
    near = example(A.question.upper(), A.target + " Yes.", "third")
    rows = placed("train", A, B, again, near)
    assert places(bad(rows, "duplicates")) == ["train.jsonl:3"]
    assert places(bad(rows, "near-duplicates")) == ["train.jsonl:4"]


def test_two_turns_of_one_conversation_are_no_duplicates() -> None:
    first = example("How tight do the sensor collars of the sonde go?", "3.2 N·m.", "c")
    second = Example(
        (*first.messages, Message("user", "Ok?"), Message("assistant", "3.2 N·m.")), "c"
    )
    assert all(f.level == "note" for f in findings(placed("rows", first, second), "duplicates"))


def test_one_question_with_two_answers_is_a_contradiction() -> None:
    other = example("how tight do the sensor collars go", "Never touch them.", "t2")
    finding = bad(placed("rows", A, B, other), "contradictions")
    assert [(s.row.line, s.reason) for s in finding.spots] == [
        (3, "rows.jsonl:1 answers otherwise")
    ]


def test_other_evidence_may_mean_another_answer() -> None:
    other = example(A.question, "I cannot find this.", "t2", evidence=("Nothing of it.",))
    assert findings(placed("rows", A, other), "contradictions")[0].level == "note"


def test_an_answer_that_is_not_as_declared_is_an_error_with_its_place() -> None:
    answers = AnswerFormat({"type": "object", "properties": {"n": {"type": "integer"}}})
    rows = placed("rows", example("a", '{"n": 1}'), example("b", '{"n": "x"}'), example("c", "x"))
    finding = bad(rows, "format", answers=answers)
    assert finding.level == "error"
    assert [s.reason for s in finding.spots] == [
        "n: 'x' is not of type 'integer'",
        "is not JSON: Expecting value: line 1 column 1 (char 0)",
    ]


def test_a_pattern_is_a_format_too() -> None:
    finding = bad(placed("rows", A, B), "format", answers=AnswerFormat(None, [r"N·m"]))
    assert places(finding) == ["rows.jsonl:2"]


def test_rows_beyond_the_window_are_shown_and_many_of_them_are_an_error() -> None:
    long = example("q " * 50, "a")
    some = placed("rows", *[A] * 10, long)
    few = bad(some, "lengths", lengths=words, window=40)
    assert (few.level, places(few)) == ("warning", ["rows.jsonl:11"])
    assert bad(placed("rows", A, long), "lengths", lengths=words, window=40).level == "error"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Write to jane.doe@example.org", "e-mail address"),
        ("Ring +44 20 7946 0958 now", "phone number"),
        ("Pay to GB82 WEST 1234 5698 7654 32", "IBAN"),
        ("Card 4111 1111 1111 1111", "payment card"),
    ],
)
def test_personal_data_is_found(text: str, kind: str) -> None:
    finding = bad(placed("rows", A, example("Where?", text)), "personal data")
    assert [(s.row.line, s.reason) for s in finding.spots] == [(2, kind)]


@pytest.mark.parametrize("text", ["TF-1416-1 and 110 days", "4111 1111 1111 1112", "E-433 at 12+3"])
def test_part_numbers_are_no_personal_data(text: str) -> None:
    assert findings(placed("rows", example("Which?", text)), "personal data")[0].level == "note"


def test_a_secret_is_an_error_and_is_not_repeated_in_the_report() -> None:
    token = "ghp_" + "a1B2" * 9
    rows = placed("rows", A, example("Log in how?", f"With {token}."))
    finding = bad(rows, "secrets")
    assert (finding.level, places(finding)) == ("error", ["rows.jsonl:2"])
    assert token not in json.dumps(finding.as_dict())


def test_a_control_token_in_a_text_is_an_error_and_in_the_system_text_it_is_not() -> None:
    finding = bad(placed("rows", A, example("End?", "<|im_end|> it is")), "control tokens")
    assert (finding.level, places(finding)) == ("error", ["rows.jsonl:2"])
    system = Example((Message("system", "<|im_end|>"), *A.messages[1:]), "s")
    assert findings(placed("rows", system), "control tokens")[0].level == "note"


def test_a_language_that_few_rows_are_in_is_named_with_them() -> None:
    english = [
        example(
            f"How is the number {n} pump of the station on the river kept in good order?",
            "By hand.",
        )
        for n in range(25)
    ]
    german = example(
        "Wie fest werden die Schrauben am Deckel angezogen?", "Mit dem Schlüssel, sehr fest."
    )
    finding = bad(placed("rows", *english, german), "languages")
    assert places(finding) == ["rows.jsonl:26"]
    assert "en 25" in finding.message


def test_what_no_row_is_tagged_as_is_missed() -> None:
    refusal = example("Who won?", "I cannot find this.", tags=("refusal",))
    finding = bad(placed("rows", A, refusal), "tags")
    assert "edge cases, error conditions" in finding.message
    assert "refusals," not in finding.message.partition("(")[0]


def test_one_answer_to_everything_is_out_of_balance() -> None:
    rows = [example(f"Question number {n}?", "No." if n % 2 else f"Answer {n}.") for n in range(30)]
    assert "15 of 30 rows" in bad(placed("rows", *rows), "balance").message


def test_a_question_on_two_sides_is_an_error_and_the_learnt_row_goes() -> None:
    rows = placed("train", A, B) + placed("test", example(A.question + "?", "Other.", "t"))
    finding = bad(rows, "leakage")
    assert (finding.level, places(finding)) == ("error", ["train.jsonl:1"])
    assert [e.question for e in mend(rows, [finding]).sides["train"]] == [B.question]


def test_an_evaluation_question_among_the_rows_is_an_error() -> None:
    finding = bad(placed("rows", A, B), "leakage", questions={"q7": B.question.lower()})
    assert [(s.row.line, s.reason) for s in finding.spots] == [(2, "like question q7 (1.00)")]


def test_a_document_on_two_sides_is_an_error() -> None:
    a, b = (example(e.question, e.target, documents=("m.md",)) for e in (A, B))
    rows = placed("train", a) + placed("validation", b)
    assert places(bad(rows, "leakage")) == ["train.jsonl:1", "validation.jsonl:1"]


def test_a_held_out_question_that_stands_in_the_index_is_a_warning() -> None:
    rows = placed("train", A) + placed("test", B)
    index = ["Frequently asked: When is the wiper brush to be changed? After 9000 sweeps."]
    finding = bad(rows, "leakage", passages=lambda: index)
    assert (finding.level, places(finding)) == ("warning", ["test.jsonl:1"])


def test_mending_changes_what_is_safe_and_nothing_else() -> None:
    broken = example("End?", "It ends <|im_end|> here.")
    rows = placed(
        "rows", A, example(A.question, A.target), broken, example("k", "ghp_" + "a1B2" * 9)
    )
    report = check(Subject(rows, FREE), name="x")
    mended = mend(rows, report.findings)
    assert mended.counts == {"dropped": 1, "neutralised": 1}
    kept = mended.sides["rows"]
    assert [e.target for e in kept] == [
        A.target,
        "It ends < |im_end|> here.",
        rows[3].example.target,
    ]
    again = check(Subject(placed("rows", *kept), FREE), name="x")
    assert {f.check for f in again.findings if f.remedy} == set()


def test_the_page_needs_no_network_runs_no_script_and_escapes_rows(tmp_path: Path) -> None:
    rows = placed("rows", A, A, example("<script>alert(1)</script>", "x"))
    report = check(Subject(rows, FREE, lengths=words, window=12), name="x")
    page = as_html(report)
    assert "<script" not in page
    assert "<svg" in page
    assert "https://" not in page
    paths = write_report(report, tmp_path)
    assert json.loads(paths["json"].read_text(encoding="utf-8"))["warnings"] == len(report.warnings)


def test_the_terminal_shows_a_few_rows_of_each_finding_and_counts_the_rest() -> None:
    rows = placed("rows", *[A] * 9)
    text = as_text(check(Subject(rows, FREE), name="x").as_dict(), rows=3)
    assert "rows.jsonl:4" in text
    assert "rows.jsonl:5" not in text
    assert "and 5 more" in text


def test_every_row_of_the_histogram_is_in_one_bin() -> None:
    count: Callable[[Sequence[Example]], list[int]] = words
    rows = placed("rows", A, B, C, example("q " * 99, "a"))
    report = check(Subject(rows, FREE, lengths=count, window=20), name="x")
    assert sum(n for _, n in report.as_dict()["histogram"]) == 4
