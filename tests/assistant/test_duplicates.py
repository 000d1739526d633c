from assistant.duplicates import collapse
from assistant.hit import Hit
from ingest.document import Chunk

LONG = (
    "Before the pump is lowered, check that the collar sits firmly, that the cable is dry, and "
    "that no sand is left in the inlet; a worn inlet strainer is changed on the same day."
)


def hit(document: str, text: str, title: str = "Pump", score: float = 1.0) -> Hit:
    chunk = Chunk(
        f"{document}-{text[:9]}", document, "c", f"{document}.md", title, (), None, 0, 1, text, 0
    )
    return Hit(chunk, score, None)


def shown(*hits: Hit) -> list[tuple[str, list[str]]]:
    return [
        (hit.chunk.document_id, [copy.document_id for copy in hit.copies])
        for hit in collapse(hits, k=9).hits
    ]


def test_the_same_passage_is_shown_once_and_names_the_others() -> None:
    assert shown(hit("a", LONG), hit("b", LONG), hit("d", "Something else."), hit("c", LONG)) == [
        ("a", ["b", "c"]),
        ("d", []),
    ]


def test_case_and_spacing_do_not_tell_passages_apart_nor_does_a_word_in_many() -> None:
    assert len(shown(hit("a", LONG), hit("b", LONG.upper().replace(" ", "\n")))) == 1
    assert len(shown(hit("a", LONG), hit("b", LONG.replace("same day", "same shift")))) == 1


def test_a_different_number_makes_a_different_passage() -> None:
    first = LONG + " The torque is 9.5 N·m."
    assert len(shown(hit("a", first), hit("b", first.replace("9.5", "8.0")))) == 2


def test_a_short_passage_is_the_same_only_under_the_same_title() -> None:
    row = "Part: Seal; Price: EUR 4.00"
    assert len(shown(hit("a", row, "Pump 20"), hit("b", row, "Drill 40"))) == 2
    assert len(shown(hit("a", row), hit("b", row))) == 1


def test_passages_of_one_document_are_never_copies_of_each_other() -> None:
    assert len(shown(hit("a", LONG), hit("a", LONG + " Always."))) == 2


def test_what_is_dropped_names_what_is_shown_instead() -> None:
    (dropped,) = collapse([hit("a", LONG), hit("b", LONG)], k=1).dropped
    assert (dropped.hit.chunk.source, dropped.why, dropped.by) == ("b.md", "duplicate", "a.md")


def test_no_more_than_wanted_are_kept_and_copies_further_down_are_still_named() -> None:
    found = collapse([hit("a", LONG), hit("d", "Other."), hit("b", LONG)], k=1)
    assert [(h.chunk.document_id, len(h.copies)) for h in found.hits] == [("a", 1)]


def test_many_copies_do_not_hide_what_is_ranked_behind_them() -> None:
    copies = [hit(f"c{n}", LONG) for n in range(50)]
    assert shown(*copies, hit("d", "Other."))[1] == ("d", [])
    found = collapse([*copies, hit("d", "Other.")], k=2)
    assert [h.chunk.document_id for h in found.hits] == ["c0", "d"]
