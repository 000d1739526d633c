from pathlib import Path

import pytest

from eval.recipe import STANDARD, by_mode, read_avoided, read_examples, read_recipe
from ingest.errors import ConfigError, DataError

SHIPPED = sorted(Path("examples").rglob("eval*.toml"))
BUILT = "built"
"""Folder of questions that a script beside the recipe makes."""


@pytest.mark.parametrize("path", SHIPPED, ids=str)
def test_recipes_that_ship_load_with_all_their_files(path: Path) -> None:
    recipe = read_recipe(path)
    if recipe.questions.parent.name == BUILT:
        assert (path.parent / "build.py").is_file()
    else:
        assert recipe.questions.is_file()
    assert by_mode(recipe.arm).keys() == {"base", "rag", "finetuned", "combined"}
    assert recipe.terms is None or read_avoided(recipe.terms)
    for arm in recipe.arm:
        assert arm.examples is None or len(read_examples(arm.examples)) == 3


def test_without_arms_the_standard_ones_are_compared(tmp_path: Path) -> None:
    (tmp_path / "eval.toml").write_text('questions = "q.jsonl"')
    recipe = read_recipe(tmp_path / "eval.toml")
    assert (recipe.arm, recipe.standard) == (STANDARD, True)
    assert not recipe.only(["base", "rag"]).standard
    assert recipe.questions == tmp_path / "q.jsonl"


def test_all_problems_of_a_recipe_are_named(tmp_path: Path) -> None:
    path = tmp_path / "eval.toml"
    path.write_text('questions = "q"\nlimit = 0\n[[arm]]\nname = "a"\nmode = "rga"\nconstrian = 1')
    with pytest.raises(ConfigError) as caught:
        read_recipe(path)
    for part in ("limit", "arm.0.mode", "did you mean 'constrain'?"):
        assert part in str(caught.value)


def test_two_arms_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "eval.toml"
    path.write_text('questions = "q"\n' + '[[arm]]\nname = "a"\nmode = "rag"\n' * 2)
    with pytest.raises(ConfigError, match="two arms are called a"):
        read_recipe(path)


def test_drawn_and_named_worked_examples_do_not_go_together(tmp_path: Path) -> None:
    path = tmp_path / "eval.toml"
    arm = 'name = "a"\nmode = "rag"\nshots = 2\nexamples = "e.jsonl"\n'
    path.write_text(f'questions = "q"\n[[arm]]\n{arm}')
    with pytest.raises(ConfigError, match="set one"):
        read_recipe(path)


def test_arms_are_chosen_by_name_and_unknown_ones_refused() -> None:
    recipe = read_recipe(Path("examples/tarnfell/eval.toml"))
    assert [arm.name for arm in recipe.only(["combined", "base"]).arm] == ["base", "combined"]
    with pytest.raises(ConfigError, match="No arm called 'best'. There are: base, rag"):
        recipe.only(["best"])


def test_all_bad_worked_examples_are_named(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text('{"question": "a"}\n{"question": "a", "answer": "b"}\n[]\n')
    with pytest.raises(DataError, match=r"(?s):1: not a worked.*:3: not a worked"):
        read_examples(path)


def test_no_worked_example_is_about_a_heldout_document_or_a_question() -> None:
    turns = read_examples(Path("examples/tarnfell/worked_examples.jsonl"))
    asked = Path("examples/tarnfell/questions.jsonl").read_text(encoding="utf-8")
    assert all(turn.question not in asked for turn in turns)
    assert sum("do not cover this" in turn.answer for turn in turns) == 1
