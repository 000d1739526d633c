"""Whether a passage supports an answer, judged by its words alone."""

from assistant.citations import spoken
from assistant.sentence import WORD

SUPPORTED = 0.6
"""Share of an answer's telling words, 0 to 1, that its passage must hold."""


def support(answer: str, question: str, passage: str) -> float:
    """Return the share of the answer's telling words that `passage` holds, 0 to 1.

    Words of the question do not tell: every answer repeats them. A number or a code that the
    passage lacks makes it 0, for the one wrong figure is the whole harm. Of a JSON answer its texts
    count. An answer that adds no word of its own is supported by nothing.
    """
    held = _words(passage)
    telling = _words(spoken(answer)) - _words(question)
    if not telling or any(_is_figure(word) for word in telling - held):
        return 0.0
    return len(telling & held) / len(telling)


def _words(text: str) -> set[str]:
    return {w.casefold() for w in WORD.findall(text) if len(w) > 2 or _is_figure(w)}


def _is_figure(word: str) -> bool:
    return any(c.isdigit() for c in word)
