import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from assistant.answer import Answer
from eval.cache import Cache
from eval.metrics import (
    abstention,
    facts_right,
    format_valid,
    grounded,
    house_terms,
    score_all,
    similarities,
)
from eval.outcome import Outcome
from eval.overlap import Overlap
from eval.question import Question
from eval.recipe import Arm
from ingest.embed import Embedder

Say = Callable[..., Answer]
HOUSE = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}


def asked(**values: Any) -> Question:
    base = {"id": "q", "question": "How?", "reference": "Tighten it to 25 N·m."}
    return Question.model_validate(base | values)


@pytest.fixture(scope="module")
def overlap() -> Overlap:
    return Overlap()


def test_every_fact_must_be_stated_in_one_of_its_spellings(said: Say) -> None:
    question = asked(facts=[["25 N·m", "25 Nm"], ["4 years", "four years"]])
    assert facts_right(question, said("25 Nm, then wait four years.")).value == 1
    half = facts_right(question, said("25 Nm."))
    assert (half.value, half.why) == (0, "missing: 4 years")


def test_a_question_without_key_facts_is_not_scored_on_facts(said: Say) -> None:
    assert facts_right(asked(), said("You are welcome.")).value is None


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ('{"answer": "yes"}', 1),
        ('{"answer": "yes", "more": 1}', 0),
        ('{"answer": 1}', 0),
        ('```json\n{"answer": "yes"}\n```', 0),
        ('"yes"', 0),
        ("null", 0),
        ("yes", 0),
        ("", 0),
    ],
)
def test_the_format_is_valid_only_when_the_whole_answer_fits(
    said: Say, answer: str, value: float
) -> None:
    assert format_valid(asked(), said(answer), HOUSE).value == value


def test_a_schema_of_the_question_goes_before_the_house_schema(said: Say) -> None:
    question = asked(schema={"type": "array"})
    assert format_valid(question, said("[]"), HOUSE).value == 1
    assert format_valid(asked(), said("[]"), None).value is None


def test_grounded_needs_facts_and_format(said: Say) -> None:
    question = asked(facts=[["25 N·m"]])
    for text, value in (('{"answer": "25 N·m"}', 1), ("25 N·m", 0), ('{"answer": "no"}', 0)):
        answer = said(text)
        form = format_valid(question, answer, HOUSE)
        assert grounded(question, facts_right(question, answer), form).value == value


def test_grounded_does_not_apply_to_unanswerable_questions(said: Say) -> None:
    question, answer = asked(answerable=False), said("25")
    form = format_valid(question, answer, HOUSE)
    assert grounded(question, facts_right(question, answer), form).value is None


@pytest.mark.parametrize("abstained", [True, False])
@pytest.mark.parametrize("answerable", [True, False])
def test_abstaining_is_right_when_there_is_no_answer(
    said: Say, abstained: bool, answerable: bool
) -> None:
    score = abstention(asked(answerable=answerable), said("?", abstained=abstained))
    assert score.value == (abstained != answerable)


def test_avoided_words_count_as_whole_words_only(said: Say) -> None:
    assert house_terms(said("The Devices team."), ["devices"]).value == 0
    assert house_terms(said("Steamed."), ["team"]).value == 1
    assert house_terms(said("Anything."), []).value is None


def test_similarity_compares_the_answer_field_with_the_reference(
    said: Say, embedder: Embedder, cache: Cache
) -> None:
    answers = [said('{"answer": "Tighten it to 25 N·m."}'), said(""), said("Bananas")]
    same, empty, other = similarities([asked()] * 3, answers, embedder, cache)
    assert same.value == pytest.approx(1, abs=1e-6)
    assert empty.value == 0
    assert other.value is not None
    assert other.value < 0.5


def test_texts_that_were_compared_before_are_not_embedded_again(
    said: Say, embedder: Any, cache: Cache
) -> None:
    first = similarities([asked()], [said("Bananas")], embedder, cache)

    class Mute:
        name = embedder.name

        def embed(self, texts: Any) -> Any:
            raise AssertionError("embedded again")

    assert similarities([asked()], [said("Bananas")], Mute(), cache) == first  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="embedded again"):
        similarities([asked()], [said("Apples")], Mute(), cache)  # type: ignore[arg-type]


def test_evidence_and_citations_are_measured_by_document(said: Say, overlap: Overlap) -> None:
    question = asked(documents=["a.md", "b.md"])
    answer = said("x", shown=["a.md", "c.md", "a.md"], cited=["a.md", "c.md"])

    async def scores() -> list[float | None]:
        return [
            (await overlap.retrieval_recall(question, answer, shown=True)).value,
            (await overlap.citation_precision(question, answer, shown=True)).value,
            (await overlap.citation_recall(question, answer, shown=True)).value,
            (await overlap.citation_precision(question, said("x"), shown=True)).value,
            (await overlap.citation_recall(question, said("x"), shown=True)).value,
            (await overlap.retrieval_recall(question, said("x"), shown=False)).value,
        ]

    assert asyncio.run(scores()) == [0.5, 0.5, 0.5, None, 0.0, None]


def test_rouge_is_one_for_the_reference_itself(said: Say, overlap: Overlap) -> None:
    question = asked()
    score = asyncio.run(overlap.rouge(question, said(question.reference)))
    assert score.value == pytest.approx(1)


def test_a_failed_answer_has_no_score_at_all(said: Say, embedder: Embedder, cache: Cache) -> None:
    question, arm = asked(facts=[["25 N·m"]]), Arm(name="base", mode="base")
    outcomes = [
        Outcome("q", "base", "k", None, "the engine stopped"),
        Outcome("q", "base", "k", said("25 N·m")),
    ]
    failed, answered = asyncio.run(
        score_all(
            {"q": question},
            {"base": arm},
            outcomes,
            schema=HOUSE,
            avoided=(),
            embedder=embedder,
            cache=cache,
        )
    )
    assert all(score.value is None for score in failed.values())
    assert failed["facts"].why == "the arm failed: the engine stopped"
    assert answered["facts"].value == 1
    assert answered.keys() == failed.keys()
