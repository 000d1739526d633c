"""How many of the embedding model's tokens a text has."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

CountTokens = Callable[[Sequence[str]], Sequence[int]]
"""Returns one number a text: its tokens, special tokens left out."""

PROBE = "The  pump's\n\n    seal-ring:\t3.5 bar (“ΔT”)\r\nGröße 9"
"""Words, and white space in several lengths."""
BREAK = re.compile("[ \t\r\n]+")
"""What every tokenizer takes for white space. Of other characters some tokenizers take one for a
space and others for nothing at all, so they stay in their words."""
REMEMBERED = 1 << 16
"""Words whose count is kept, those that came last."""
LONGEST = 40
"""Characters of a word that is worth keeping; what is longer seldom comes again."""


def token_count(tokenize: Callable[[str], Sequence[Any]]) -> CountTokens:
    """Return what counts the tokens that `tokenize` splits a text into.

    Most tokenizers split at white space first, so that a text has as many tokens as its words have.
    Words recur: their counts are kept, which is five times as quick as counting every text anew. A
    tokenizer that sees white space itself is asked each time.
    """

    def count(text: str) -> int:
        return len(tokenize(text))

    kept = functools.lru_cache(REMEMBERED)(count)

    def summed(text: str) -> int:
        words = BREAK.split(text)
        if max(map(len, words)) <= LONGEST:
            return sum(map(kept, words))
        return sum((kept if len(word) <= LONGEST else count)(word) for word in words)

    of_text = summed if count(PROBE) == summed(PROBE) else count
    return lambda texts: [of_text(text) for text in texts]
