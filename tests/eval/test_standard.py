"""The arms that are compared without being named: the 2x2, worked examples, a schema."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assistant.adapter import Adapter
from assistant.evaluations import ARMS
from assistant.prompt import Passage, build_messages, passages_of, user_text
from eval.evaluate import evaluate
from eval.recipe import STANDARD, Arm, Recipe
from eval.standard import arms_of, drawn
from ingest.errors import ConfigError, DataError
from tests.rig import NOW, Rig

NAMES = ["base", "rag", "finetuned", "combined", "rag_examples", "rag_schema"]
SCHEMA = {"type": "object", "required": ["answer"], "properties": {"answer": {"type": "string"}}}


def row(n: int, *passages: Passage, answer: str = "So.") -> dict[str, Any]:
    messages = build_messages("Be kind.", f"How wide is gap {n}?", passages)
    said = [{"role": m.role, "content": m.content} for m in messages]
    return {"messages": [*said, {"role": "assistant", "content": answer}], "source": f"ticket-{n}"}


def trained(rig: Rig, *rows: dict[str, Any]) -> Adapter:
    """Store a data set and an adapter that names it."""
    folder = rig.home / "datasets" / "house-1"
    folder.mkdir(parents=True)
    lines = "".join(json.dumps(one) + "\n" for one in rows)
    (folder / "train.jsonl").write_text(lines, encoding="utf-8")
    version = rig.home / "adapters" / "house" / "v1"
    version.mkdir(parents=True)
    manifest = {
        "dataset": {"name": "house-1"},
        "base_sha256": rig.base_sha256,
        "prompt_fingerprint": rig.contract_of("house"),
    }
    (version / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (version / "lora.gguf").write_bytes(b"weights")
    return Adapter("house", "v1", version, manifest)


SHOWING = [row(n, Passage("A > b", f"Gap {n} is {n} mm.\n\nNo more.")) for n in range(8)]


def standard(recipe: Callable[..., Recipe]) -> Recipe:
    made = recipe()
    return Recipe(questions=made.questions, resamples=99)


def test_the_standard_arms_are_the_2x2_and_two_rivals_that_need_no_training() -> None:
    assert [arm.name for arm in STANDARD] == NAMES == list(ARMS)
    examples, schema = STANDARD[4:]
    assert (examples.mode, examples.shots, schema.mode, schema.constrain) == ("rag", 3, "rag", True)
    assert [arm.name for arm in STANDARD if arm.plain] == NAMES[:4]


def test_all_six_are_asked_where_no_arm_is_named(rig: Rig, recipe: Callable[..., Recipe]) -> None:
    trained(rig, *SHOWING)
    rig.schema = SCHEMA
    result = evaluate(standard(recipe), rig, now=NOW)
    assert list(result["summary"]["arms"]) == NAMES
    prompts = [[m.content for m in r.messages] for r in rig.scripted.requests]
    # Three turns before each question; the fourth finds no evidence and is not put to the model.
    assert sum(len(prompt) == 8 for prompt in prompts) == 3
    constrained = [r for r in rig.scripted.requests if r.schema is not None]
    assert len(constrained) == 3
    assert {r.max_tokens for r in constrained} == {2 * rig.settings.answer.max_tokens}
    manifest = json.loads((Path(result["report"]) / "report.json").read_text())["manifest"]
    assert len(manifest["worked_examples"]["rag_examples"]) == 3
    assert manifest["left_out"] == {}


def test_what_a_workspace_cannot_carry_out_is_left_out_and_named_in_the_report(
    rig: Rig, recipe: Callable[..., Recipe]
) -> None:
    trained(rig, row(1))  # shows no passages
    result = evaluate(standard(recipe), rig, now=NOW)
    assert list(result["summary"]["arms"]) == NAMES[:4]
    for name in ("report.html", "report.md"):
        page = (Path(result["report"]) / name).read_text(encoding="utf-8")
        assert "Left out of the standard arms: rag_examples. Worked examples are drawn" in page
        assert "Left out of the standard arms: rag_schema. Arm" in page


def test_an_arm_that_a_recipe_names_is_never_left_out_in_silence(
    rig: Rig, recipe: Callable[..., Recipe]
) -> None:
    for arm, error, words in (
        (Arm(name="held", mode="rag", constrain=True), ConfigError, "there is none"),
        (Arm(name="shown", mode="rag", shots=2), DataError, "there is none"),
    ):
        with pytest.raises(error, match=words):
            evaluate(recipe(arm), rig, now=NOW)
    trained(rig, row(1))
    with pytest.raises(DataError, match="no row of its data set shows passages"):
        evaluate(recipe(Arm(name="shown", mode="rag", shots=2)), rig, now=NOW)
    with pytest.raises(ConfigError, match="there is none"):
        evaluate(standard(recipe).only(["base", "rag_schema"]), rig, now=NOW)


def test_worked_examples_are_training_rows_with_their_passages_drawn_by_seed(rig: Rig) -> None:
    adapter = trained(rig, row(99), *SHOWING)
    first = drawn(adapter, rig, 3, seed=1)
    assert first == drawn(adapter, rig, 3, seed=1)
    assert first.rows != drawn(adapter, rig, 3, seed=2).rows
    assert "ticket-99" not in first.rows
    turn = first.turns[0]
    n = first.rows[0].removeprefix("ticket-")
    assert turn.question == f"How wide is gap {n}?"
    assert turn.passages == (Passage("A > b", f"Gap {n} is {n} mm.\n\nNo more."),)
    assert turn.answer == "So."


def test_worked_examples_leave_half_of_the_context_to_the_question(rig: Rig) -> None:
    half = rig.settings.engine.context_tokens * 3 // 2
    long = Passage("A", "word " * (half // 10))  # half of what there is room for
    adapter = trained(rig, *(row(n, long) for n in range(5)))
    assert len(drawn(adapter, rig, 3, seed=1).turns) == 1
    assert half > len(long.text)


def test_worked_examples_need_the_data_set(rig: Rig) -> None:
    gone = Adapter("house", "v1", rig.home, {"dataset": {"name": "house-1"}})
    with pytest.raises(DataError, match="house:v1 was trained on, and its data set house-1 is not"):
        drawn(gone, rig, 3, seed=1)


def test_a_schema_of_every_question_is_as_good_as_one_of_the_house(
    rig: Rig, recipe: Callable[..., Recipe]
) -> None:
    from eval.question import read_questions

    asked = standard(recipe)
    plain = read_questions(asked.questions)
    own = [question.model_copy(update={"json_schema": SCHEMA}) for question in plain]
    assert "rag_schema" in arms_of(asked, rig, plain, None).left_out
    assert "rag_schema" not in arms_of(asked, rig, own, None).left_out
    assert "rag_schema" in arms_of(asked, rig, [*own, plain[0]], None).left_out


@pytest.mark.parametrize(
    "passages",
    [
        (),
        (Passage("A", "one"),),
        (Passage("A > B", "one\n\ntwo"), Passage("", "[3] three"), Passage("C", "a\nb")),
    ],
)
def test_passages_are_read_back_from_a_prompt(passages: tuple[Passage, ...]) -> None:
    assert passages_of(user_text("Why?", passages)) == passages


def test_passages_that_cannot_be_told_apart_are_none() -> None:
    assert passages_of(user_text("Why?", [Passage("A", "one\n\n[7] x\ny")])) == ()
    assert passages_of("Anything else") == ()
