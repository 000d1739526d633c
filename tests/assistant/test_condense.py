import json
from pathlib import Path

import pytest

from assistant.condense import condense

BEFORE = "How tight do the sensor collars of the Burbot 20 go?"


@pytest.mark.parametrize(
    "question",
    ["And the 30?", "What about its battery?", "how deep may it go?", "and that one", "why?"],
)
def test_a_follow_up_takes_the_telling_words_of_the_question_before(question: str) -> None:
    found = condense(question, [BEFORE])
    assert found.startswith(question)
    assert {"sensor", "collars", "Burbot", "20"} <= set(found.split())
    assert "the of" not in found


@pytest.mark.parametrize(
    "question", ["Which plug does the Badger 30 take?", "What does code E-421 mean?", BEFORE]
)
def test_a_question_that_names_its_subject_stands_alone(question: str) -> None:
    assert condense(question, ["What does a Gimlet 210 cost?"]) == question


def test_a_question_without_history_stays_as_it_is() -> None:
    assert condense("and it?", []) == "and it?"


def test_a_follow_up_on_a_follow_up_reaches_the_first_question() -> None:
    found = condense("and the price?", [BEFORE, "how heavy is it?"])
    assert {"heavy", "Burbot", "20"} <= set(found.split())


def test_a_new_topic_ends_what_came_before() -> None:
    found = condense("and the price?", [BEFORE, "Which plug does the Badger 30 take?"])
    assert "Badger" in found
    assert "Burbot" not in found


def test_no_word_is_added_twice() -> None:
    words = condense("and its collars?", [BEFORE + " " + BEFORE]).casefold().split()
    assert len([word for word in words if word.strip("?") in {"collars", "burbot"}]) == 2


def test_a_question_without_a_word_changes_nothing() -> None:
    assert "Burbot" in condense("???", [BEFORE])
    assert condense(BEFORE, ["???", ""]) == BEFORE


def test_of_the_samples_dialogues_the_follow_ups_lean_and_the_new_topics_do_not() -> None:
    lines = Path("examples/tarnfell/dialogues.jsonl").read_text(encoding="utf-8").splitlines()
    for dialogue in map(json.loads, lines):
        earlier = [turn["question"] for turn in dialogue["history"]]
        leaned = condense(dialogue["question"], earlier) != dialogue["question"]
        assert leaned == (dialogue["tags"] == ["follow-up"]), dialogue["id"]
