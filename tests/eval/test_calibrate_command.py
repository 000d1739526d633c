import argparse
import json
from pathlib import Path

import pytest

from assistant.config import Settings
from eval.calibrate_command import add_arguments, examples, render, run
from eval.question import Question
from ingest.errors import DataError, NotFoundError
from ingest.files import find_files
from tests.fakes import ScriptedEngine, small_workspace


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def write(path: Path, *questions: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(q) + "\n" for q in questions), encoding="utf-8")
    return str(path)


def test_what_is_evaluated_on_is_never_fitted_on(tmp_path: Path) -> None:
    fitting = write(tmp_path / "dev.jsonl", {"id": "d1", "question": "How deep may it go?"})
    held = write(tmp_path / "test.jsonl", {"id": "t9", "question": "How  deep may it go"})
    args = parse(fitting, "--not", held)
    with pytest.raises(DataError, match=r"1 of the 1 questions are in .*test\.jsonl"):
        run(args, Settings(home=tmp_path / "w"))
    assert not (tmp_path / "w").exists()


def test_a_collection_that_is_not_there_is_refused(tmp_path: Path) -> None:
    fitting = write(tmp_path / "dev.jsonl", {"id": "d1", "question": "How deep may it go?"})
    with pytest.raises(NotFoundError, match="There is no collection 'attic'"):
        run(parse(fitting, "--collection", "attic"), Settings(home=tmp_path / "w"))


def test_evidence_is_enough_when_it_is_of_a_named_document_and_holds_the_facts(
    tmp_path: Path,
) -> None:
    (tmp_path / "pump.md").write_text("# Pump\n\nThe collar is tightened to 38 N·m.", "utf-8")
    workspace = small_workspace(tmp_path / "w", ScriptedEngine(), retrieval={"sentences": 1})
    workspace.pipeline.run(find_files([str(tmp_path / "pump.md")]), collection="default")
    asked = {"question": "How tight is the pump collar?", "documents": ("pump.md",)}
    questions = [
        Question(id="right", facts=(("38 N·m", "38 Nm"),), **asked),
        Question(id="no such fact", facts=(("38 N·m",), ("EUR 4",)), **asked),
        Question(id="no facts named", **asked),
        Question(id="another document", question=asked["question"], documents=("drill.md",)),
        Question(id="unanswerable", question="How loud is the pump?", answerable=False),
        Question(id="small talk", question="Thanks!"),
    ]
    found = examples(questions, workspace, "default")
    assert {example.id: example.enough for example in found} == {
        "right": True,
        "no such fact": False,
        "no facts named": True,
        "another document": False,
        "unanswerable": False,
    }
    groups = {example.id: example.group for example in found}
    assert groups["right"] == groups["no such fact"] == "pump.md"
    assert groups["unanswerable"] == "unanswerable"
    workspace.close()


def test_the_result_is_told_in_words() -> None:
    text = render({
        "n": 100, "enough": 70, "left_out": 2, "folds": 5, "brier": 0.1, "ece": 0.02,
        "brier_of_the_share": 0.21, "threshold": 0.4, "rule": "a rule", "kept": 0.95,
        "abstention": {"precision": 0.6, "recall": None}, "calibration": "w/c.json",
        "risk_coverage": [{"coverage": 0.5, "risk": 0.04}],
    })  # fmt: skip
    assert "Threshold 0.400: a rule." in text
    assert "abstentions right 60%, weak evidence noticed none." in text
    assert "50% -> 4.0%" in text
