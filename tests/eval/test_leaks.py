"""Questions that an adapter was trained on are found by lineage and refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assistant.adapter import Adapter
from assistant.config import Settings
from assistant.prompt import Passage, build_messages
from eval.calibrate import ASKED, name_of
from eval.command import render, run
from eval.evaluate import evaluate
from eval.leaks import asked_in, find_leaks, leak_sentence
from eval.question import Question
from eval.recipe import Arm, Recipe
from ingest.errors import DataError
from tests.rig import FACTS, NOW, Rig, numbers

QUESTIONS = [
    Question(id=name, question=f"How tight are the clamp screws of the {name}?") for name in FACTS
]


def trained(home: Path, *asked: str, name: str = "house") -> Adapter:
    """Store a data set and an adapter that names it."""
    folder = home / "datasets" / f"{name}-1"
    folder.mkdir(parents=True)
    rows = []
    for text in asked:
        messages = build_messages("Be kind.", text, [Passage("A label", "Question: a trap?")])
        row = [{"role": m.role, "content": m.content} for m in messages]
        rows.append({"messages": [*row, {"role": "assistant", "content": "So."}]})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "train.jsonl").write_text(lines, encoding="utf-8")
    version = home / "adapters" / name / "v1"
    version.mkdir(parents=True)
    manifest = {"dataset": {"name": folder.name}, "base_sha256": "base"}
    manifest["prompt_fingerprint"] = "prompt"  # type: ignore[assignment]
    (version / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (version / "lora.gguf").write_bytes(b"weights")
    return Adapter(name, "v1", version, manifest)


def test_what_is_asked_in_a_row_is_its_question_without_its_evidence() -> None:
    messages = build_messages("Be kind.", "How deep?", [Passage("A", "Question: a trap?")])
    row = {"messages": [{"role": m.role, "content": m.content} for m in messages]}
    assert asked_in(row) == ["How deep?"]
    plain = {"messages": [{"role": "user", "content": "How deep?"}]}
    assert asked_in(plain) == ["How deep?"]


def test_a_question_in_nearly_the_words_of_a_row_is_a_leak_and_others_are_not(
    tmp_path: Path,
) -> None:
    adapter = trained(
        tmp_path,
        "how tight are the clamp screws of the Osprey 77",
        "How tight are the clamp screws of the Bodkin 999?",
        "Who pays for repairs?",
    )
    found = find_leaks(QUESTIONS, [adapter], tmp_path)
    assert found.ids == {"Osprey 77"}
    assert found.rows == {"house:v1": 3}
    with pytest.raises(DataError, match=r"(?s)1 questions are near.*Osprey 77 \(1.00\).*leave-out"):
        found.refuse()
    find_leaks(QUESTIONS[1:2], [adapter], tmp_path).refuse()


def test_a_data_set_that_is_gone_is_said_to_be_unknown(tmp_path: Path) -> None:
    gone = Adapter("house", "v1", tmp_path, {"dataset": {"name": "house-1"}})
    nameless = Adapter("other", "v1", tmp_path, {})
    found = find_leaks(QUESTIONS, [gone, nameless], tmp_path)
    assert found.unknown == {
        "house:v1": "its data set house-1 is not in this workspace",
        "other:v1": "its manifest names no data set",
    }
    assert "Whether house:v1 was trained on these questions is unknown" in leak_sentence(
        {"leaks": {"unknown": found.unknown}}
    )


def test_a_run_refuses_what_was_trained_on_or_leaves_it_out_and_says_so(
    rig: Rig, recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    trained(rig.home, *(question.question for question in QUESTIONS[:1]))
    arms = (Arm(name="rag", mode="rag"), Arm(name="combined", mode="combined"))
    with pytest.raises(DataError, match="near-duplicates of rows that house:v1 was trained on"):
        evaluate(recipe(*arms), rig, now=NOW)
    assert not rig.scripted.requests
    result = evaluate(recipe(*arms, leaks="leave-out"), rig, now=NOW, out=tmp_path / "out")
    content = numbers(result)
    assert "Osprey 77" not in {row["id"] for row in content["questions"]}
    assert content["manifest"]["leaks"]["leaks"][0]["question_id"] == "Osprey 77"
    html = Path(result["html"]).read_text(encoding="utf-8")
    assert "1 questions are near-duplicates of one and were left out: Osprey 77" in html
    untuned = evaluate(recipe(arms[0]), rig, now=NOW)  # nothing was trained for these
    assert numbers(untuned)["manifest"]["leaks"]["leaks"] == []


def test_the_check_names_the_pairs_and_does_not_pass(
    parse: Callable[..., Any], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    trained(home, QUESTIONS[0].question)
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(q.model_dump_json(by_alias=True) + "\n" for q in QUESTIONS))
    result = run(parse("questions", "check", str(path)), Settings(home=home))
    assert result["passed"] is False
    assert "1 of 3 questions are near-duplicates of training rows" in render(result)
    path.write_text(QUESTIONS[1].model_dump_json(by_alias=True) + "\n")
    assert run(parse("questions", "check", str(path)), Settings(home=home))["passed"]


def test_what_the_threshold_was_fitted_to_is_never_evaluated_on(
    rig: Rig, recipe: Callable[..., Recipe]
) -> None:
    from assistant.strength import Calibration, write_calibration

    fitted = Calibration(
        rig.evidence_fingerprint, "default", (), (), (), (), 0.0, 0.1, "", {ASKED: []}
    )
    write_calibration(fitted, rig.home)
    evaluate(recipe(), rig, now=NOW)
    asked = [name_of("how tight are the clamp screws of the  WICK 12")]
    write_calibration(replace(fitted, fitted={ASKED: asked}), rig.home)
    with pytest.raises(DataError, match=r"was fitted to 1 of these.*: Wick 12.(?s:.)*--not"):
        evaluate(recipe(), rig, now=NOW)
