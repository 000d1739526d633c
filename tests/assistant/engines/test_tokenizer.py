"""Prompts as text and as tokens, from a model's file alone."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from assistant.config import EngineSettings
from assistant.engines.engine import Message
from assistant.engines.tokenizer import GgufTokenizer, shell_of
from ingest.errors import ConfigError, EngineError
from ingest.model_file import fetch

TALK = (
    Message("system", "Be  brief.\n"),
    Message("user", 'What <b>is</b> "5 %" & {{ this }}?'),
    Message("assistant", "Größe 9.5 N·m"),
    Message("user", "Why?"),
)


def write_model(path: Path, template: str, *, add_bos: bool | None = None) -> Path:
    """Write a model that has a vocabulary of four tokens and a chat template, and no weights."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["<unk>", "<s>", "</s>", "<turn>"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_eot_token_id(3)
    if add_bos is not None:
        writer.add_add_bos_token(add_bos)
    if template:
        writer.add_chat_template(template)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


@pytest.mark.model
def test_a_prompt_is_the_text_that_training_rendered() -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    from assistant.chat_template import read_chat_template

    gguf = fetch(EngineSettings().model)
    turns = [{"role": m.role, "content": m.content} for m in TALK]
    for count in (1, 2, 4):
        [[expected], _] = render_jinja_template(
            conversations=[turns[:count]],
            chat_template=read_chat_template(gguf),
            add_generation_prompt=True,
        )
        assert GgufTokenizer(gguf).render(TALK[:count]) == expected


@pytest.mark.model
def test_tokens_are_counted_in_many_threads_with_one_small_model(tmp_path: Path) -> None:
    gguf = fetch(EngineSettings().model)
    tokenizer = GgufTokenizer(gguf)
    with ThreadPoolExecutor(8) as pool:
        counts = set(pool.map(lambda _: len(tokenizer.ids("one two three")), range(16)))
    tokenizer.close()
    assert counts == {3}
    assert shell_of(gguf).stat().st_size < 10_000_000


@pytest.mark.parametrize(
    ("add_bos", "expected"), [(True, "[user] hi"), (False, "<s>[user] hi"), (None, "<s>[user] hi")]
)
def test_the_first_token_stands_there_once(
    tmp_path: Path, add_bos: bool | None, expected: str
) -> None:
    template = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}"
    model = write_model(tmp_path / "m.gguf", template, add_bos=add_bos)
    assert GgufTokenizer(model).render([Message("user", "hi")]) == expected


def test_every_token_that_ends_a_turn_is_known(tmp_path: Path) -> None:
    assert GgufTokenizer(write_model(tmp_path / "m.gguf", "x")).end_tokens == ("</s>", "<turn>")


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no chat template.*\n.*instruction-tuned"):
        GgufTokenizer(write_model(tmp_path / "m.gguf", ""))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
        ("{% if %}", "says"),
    ],
)
def test_a_template_that_refuses_or_reaches_out_is_an_error(
    tmp_path: Path, template: str, message: str
) -> None:
    tokenizer = GgufTokenizer(write_model(tmp_path / "m.gguf", template))
    with pytest.raises(EngineError, match=message):
        tokenizer.render([Message("user", "hi")])
