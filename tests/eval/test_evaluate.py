"""Whole evaluations: a real registry, index and report, with a language model that is scripted."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from assistant.config import Settings
from assistant.engines.engine import Request
from eval.evaluate import evaluate
from eval.recipe import Arm, Recipe, read_recipe
from ingest.errors import ConfigError
from tests.rig import NOW, Rig, numbers, reply


def test_two_runs_differ_in_nothing_but_times(
    rig: Rig, recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    first = numbers(evaluate(recipe(), rig, now=NOW, out=tmp_path / "1"))
    (rig.home / "cache" / "evaluation.sqlite").unlink()
    second = numbers(evaluate(recipe(), rig, now=NOW, out=tmp_path / "2"))
    assert json.dumps(first) == json.dumps(second)
    facts = first["summary"]["means"]["all"]
    assert (facts["rag"]["facts"]["mean"], facts["base"]["facts"]["mean"]) == (1, 0)


def test_a_rerun_asks_the_model_nothing(rig: Rig, recipe: Callable[..., Recipe]) -> None:
    first = evaluate(recipe(), rig, now=NOW)
    asked = len(rig.scripted.requests)
    again = evaluate(recipe(), rig, now=NOW.replace(year=2027))
    assert len(rig.scripted.requests) == asked > 0
    assert numbers(again) == numbers(first)
    assert again["report"] != first["report"]


def test_arms_differ_in_what_they_say_they_do(rig: Rig, recipe: Callable[..., Recipe]) -> None:
    arms = (
        Arm(name="rag", mode="rag"),
        Arm(name="wide", mode="rag", retrieval={"sentences": 5}),
        Arm(name="terse", mode="rag", system="Be terse."),
    )
    result = evaluate(recipe(*arms), rig, now=NOW)
    systems = [r.messages[0].content for other in rig.others for r in other.scripted.requests]
    assert not systems  # both variants use the configured engine
    said = {request.messages[0].content for request in rig.scripted.requests}
    assert "Be terse." in said
    rests = json.loads((Path(result["report"]) / "report.json").read_text())["manifest"]["arms"]
    assert rests["wide"]["retrieval"]["sentences"] == 5
    assert rests["rag"]["retrieval"]["sentences"] != 5
    assert rests["terse"]["answer"]["system"] == "Be terse."


def test_an_arm_with_another_model_asks_that_one_and_closes_it(
    rig: Rig, recipe: Callable[..., Recipe]
) -> None:
    arms = (
        Arm(name="rag", mode="rag"),
        Arm(name="other", mode="rag", engine={"model": "file:other.gguf"}),
        Arm(
            name="other_wide",
            mode="rag",
            engine={"model": "file:other.gguf"},
            retrieval={"sentences": 5},
        ),
    )
    evaluate(recipe(*arms), rig, now=NOW)
    first, second = rig.others
    assert len(first.scripted.requests) == 2 * len(rig.scripted.requests)
    assert first.scripted.closed
    assert not second.scripted.requests  # it shares the first one's model
    assert not rig.scripted.closed


def test_a_wrong_key_of_an_arm_names_the_arm_and_the_right_key(
    rig: Rig, recipe: Callable[..., Recipe]
) -> None:
    arm = Arm(name="wide", mode="rag", retrieval={"topk": 3})
    with pytest.raises(ConfigError, match=r"arm 'wide': .*retrieval.topk.*did you mean 'top_k'"):
        evaluate(recipe(arm), rig, now=NOW)


def test_sampled_answers_are_averaged_by_question(rig: Rig, recipe: Callable[..., Recipe]) -> None:
    def sometimes(request: Request) -> str:
        return reply(request) if request.seed % 2 else "No idea."

    rig.scripted._reply = sometimes
    arm = Arm(name="rag", mode="rag", temperature=0.7)
    result = evaluate(recipe(arm, repeat=4), rig, now=NOW)
    facts = result["summary"]["means"]["all"]["rag"]["facts"]
    assert (facts["mean"], facts["n"]) == (0.5, 3)


def test_a_recipe_reads_every_setting_of_an_arm(tmp_path: Path) -> None:
    path = tmp_path / "eval.toml"
    path.write_text(
        'questions = "q.jsonl"\n'
        '[[arm]]\nname = "a"\nmode = "combined"\nadapter = "tickets:v2"\ntemperature = 0.3\n'
        'system = "Be terse."\nengine = { kind = "ollama", url = "http://localhost:11434" }\n'
        "retrieval = { top_k = 3 }\n",
        encoding="utf-8",
    )
    (arm,) = read_recipe(path).arm
    settings = arm.settings(Settings())
    assert (settings.engine.kind, settings.retrieval.top_k) == ("ollama", 3)
    assert settings.answer.system == "Be terse."
    path.write_text('questions = "q"\n[[arm]]\nname = "a"\nmode = "base"\nadapter = "x"\n')
    with pytest.raises(ConfigError, match="mode 'base' takes no adapter"):
        read_recipe(path)
    path.write_text('questions = "q"\n[[arm]]\nname = "a"\nmode = "base"\ntop_k = 3\n')
    with pytest.raises(ConfigError, match="mode 'base' retrieves nothing"):
        read_recipe(path)


def test_arms_are_not_compared_with_an_adapter_that_the_question_chooses(
    rig: Rig, recipe: Callable[..., Recipe]
) -> None:
    asked = recipe(Arm(name="combined", mode="combined"), adapter="auto")
    with pytest.raises(ConfigError, match="name one"):
        evaluate(asked, rig, now=NOW)
