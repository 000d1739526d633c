"""Condensation: a follow-up becomes a question that can be searched for by itself.

"And the 30?" finds nothing; what it is about stands in the turn before. The words of a follow-up
are kept and the telling words of the question before it are added. Answers are left out: they lead
back to the passage that was shown already. Figures are in `docs/design/retrieval.md`.
"""

import re
from collections.abc import Sequence
from functools import reduce

from ingest.stores.dialect import STOP_WORDS

WORD = re.compile(r"[^\W_]+(?:[-.,/·][^\W_]+)*")
OPENING = frozenset({"and", "or", "but"})
ABOUT = frozenset({("what", "about"), ("how", "about")})
POINTING = frozenset((
    "it", "its", "that", "this", "these", "those", "they", "them", "their", "he", "she", "his",
    "her", "there", "same", "other",
))  # fmt: skip


def condense(question: str, earlier: Sequence[str]) -> str:
    """Return `question`, with what it leans on from the `earlier` ones, oldest first."""
    return reduce(lambda before, here: _joined(here, before), [*earlier, question])


def _joined(question: str, before: str) -> str:
    if not _leans(question):
        return question
    have = {word.casefold() for word in WORD.findall(question)} | STOP_WORDS
    added = [word for word in WORD.findall(before) if word.casefold() not in have]
    return " ".join([question, *dict.fromkeys(added)])


def _leans(question: str) -> bool:
    """Return whether the question cannot stand alone: it opens or points so, or names nothing."""
    words = WORD.findall(question)
    small = [word.casefold() for word in words]
    if small[:1] and small[0] in OPENING or tuple(small[:2]) in ABOUT:
        return True
    if POINTING & set(small):
        return True
    # The first word has its capital from its place. A name, a number or a code is a subject.
    return not (any(word[0].isupper() for word in words[1:]) or any(c.isdigit() for c in question))
