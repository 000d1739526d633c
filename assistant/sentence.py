"""Sentences of passages, and how well each speaks to a question."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import log

from assistant.answer_kind import fits
from assistant.hit import Hit
from ingest.document import Chunk, Span
from ingest.embed import Embedder

SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"(])|\n+")
WORD = re.compile(r"[^\W_]+(?:[-.,/·][^\W_]+)*")
"""A word, a number with its unit's dot, or a code with its hyphens."""
DIGIT = re.compile(r"\d")
LETTER = re.compile(r"[^\W\d_]")
BONUS = 0.3
SHARE = 0.5
RANK_OFFSET = 3
"""A sentence of the best passage gains 1/3 on one that was not found, of the second 1/4, ..."""


def sentences(text: str) -> list[Span]:
    """Return where the sentences of `text` stand; a line of a table or a list is one."""
    spans = []
    start = 0
    for end in SENTENCE_END.finditer(text):
        if text[start : end.start()].strip():
            spans.append(Span(start, end.start()))
        start = end.end()
    if text[start:].strip():
        spans.append(Span(start, len(text)))
    return spans


def rank_sentences(question: str, hits: Sequence[Hit], embedder: Embedder) -> list[Hit]:
    """Return the sentences of the passages `hits`, none of them twice, best first.

    A small model copies a fact well and picks the right one of many badly, so the picking is left
    to the embedding model. A sentence scores twice its cosine to the question, title and headings
    included, plus 1 / (3 + rank of its passage), plus 0.5 times the share of the question's words
    in it, rare ones weighing more, plus what `telling` says. Chosen on tickets, not on the
    questions that answers are evaluated with: `docs/design/retrieval.md`.
    """
    cut = list(_cut(hits))
    if not cut:
        return []
    rows = embedder.embed([question, *(hit.chunk.context for _, hit in cut)])
    near = rows[1:] @ rows[0]  # (len(cut),)
    shared = shared_words(question, [hit.chunk.context for _, hit in cut])
    scored = [
        replace(
            hit,
            score=2 * float(cosine)
            + 1 / (RANK_OFFSET + rank)
            + SHARE * share
            + BONUS * telling(question, hit.chunk),
        )
        for (rank, hit), cosine, share in zip(cut, near, shared, strict=True)
    ]
    return sorted(scored, key=lambda hit: -hit.score)


def telling(question: str, chunk: Chunk) -> int:
    """Count what a sentence has that vectors hardly see.

    One for each code or long number of the question; one for a number that neither the question
    nor the title holds, for what is asked is news; one for a value of the kind that is asked for;
    one less where it is about another code of the same series: E-151 where E-154 is asked.
    """
    asked, said = _numbers(question), _numbers(chunk.text)
    codes = {word for word in asked if len(word) > 3}  # E-433 means one thing, 20 means many
    series = {DIGIT.sub("0", code) for code in codes if LETTER.search(code)}
    stranger = not codes & said and any(DIGIT.sub("0", word) in series for word in said)
    news = bool(said - asked - _numbers(chunk.title))
    return len(codes & said) + news + fits(question, chunk.text) - stranger


def shared_words(question: str, texts: Sequence[str]) -> list[float]:
    """Return which share of the question's words each text holds, 0 to 1.

    A word weighs ln((n + 1) / (holders + 0.5)): a product's name that is in every text tells them
    apart as little as "the". Words that no text holds do not count.
    """
    held = [_words(text) for text in texts]
    weights = {
        word: log((len(texts) + 1) / (holders + 0.5))
        for word in _words(question)
        if (holders := sum(word in words for words in held))
    }
    total = sum(weights.values()) or 1
    return [sum(weights[word] for word in weights.keys() & words) / total for words in held]


def _numbers(text: str) -> set[str]:
    return {word for word in _words(text) if any(c.isdigit() for c in word)}


def _words(text: str) -> set[str]:
    return {word.casefold() for word in WORD.findall(text)}


def _cut(hits: Sequence[Hit]) -> Iterator[tuple[int, Hit]]:
    """Yield the sentences of the hits with their passage's rank from 0, none of them twice."""
    seen: list[str] = []
    for rank, hit in enumerate(hits):
        for span in sentences(hit.chunk.text):
            text = hit.chunk.text[span.start : span.end]
            # Neighbouring chunks overlap: a sentence can be whole in one and torn in the other.
            if any(text in other or other in text for other in seen):
                continue
            seen.append(text)
            start, end = hit.chunk.start + span.start, hit.chunk.start + span.end
            yield rank, replace(hit, chunk=replace(hit.chunk, text=text, start=start, end=end))
