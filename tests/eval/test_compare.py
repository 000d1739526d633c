import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from assistant.cli import main
from eval.compare import WORST, compare
from eval.compare_text import render_comparison, write_junit
from eval.gate import Gate, Rule, read_gate
from eval.past import PastReport, find_report, read_report
from ingest.errors import ConfigError, DataError, NotFoundError, UsageError

FAST = 999
Script = Callable[[int], Mapping[str, float | None]]


def report(name: str, script: Script, n: int = 60, arms: tuple[str, ...] = ("rag",)) -> PastReport:
    """Return a report of `n` questions, each about a document of its own."""
    ids = [f"q{i:02}" for i in range(n)]
    return PastReport(
        folder=Path(name),
        questions={
            i: {"id": i, "question": f"{i}?", "reference": "Yes.", "cluster": i} for i in ids
        },
        arms=arms,
        scores={(arm, i): script(n) for arm in arms for n, i in enumerate(ids)},
        answers={(arm, i): f"{name} says {i}" for arm in arms for i in ids},
        manifest={},
    )


def right(until: int) -> Script:
    return lambda n: {"facts": float(n < until), "total_ms": 100.0 + n}


def gate(margin: float, metric: str = "facts", **values: Any) -> Gate:
    return Gate(rule=(Rule(arm="rag", metric=metric, margin=margin),), **values)


OLD = report("old", right(50))


def test_a_regression_beyond_the_margin_fails() -> None:
    found = compare(OLD, report("new", right(30)), gate(0.05), resamples=FAST)
    assert not found.passed
    assert found.judgements[0].why == "worse beyond the margin"


def test_a_regression_within_the_margin_passes() -> None:
    found = compare(OLD, report("new", right(30)), gate(0.4), resamples=FAST)
    assert found.passed
    assert found.judgements[0].why == "within the margin"


def test_a_small_sample_that_might_be_worse_passes_and_says_so() -> None:
    old, new = report("old", right(8), n=10), report("new", right(6), n=10)
    judgement = compare(old, new, gate(0.05), resamples=FAST).judgements[0]
    assert judgement.passed
    assert judgement.why == "worse beyond the margin in this sample, but inside the noise"


def test_an_improvement_passes_and_identical_reports_do() -> None:
    assert compare(OLD, report("new", right(60)), gate(0.0), resamples=FAST).passed
    same = compare(OLD, OLD, gate(0.0), resamples=FAST)
    assert same.passed
    assert not same.worst
    assert {change.words for change in same.changes} == {"no difference seen"}


def test_slower_is_worse() -> None:
    slow: Script = lambda n: {"facts": 1.0, "total_ms": 200.0 + n}  # noqa: E731
    found = compare(OLD, report("new", slow), gate(50, "total_ms"), resamples=FAST)
    assert not found.passed
    assert {c.metric: c.words for c in found.changes}["total_ms"] == "worse"
    assert compare(OLD, report("new", slow), gate(150, "total_ms"), resamples=FAST).passed


def test_many_rules_raise_no_more_alarms_than_one() -> None:
    new = report("new", right(45))  # 5 of 60 worse: p = 1/32 alone
    alone = compare(OLD, new, gate(0.0), resamples=9999)
    assert alone.judgements[0].p == pytest.approx(1 / 32)
    assert not alone.passed
    idle = [Rule(arm="rag", metric="total_ms", margin=1000)] * 4
    among = compare(OLD, new, Gate(rule=(*gate(0.0).rule, *idle)), resamples=9999)
    assert among.passed


def test_the_ten_worst_changes_are_shown_largest_first() -> None:
    old = report("old", lambda n: {"similarity": 0.9})
    new = report("new", lambda n: {"similarity": 0.9 - n / 100})
    worst = compare(old, new, None, resamples=FAST).worst
    assert len(worst) == WORST
    assert [w.question_id for w in worst[:3]] == ["q59", "q58", "q57"]
    assert (worst[0].before, worst[0].after) == ("old says q59", "new says q59")


def test_only_questions_that_both_scored_count() -> None:
    new = report("new", lambda n: {"facts": None if n < 10 else float(n < 50)})
    change = compare(OLD, new, None, resamples=FAST).changes[0]
    assert (change.difference.n, change.difference.unscored) == (50, 10)
    assert (change.before, change.after) == (0.8, 0.8)


def test_reports_over_other_questions_are_refused_with_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"2 only in old: q58, q59") as caught:
        compare(OLD, report("new", right(50), n=58), None)
    assert "the same --limit and the same seed" in caught.value.hint
    other = {**OLD.questions, "q00": {**OLD.questions["q00"], "reference": "No."}}
    with pytest.raises(UsageError, match="1 with another wording or reference: q00"):
        compare(OLD, replace(OLD, questions=other), None)


def test_reports_without_a_common_arm_are_refused() -> None:
    with pytest.raises(UsageError, match="no arm in common: rag against base"):
        compare(OLD, report("new", right(50), arms=("base",)), None)


def test_a_rule_that_cannot_be_decided_is_refused_and_does_not_pass() -> None:
    rule = Gate(rule=(Rule(arm="best", metric="facts"),))
    with pytest.raises(UsageError, match="rules for best"):
        compare(OLD, OLD, rule)
    with pytest.raises(UsageError, match="a rule for rouge of rag, and no question was scored"):
        compare(OLD, OLD, gate(0.1, "rouge"))


def test_a_gate_with_a_wrong_metric_or_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text('[[rule]]\narm = "rag"\nmetric = "truth"\n')
    with pytest.raises(ConfigError, match=r"no metric called 'truth'. There are: grounded"):
        read_gate(path)
    path.write_text('[[rule]]\narm = "rag"\nmetric = "facts"\nmargn = 1\n')
    with pytest.raises(ConfigError, match="did you mean 'margin'"):
        read_gate(path)


def test_the_words_name_the_gate_the_change_and_what_could_have_been_seen() -> None:
    words = render_comparison(
        compare(OLD, report("new", right(30)), gate(0.05), resamples=FAST).body()
    )
    assert "worse: rag facts 83.3 % -> 50.0 % (−33 points, 95 % interval" in words
    assert "Gate: FAILED" in words
    assert "FAIL rag facts: worse beyond the margin" in words
    assert "to see 5 points you need about" in words
    assert "before: old says q30" in words


def test_junit_has_a_case_for_each_rule_and_escapes(tmp_path: Path) -> None:
    path = tmp_path / "ci" / "gate.xml"
    write_junit(compare(OLD, report("new", right(30)), gate(0.05), resamples=FAST), path)
    suite = ElementTree.parse(path).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    case = suite[0]
    assert (case.get("classname"), case.get("name")) == ("rag", "facts")
    assert case[0].tag == "failure"
    assert "margin 0.05" in str(case[0].text)


def written(folder: Path, until: int, adapter: str | None = None) -> Path:
    folder.mkdir(parents=True)
    past = report("x", right(until))
    content = {
        "questions": list(past.questions.values()),
        "summary": {"arms": ["rag"]},
        "manifest": {"adapter": adapter},
        "scores": [
            {
                "question_id": i,
                "arm": arm,
                "answer": past.answers[arm, i],
                "error": "",
                "scores": {name: {"value": value, "why": ""} for name, value in card.items()},
            }
            for (arm, i), card in past.scores.items()
        ],
    }
    (folder / "report.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_the_command_ends_with_3_when_the_gate_does_not_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDTUNE_HOME", str(tmp_path))
    old, bad = written(tmp_path / "reports" / "1", 50), written(tmp_path / "reports" / "2", 20)
    rules = tmp_path / "gate.toml"
    rules.write_text('[[rule]]\narm = "rag"\nmetric = "facts"\nmargin = 0.05\n')
    assert main(["--json", "eval", "compare", "1", str(bad), "--gate", str(rules)]) == 3
    body = json.loads(capsys.readouterr().out)
    assert body["passed"] is False
    assert len(body["worst"]) == WORST
    assert main(["eval", "compare", "2", "1", "--gate", str(rules)]) == 0
    assert "Gate: passed" in capsys.readouterr().out
    assert main(["eval", "compare", str(old), "latest"]) == 0


def test_an_adapter_remembers_whether_its_report_passed_the_gate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDTUNE_HOME", str(tmp_path))
    manifest = tmp_path / "adapters" / "tickets" / "v1" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text('{"seed": 1}')
    written(tmp_path / "reports" / "1", 50)
    written(tmp_path / "reports" / "2", 49, adapter="tickets:v1")
    rules = tmp_path / "gate.toml"
    rules.write_text('[[rule]]\narm = "rag"\nmetric = "facts"\nmargin = 0.05\n')
    assert main(["eval", "compare", "1", "2", "--gate", str(rules)]) == 0
    kept = json.loads(manifest.read_text())
    assert kept["seed"] == 1
    assert kept["evaluation"]["passed"] is True


def test_a_folder_that_holds_no_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no report 'x'"):
        find_report("x", tmp_path)
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(DataError, match="not a report that can be compared"):
        read_report(tmp_path)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read as a report"):
        read_report(tmp_path)


def test_junit_without_a_gate_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDTUNE_HOME", str(tmp_path))
    assert main(["eval", "compare", "1", "2", "--junit", "x.xml"]) == 2
    assert "--junit needs the rules of a gate" in capsys.readouterr().err
