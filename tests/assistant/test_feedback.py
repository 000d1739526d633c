from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from assistant.access import OWNER, Access
from assistant.answer import Answer, Ask, Evidence, Timings
from assistant.feedback import Feedback, Opinion
from assistant.prompt import Turn
from ingest.errors import NotFoundError

DAY = 24 * 3600.0
ANNA = Access("anna", frozenset(("admin",)), frozenset(("manuals",)))
BERT = Access("bert", frozenset(("admin",)), frozenset(("recipes",)))
ASK = Ask("How tight?", mode="rag", collection="manuals", history=(Turn("Hello?", "Hi."),))


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'state.sqlite'}")
    yield engine
    engine.dispose()


def answer(number: int, document: str = "d1") -> Answer:
    passage = Evidence(1, "c1", document, "a.md", "A", "", None, 0, 9, "To 38 N·m.", 1.0)
    return Answer(
        answer="To 38 N·m.",
        abstained=False,
        citations=(),
        mode="rag",
        model="m",
        adapter=None,
        prompt_tokens=1,
        completion_tokens=1,
        finish_reason="stop",
        timings=Timings(),
        evidence=(passage,),
        evidence_dropped=0,
        request_id=f"r{number}",
    )


def said(number: int, words: str, document: str = "d1") -> Answer:
    return replace(answer(number, document), answer=words)


def ids(feedback: Feedback, access: Access = OWNER) -> list[str]:
    return [item["request_id"] for item in feedback.list(access)]


def test_an_opinion_is_kept_with_all_that_it_is_about(database: Engine) -> None:
    feedback = Feedback(database, keep_answers=10, keep_days=1)
    feedback.remember(replace(ASK, question="Hello?", history=()), said(0, "Hi."), ANNA)
    feedback.remember(ASK, answer(1), ANNA)
    feedback.rate(Opinion("r1", "down", "To 40 N·m.", "Too low."), ANNA)
    [item] = feedback.list(ANNA)
    assert (item["question"], item["answer"]) == ("How tight?", "To 38 N·m.")
    assert item["history"] == [["Hello?", "Hi."]]
    assert (item["rating"], item["correction"], item["comment"]) == (
        "down",
        "To 40 N·m.",
        "Too low.",
    )
    [passage] = item["evidence"]
    assert (passage["text"], passage["cited"]) == ("To 38 N·m.", False)
    assert "key" not in item


def test_what_was_said_elsewhere_is_not_kept_with_an_answer(database: Engine) -> None:
    feedback = Feedback(database, keep_answers=10, keep_days=1)
    feedback.remember(ASK, answer(1), ANNA)
    feedback.remember(replace(ASK, history=(), collection="recipes"), said(2, "Hi."), BERT)
    feedback.remember(ASK, answer(3), ANNA)
    for request in ("r1", "r3"):
        feedback.rate(Opinion(request, "up"), ANNA)
    assert [item["history"] for item in feedback.list(ANNA)] == [[], []]


def test_an_answer_goes_with_the_documents_of_what_was_said_before_it(database: Engine) -> None:
    feedback = Feedback(database, keep_answers=10, keep_days=1)
    first, second = Turn("A?", "From a."), Turn("And b?", "From b.")
    feedback.remember(replace(ASK, history=()), said(1, "From a.", "a"), ANNA)
    feedback.remember(replace(ASK, history=(first,)), said(2, "From b.", "b"), ANNA)
    # The turn about `a` is left out by now, and what it led to is not.
    feedback.remember(replace(ASK, history=(second,)), said(3, "From c.", "c"), ANNA)
    feedback.remember(replace(ASK, history=()), said(4, "From c alone.", "c"), ANNA)
    for number in (1, 2, 3, 4):
        feedback.rate(Opinion(f"r{number}", "up"), ANNA)
    assert feedback.forget_document("a") == 3
    assert ids(feedback) == ["r4"]


def test_a_later_opinion_replaces_an_earlier_one(database: Engine) -> None:
    feedback = Feedback(database, keep_answers=10, keep_days=1)
    feedback.remember(ASK, answer(1), ANNA)
    feedback.rate(Opinion("r1", "down", "No."), ANNA)
    feedback.rate(Opinion("r1", "up"), ANNA)
    [item] = feedback.list(ANNA)
    assert (item["rating"], item["correction"]) == ("up", None)


def test_nobody_rates_or_sees_the_answers_of_another_collection(database: Engine) -> None:
    feedback = Feedback(database, keep_answers=10, keep_days=1)
    feedback.remember(ASK, answer(1), ANNA)
    with pytest.raises(NotFoundError) as theirs:
        feedback.rate(Opinion("r1", "up"), BERT)
    with pytest.raises(NotFoundError) as nobodys:
        feedback.rate(Opinion("r2", "up"), BERT)
    assert str(theirs.value).replace("r1", "r2") == str(nobodys.value)
    feedback.rate(Opinion("r1", "up"), ANNA)
    assert ids(feedback, BERT) == []
    assert ids(feedback, ANNA) == ids(feedback, OWNER) == ["r1"]


def test_answers_are_forgotten_by_age_and_by_number_unless_they_were_rated(
    database: Engine,
) -> None:
    clock = Clock()
    feedback = Feedback(database, keep_answers=2, keep_days=1, now=clock)
    for number in range(5):
        feedback.remember(ASK, answer(number), ANNA)
    feedback.rate(Opinion("r0", "up"), ANNA)
    assert feedback.sweep() == 2  # r1 and r2: r3 and r4 are the newest two
    with pytest.raises(NotFoundError, match="forgotten"):
        feedback.rate(Opinion("r2", "up"), ANNA)
    clock.now += 2 * DAY
    assert feedback.sweep() == 2
    assert ids(feedback) == ["r0"]


def test_the_number_remembered_stays_bounded_without_being_asked(database: Engine) -> None:
    feedback = Feedback(database, keep_answers=3, keep_days=1)
    for number in range(200):
        feedback.remember(ASK, answer(number), ANNA)
    assert feedback.sweep() <= 64


def test_remembering_can_be_switched_off(database: Engine) -> None:
    feedback = Feedback(database, keep_answers=0, keep_days=1)
    feedback.remember(ASK, answer(1), ANNA)
    with pytest.raises(NotFoundError):
        feedback.rate(Opinion("r1", "up"), ANNA)


def test_what_was_made_of_a_document_goes_with_it(database: Engine) -> None:
    feedback = Feedback(database, keep_answers=10, keep_days=1)
    for number, document in ((1, "d1"), (2, "d2")):
        feedback.remember(ASK, answer(number, document), ANNA)
        feedback.rate(Opinion(f"r{number}", "up"), ANNA)
    assert feedback.forget_document("d1") == 1
    assert ids(feedback) == ["r2"]
