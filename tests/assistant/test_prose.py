import re

from hypothesis import given
from hypothesis import strategies as st

from assistant.citations import strip_markers
from assistant.prose import Prose

PIECES = st.lists(st.sampled_from([" ", "\n", "[", "]", "[1]", "12", "[2", "word", ".", "{", "3]"]))


@given(pieces=PIECES)
def test_what_is_shown_adds_up_to_the_answer_without_its_markers(pieces: list[str]) -> None:
    answer = strip_markers("".join(pieces))
    prose = Prose()
    shown = "".join(prose.push(piece) for piece in pieces)
    if not "".join(pieces).lstrip().startswith("{"):
        assert shown + prose.rest(answer) == answer
        assert not re.search(r"\s$", shown)


def test_words_are_shown_as_they_come() -> None:
    prose = Prose()
    assert [prose.push(piece) for piece in ("To 38", " N·m", " [3", "]", " firmly.")] == [
        "To 38",
        " N·m",
        "",
        "",
        " firmly.",
    ]
    assert prose.rest("To 38 N·m firmly. [1]") == " [1]"


def test_numbers_in_json_are_not_markers() -> None:
    prose = Prose()
    assert "".join(map(prose.push, ['{"sources"', ": ", "[1]", "}"])) == '{"sources": [1]}'
