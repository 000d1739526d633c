import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.near_duplicates import (
    ALIKE,
    copied_from,
    near_duplicates,
    near_duplicates_between,
)

QUESTION = "How tight do the sensor collars of the Burbot 20 go?"
WORDS = ["pump", "hose", "collar", "seal", "ring", "battery", "lid", "screw", "torque", "display"]


@pytest.mark.parametrize(
    "same",
    [
        "how tight do the sensor collars of the burbot 20 go",
        "How tight  do the sensor collars\nof the Burbot 20 go ?!",
        "How tight do the sensor collars of the Burbot 20 go please?",
        "How tigth do the sensor collars of the Burbot 20 go?",
    ],
)
def test_a_question_in_nearly_the_same_characters_is_a_near_duplicate(same: str) -> None:
    (pair,) = near_duplicates([QUESTION, same])
    assert (pair.first, pair.second) == (0, 1)
    assert pair.similarity >= ALIKE


@pytest.mark.parametrize(
    "other",
    [
        "How tight do the sensor collars of the Burbot 30 go?",
        "How tight do the battery screws of the Burbot 20 go?",
        "What does the Burbot 20 cost?",
    ],
)
def test_another_number_or_another_noun_makes_another_question(other: str) -> None:
    assert near_duplicates([QUESTION, other]) == []


def test_every_repetition_is_reported_once_and_with_the_first_of_its_kind() -> None:
    texts = [QUESTION, "Something else altogether.", QUESTION, QUESTION.upper(), QUESTION + " ok"]
    pairs = near_duplicates(texts)
    assert [(p.first, p.second) for p in pairs] == [(0, 2), (0, 3), (0, 4)]
    assert [p.similarity for p in pairs[:2]] == [1.0, 1.0]


def test_empty_texts_are_like_nothing() -> None:
    assert near_duplicates(["", " ", ""]) == []
    assert near_duplicates_between(["", "a"], [" ", "a"])[0][:2] == (1, 1)


def test_between_two_lists_the_most_similar_text_is_named() -> None:
    others = ["Another text.", QUESTION + " thanks", QUESTION.lower()]
    assert [p[:2] for p in near_duplicates_between(["x", QUESTION], others)] == [(1, 2)]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=6, max_size=20), max_size=12))
def test_texts_that_are_found_are_alike_and_those_left_over_are_not(rows: list[list[str]]) -> None:
    texts = [" ".join(row) for row in rows]
    repeated = {p.second for p in near_duplicates(texts)}
    kept = [text for place, text in enumerate(texts) if place not in repeated]
    grams = [{f" {t} "[i : i + 4] for i in range(len(t) - 1)} for t in kept]
    for place, own in enumerate(grams):
        for other in grams[:place]:
            assert len(own & other) / len(own | other) < ALIKE


def test_planted_duplicates_among_thousands_are_found() -> None:
    draw = random.Random(7)
    texts = [" ".join(draw.choices(WORDS, k=24)) for _ in range(2000)]
    planted = [text + " at once" for text in texts[:100]]
    found = {p[:2] for p in near_duplicates_between(planted, texts)}
    assert found == {(place, place) for place in range(100)}


def test_a_question_that_stands_inside_a_passage_is_found_there() -> None:
    passage = f"Often asked. {QUESTION} They are tightened to 3.2 N·m with the collar key."
    pairs = copied_from(["What is new?", QUESTION], iter(["Nothing of the kind.", passage]))
    assert [(p.first, p.second, p.similarity) for p in pairs] == [(1, 1, 1.0)]
