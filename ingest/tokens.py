"""How many tokens a text has for the embedding model, for many texts at once."""

from collections.abc import Callable, Sequence
from typing import Any

CountTokens = Callable[[Sequence[str]], Sequence[int]]
"""Returns one number a text: its tokens, special tokens left out."""


def token_counter(tokenizer: Any) -> CountTokens:
    """Return a counter that works like `tokenizer`, of transformers, and apart from it.

    A fast tokenizer counts a batch in Rust. It is copied first: cutting and padding are settings of
    the tokenizer itself, and whoever embeds in another thread meanwhile sets them.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return lambda texts: [len(tokenizer.tokenize(text)) for text in texts]
    from tokenizers import Tokenizer

    own = Tokenizer.from_str(backend.to_str())
    own.no_truncation()
    own.no_padding()

    def count(texts: Sequence[str]) -> list[int]:
        found = own.encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(encoding) for encoding in found]

    return count
