import pytest

from assistant.answer_kind import fits
from assistant.sentence import sentences, shared_words, telling
from ingest.document import Chunk

TITLE = "Sculpin 14 Bottle Sampler: Field Manual"


def sentence(text: str) -> Chunk:
    return Chunk("c", "d", "default", "manual.md", TITLE, (), None, 0, len(text), text, 0)


def better(question: str, first: str, second: str) -> bool:
    return telling(question, sentence(first)) > telling(question, sentence(second))


def test_sentences_end_at_full_stops_and_lines_but_not_inside_numbers() -> None:
    text = "Use 4.5 bar. Then stop!\n- Part: Seal; Price: EUR 4.00\nEnd"
    assert [text[s.start : s.end] for s in sentences(text)] == [
        "Use 4.5 bar.",
        "Then stop!",
        "- Part: Seal; Price: EUR 4.00",
        "End",
    ]


def test_a_word_that_few_sentences_hold_weighs_more_than_one_in_all() -> None:
    texts = ["Wick 12: the lid", "Wick 12: the seal", "Wick 12: the bucket"]
    lid, seal, bucket = shared_words("Is the lid of the Wick 12 red?", texts)
    assert lid == pytest.approx(1)  # "red" is in no sentence, so none can be blamed for it
    assert 0 < seal == bucket < 0.5


def test_a_question_that_shares_no_word_shares_nothing() -> None:
    assert shared_words("Why?", ["The pump is blue.", "Wait."]) == [0, 0]


def test_the_row_of_the_code_that_is_asked_for_beats_the_row_of_its_neighbour() -> None:
    assert better(
        "Our Sculpin 14 flashes E-154, what is wrong?",
        "Code: E-154; Meaning: Arm does not find its home position",
        "Code: E-151; Meaning: No liquid found after 3 attempts",
    )


def test_a_code_of_another_series_is_no_stranger() -> None:
    assert not better(
        "What does bulletin SB-104 say of E-142?",
        "E-142 clears by itself.",
        "SB-104 is about E-142.",
    )


@pytest.mark.parametrize(
    ("question", "answer", "beside"),
    [
        ("How long do I have to wait?", "Wait 12 minutes.", "Lower it by 1.5 m."),
        ("How often is it inspected?", "Every 18 months.", "It weighs 61 kg."),
        ("Is there a deadline?", "It must be done within 21 working days.", "Revision 4"),
        ("What does a seal cost?", "Seal: EUR 4.00", "Seal: pack of 4"),
        ("What is the handling fee?", "The fee is 15 %.", "It is due at step 15."),
        ("At what number can I ring you?", "Telephone: +44 1632 960221", "Ask for 960221"),
        ("Which part is the new seal?", "Seal: TF-1418-5", "Seal: 14 mm, blue"),
    ],
)
def test_a_sentence_with_an_answer_of_the_kind_that_is_asked_for_is_preferred(
    question: str, answer: str, beside: str
) -> None:
    assert fits(question, answer)
    assert not fits(question, beside)
    assert better(question, answer, beside)


@pytest.mark.parametrize("question", ["Why is it blue?", "Wie lange dauert es?", ""])
def test_a_question_that_asks_for_no_known_kind_prefers_none(question: str) -> None:
    assert not fits(question, "Wait 12 minutes; EUR 4.00; TF-1418-5; +44 1632 960221")


def test_a_number_of_the_question_makes_no_stranger_of_another_number() -> None:
    assert better(
        "Does it work at 2500 metres?", "It loses power above 1800 metres.", "It loses power."
    )


def test_a_text_made_to_be_read_again_and_again_is_read_once() -> None:
    assert not fits("How long do I have to wait?", "1," * 100_000)  # minutes, were it not so
