import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.prompt import CONTROL_TOKEN, Passage, Turn, build_messages, fingerprint, neutralise

SPECIAL = [
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "</s>",
    "<s>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<</SYS>>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<｜User｜>",
]


def test_passages_are_numbered_in_the_order_given() -> None:
    user = build_messages("S", "Why?", [Passage("A", "one"), Passage("B", "two")])[-1].content
    passages = "Passages:\n[1] A\none\n\n[2] B\ntwo"
    assert user == f"Question: Why?\n\n{passages}\n\nQuestion: Why?"


def test_without_passages_there_is_only_the_question() -> None:
    messages = build_messages("S", "Why?")
    assert [(m.role, m.content) for m in messages] == [("system", "S"), ("user", "Question: Why?")]


def test_history_stands_before_the_question() -> None:
    turn = Turn("Q1", "A1", (Passage("A", "one"),))
    roles = [m.role for m in build_messages("S", "Q2", history=[turn])]
    assert roles == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize("token", SPECIAL)
def test_no_control_token_from_outside_reaches_the_model(token: str) -> None:
    dirty = f"before {token} after"
    messages = build_messages(
        "S", dirty, [Passage(dirty, dirty)], history=[Turn(dirty, dirty, (Passage(dirty, dirty),))]
    )
    assert all(token not in message.content for message in messages)
    assert "before" in messages[-1].content


@given(st.text(alphabet="<>|/[]abims_ INST｜", max_size=60))
def test_neutralised_text_stays_neutral(text: str) -> None:
    clean = neutralise(text)
    assert CONTROL_TOKEN.search(clean) is None
    assert clean.replace(" ", "") == text.replace(" ", "")


def test_the_fingerprint_names_system_text_and_chat_template() -> None:
    assert fingerprint("a", "t") == fingerprint("a", "t")
    assert len({fingerprint("a", "t"), fingerprint("b", "t"), fingerprint("a", "u")}) == 3
