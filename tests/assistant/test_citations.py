import json

from assistant.answer import Evidence
from assistant.citations import cite, fill, mark, spoken, strip_markers

TEXT = "The pump is blue. Tighten the collar to 38 N·m with tool TF-1204-1. Wait 5 days."


def evidence(marker: int, text: str, start: int = 100) -> Evidence:
    return Evidence(marker, f"c{marker}", f"d{marker}", f"{marker}.md", "T", "H", 1, start,
                    start + len(text), text, 0.1)  # fmt: skip


FOUND = [
    evidence(1, "The generator needs 12 litres of fuel. Its torque is 83 N·m."),
    evidence(2, TEXT),
    evidence(3, "Warranty lasts for 24 months from delivery."),
]


def test_the_passage_that_holds_the_fact_is_cited_with_its_sentence() -> None:
    (citation,) = cite("The collar is tightened to 38 N·m.", "How tight is the collar?", FOUND)
    assert citation.marker == 2
    assert citation.quote == "Tighten the collar to 38 N·m with tool TF-1204-1."
    assert TEXT[citation.start - 100 : citation.end - 100] == citation.quote


def test_an_answer_from_two_passages_cites_both() -> None:
    answer = "Tighten it to 38 N·m; the warranty lasts for 24 months."
    assert {c.marker for c in cite(answer, "Torque and warranty?", FOUND)} == {2, 3}


def test_an_answer_that_no_passage_supports_is_not_cited() -> None:
    assert cite("The moon is made of cheese.", "What is the moon?", FOUND) == ()
    assert cite("Use 99 N·m.", "How tight?", FOUND) == ()


def test_repeating_the_question_supports_nothing() -> None:
    assert cite("Tighten the collar?", "Should I tighten the collar?", FOUND) == ()


def test_markers_that_the_model_wrote_are_replaced() -> None:
    citations = cite(strip_markers("The collar is at 38 N·m [3]."), "How tight?", FOUND)
    assert mark(strip_markers("To 38 N·m [3]."), citations) == "To 38 N·m. [2]"


def test_only_the_citation_numbers_of_a_house_answer_are_corrected() -> None:
    schema = {"properties": {"answer": {}, "sources": {"x-citations": True}}}
    answer = json.dumps({"answer": "To 38 N·m.", "sources": [1]}, ensure_ascii=False)
    citations = cite(spoken(answer), "How tight?", FOUND)
    assert json.loads(fill(answer, schema, citations)) == {"answer": "To 38 N·m.", "sources": [2]}


def test_an_answer_outside_the_house_format_stays_as_it_is() -> None:
    schema = {"properties": {"sources": {"x-citations": True}}}
    citations = cite("38 N·m TF-1204-1", "?", FOUND)
    for answer in ["no json", '{"answer": "x"}', "[1, 2]", '{"broken"']:
        assert fill(answer, schema, citations) == answer
