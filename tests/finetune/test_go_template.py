from collections.abc import Sequence

from assistant.engines.engine import Message
from finetune.go_template import CONVERSATIONS, differences, go_template


def chatml(messages: Sequence[Message]) -> str:
    turns = "".join(f"<|im_start|>{m.role}\n{m.content}<|im_end|>\n" for m in messages)
    return turns + "<|im_start|>assistant\n"


def only_the_last(messages: Sequence[Message]) -> str:
    return messages[-1].content


def test_a_template_is_read_off_what_stands_between_the_messages() -> None:
    template = go_template(chatml)
    assert template is not None
    assert '{{ "<|im_end|>\\n<|im_start|>assistant\\n" }}' in template


def test_a_rendering_that_drops_messages_has_no_template() -> None:
    assert go_template(only_the_last) is None


def test_equal_renderings_have_no_differences_and_others_are_shown() -> None:
    assert differences(chatml, chatml) == []
    found = differences(chatml, only_the_last)
    assert len(found) == len(CONVERSATIONS)
    assert "the server renders '9.5 N·m?'" in found[1]
