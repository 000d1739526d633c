"""Duplicates: the same passage, or nearly the same, in more than one document."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from assistant.hit import Dropped, Findings, Hit

WORD = re.compile(r"[^\W_]+(?:[-.,/·][^\W_]+)*")
SHINGLE = 3
ALIKE = 0.85
"""Share of the word triples of two passages, of all that either has, from which they count as one.
A passage of 60 words may differ in one or two of them."""
FEW_WORDS = 8
"""Shorter passages, such as a row of a table, are the same only in the same context: "Seal: EUR 4"
under two products is two prices."""

REACH = 5
"""A copy is ranked near its original: the words are the same, if not always the title."""


class _Print:
    """What a passage is compared by."""

    def __init__(self, hit: Hit) -> None:
        words = WORD.findall(hit.chunk.text.casefold())
        if len(words) < FEW_WORDS:
            words = WORD.findall(hit.chunk.context.casefold())
        self.words = words
        # Two revisions of a text that differ in a number differ in all that matters.
        self.numbers = sorted(word for word in words if any(c.isdigit() for c in word))

    @cached_property
    def shingles(self) -> set[tuple[str, ...]]:
        return set(zip(*(self.words[i:] for i in range(SHINGLE)), strict=False))

    def like(self, other: "_Print") -> bool:
        if self.words == other.words:
            return True
        short, long = sorted((len(self.words), len(other.words)))
        if self.numbers != other.numbers or short < ALIKE * long:
            return False
        common = len(self.shingles & other.shingles)
        either = len(self.shingles) + len(other.shingles) - common
        return either > 0 and common >= ALIKE * either


def collapse(hits: Sequence[Hit], *, k: int) -> Findings:
    """Keep the best of each group of like passages, `k` at most; it names the others as `copies`.

    Passages of one document are never taken for copies of each other: neighbours overlap. Once
    `k` are kept, copies are looked for among the first `REACH` times `k` alone.
    """
    kept: list[Hit] = []
    prints: list[_Print] = []
    dropped: list[Dropped] = []
    for number, hit in enumerate(hits):
        if len(kept) == k and number >= REACH * k:
            break
        mark = _Print(hit)
        for place, first in enumerate(kept):
            if first.chunk.document_id != hit.chunk.document_id and prints[place].like(mark):
                kept[place] = replace(first, copies=(*first.copies, hit.chunk))
                dropped.append(Dropped(hit, "duplicate", first.chunk.source))
                break
        else:
            if len(kept) < k:
                kept.append(hit)
                prints.append(mark)
    return Findings(kept, dropped)
