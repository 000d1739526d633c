import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from assistant.engines.engine import Request
from assistant.prompt import Passage, user_text
from eval.altered import VALUE, altered_rows, another, values_in
from eval.obedience import evaluate_obedience, render, verdict
from ingest.errors import DataError, MismatchError, NotFoundError, UsageError
from tests.fakes import ScriptedEngine, SmallWorkspace, small_workspace

SYSTEM = "Answer in JSON."


def row(number: int, answer: str, *texts: str, question: str = "How tight?") -> dict[str, Any]:
    passages = [Passage(f"Manual {number} > Care", text) for text in texts]
    return {
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": user_text(question, passages)},
            {"role": "assistant", "content": json.dumps({"answer": answer, "sources": [1]})},
        ],
        "source": f"T-{number}",
        "evidence": list(texts),
    }


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def many() -> list[dict[str, Any]]:
    return [
        row(n, f"It is {n}.5 N·m.", f"Tighten to {n}.5 N·m, never {n}.5 twice.", "Grease it.")
        for n in range(30, 50)
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("part TF-1228-1 at 2.1 N·m.", {"TF-1228-1", "2.1"}),
        ("E-117, then wait 30 s (2025-04-04, 09:30)", {"E-117", "30", "2025-04-04", "09:30"}),
        ("EUR 1,265.00; 25m of it", {"1,265.00"}),
        ("Sculpin14 and v2.1", set()),
    ],
)
def test_values_are_found_whole(text: str, values: set[str]) -> None:
    assert values_in(text) == values


@pytest.mark.parametrize(
    ("value", "day", "shape"),
    [
        ("TF-1228-1", False, r"TF-\d{4}-\d"),
        ("2.1", False, r"[1-9]\.\d"),
        ("0.05", False, r"0\.[1-9]\d"),
        ("385.00", False, r"[1-9]\d\d\.00"),
        ("2025-04-04", False, r"202[56]-\d\d-\d\d"),
        ("09:30", False, r"(0[7-9]|1\d|2[01]):(00|15|30|45)"),
        ("20", True, r"1\d|2[0-8]"),
    ],
)
def test_another_value_is_of_the_same_kind(value: str, day: bool, shape: str) -> None:
    for seed in range(20):
        found = another(value, day=day, draw=random.Random(seed))
        assert re.fullmatch(shape, found)
        assert VALUE.fullmatch(found)


def test_the_trained_value_is_nowhere_in_an_altered_prompt(tmp_path: Path) -> None:
    found = altered_rows(write(tmp_path / "train.jsonl", *many()), seed=1)
    assert len(found) == 20
    for one in found:
        prompt = "\n".join(message.content for message in one.prompt)
        assert not values_in(prompt) & one.values.keys()
        assert set(one.values.values()) <= values_in(prompt)
        assert "Grease it." in prompt
        assert one.bare[-1].content == "Question: How tight?"


def test_the_same_seed_alters_the_same_rows_in_the_same_way(tmp_path: Path) -> None:
    path = write(tmp_path / "train.jsonl", *many())
    first = altered_rows(path, seed=1)
    assert altered_rows(write(path, *many()[::-1]), seed=1) == first
    assert altered_rows(path, seed=2) != first


def test_what_the_question_or_a_title_names_is_left_alone(tmp_path: Path) -> None:
    named = row(1, "It is 25 m.", "Sold in lengths of 25 m.", question="How much is the 25 m hose?")
    titled = row(20, "The Burbot 20 takes 14 V.", "The Burbot 20 takes 14 V.")
    single = row(3, "It takes 3.", "It takes 3.")
    elsewhere = row(4, "It is 77.", "It is something.")
    bare = row(5, "It is 55.")
    path = write(tmp_path / "train.jsonl", named, titled, single, elsewhere, bare)
    (one,) = altered_rows(path, seed=0)
    assert one.values.keys() == {"14"}
    assert "Burbot 20" in one.prompt[-1].content
    assert one.cluster == "Manual 20"


def test_an_answer_follows_or_recalls_or_does_neither() -> None:
    values = {"2.1": "7.4"}
    assert verdict('{"answer": "It is 7.4 N·m.", "sources": [1]}', values) == "follows"
    assert verdict("It is 2.1 N·m.", values) == "recalls"
    assert verdict("It is 7.4, or 2.1.", values) == "recalls"
    assert verdict("It is 12.1 or 7.45.", values) == "neither"


@pytest.fixture
def workspace(tmp_path: Path) -> SmallWorkspace:
    """The base model knows nothing, and the adapter reads its passages or says what it learnt."""

    def reply(request: Request) -> str:
        said = request.messages[-1].content
        if request.adapter is None:
            return "I do not know."
        found = VALUE.findall(said.partition("Tighten to ")[2])
        return f"It is {found[0] if found else '30.5 or 31.5'}."

    home = tmp_path / "w"
    write(home / "datasets" / "house-1" / "train.jsonl", *many())
    manifest = {
        "prompt_fingerprint": "prompt",
        "base_sha256": "base",
        "dataset": {"name": "house-1"},
    }
    folder = home / "adapters" / "house" / "v1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return small_workspace(home, ScriptedEngine(reply))


def test_each_arm_is_measured_by_what_its_prompt_holds(
    workspace: SmallWorkspace, tmp_path: Path
) -> None:
    result = evaluate_obedience(workspace, "house", rows=12, out=tmp_path / "answers.jsonl")
    arms = result["obedience"]
    assert result["rows"] == 12
    assert arms["rag"]["neither"]["mean"] == 1
    assert arms["combined"]["follows"]["mean"] == 1
    assert arms["finetuned"]["follows"]["mean"] == 0
    assert result["combined_minus_rag"]["mean"] == 1
    assert result["states_as_trained"]["mean"] == 1
    assert "adapter, altered passages: follows 1.00" in render(result)
    lines = (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["combined"]["verdict"] == "follows"


def test_answers_that_are_there_are_not_asked_for_again(workspace: SmallWorkspace) -> None:
    first = evaluate_obedience(workspace, None, rows=5)
    engine: Any = workspace.engine
    asked = len(engine.requests)
    assert asked == 5 + 5 + 5 + 1  # without passages, the five ask the same
    assert evaluate_obedience(workspace, None, rows=5) == first
    assert len(engine.requests) == asked


def test_what_cannot_be_measured_is_refused(workspace: SmallWorkspace) -> None:
    with pytest.raises(UsageError, match="at least 1 row"):
        evaluate_obedience(workspace, "house", rows=0)
    train = workspace.home / "datasets" / "house-1" / "train.jsonl"
    write(train, row(1, "Yes.", "Yes."))
    with pytest.raises(UsageError, match="nothing to alter"):
        evaluate_obedience(workspace, "house")
    train.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="is not a data set"):
        evaluate_obedience(workspace, "house")
    train.unlink()
    with pytest.raises(NotFoundError, match="data set is gone"):
        evaluate_obedience(workspace, "house")
    manifest = workspace.home / "adapters" / "house" / "v1" / "manifest.json"
    manifest.write_text('{"prompt_fingerprint": "x", "base_sha256": "base"}', encoding="utf-8")
    with pytest.raises(MismatchError, match="another prompt"):
        evaluate_obedience(workspace, "house")
