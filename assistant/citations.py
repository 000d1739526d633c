"""Citations: which words of which passage an answer rests on.

A small model picks the right fact far more often than the right number for its passage, so the
numbers are not left to it: code matches the answer to the evidence and attaches the citation.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from assistant.answer import Citation, Evidence, Support
from assistant.sentence import WORD, sentences

MARKER = re.compile(r"\s*\[(\d{1,2})\]")
MIN_SUPPORT = 0.5
"""A passage is cited when it holds at least this share of the answer's telling words."""
DIGIT_WEIGHT = 3.0
"""Numbers and codes tell passages apart far better than words do."""
CITATIONS_KEY = "x-citations"
"""A JSON schema marks the property with it that holds the numbers of the cited passages."""


def strip_markers(text: str) -> str:
    """Return `text` without the passage numbers that the model wrote itself."""
    return MARKER.sub("", text).strip()


def unsupported(raw: str, schema: Mapping[str, Any] | None, citations: Sequence[Citation]) -> int:
    """Count the passage numbers in the model's own words that no citation bears out.

    In prose they are markers; in a JSON answer they stand in the house format's place for them.
    """
    real = {c.marker for c in citations}
    if spoken(raw) == raw:
        return sum(int(number) not in real for number in MARKER.findall(raw))
    value = json.loads(raw)
    listed = [value[key] for key in citation_keys(schema) if isinstance(value.get(key), list)]
    return sum(number not in real for numbers in listed for number in numbers)


def support(
    words: str, question: str, evidence: Sequence[Evidence], citations: Sequence[Citation]
) -> tuple[Support, ...]:
    """Return the sentences of an answer that its cited passages bear out, each with its share."""
    cited = {c.marker for c in citations}
    passages = [e for e in evidence if e.marker in cited]
    found = []
    for span in sentences(words):
        text = words[span.start : span.end]
        if held := cite(text, question, passages):
            score = round(min(1.0, sum(c.score for c in held)), 3)
            found.append(Support(text, tuple(c.marker for c in held), score))
    return tuple(found)


def cite(answer: str, question: str, evidence: Sequence[Evidence]) -> tuple[Citation, ...]:
    """Return the passages that support `answer`, best first.

    A word tells by how few passages hold it; words of the question do not tell at all, because
    every answer repeats them. A second passage is cited only for what the first does not hold.
    """
    asked = _words(question)
    telling = {word for word in _words(answer) if word not in asked}
    passages = [_words(e.text) for e in evidence]
    weights = {word: _weight(word, passages) for word in telling}
    total = sum(weights.values())
    citations: list[Citation] = []
    open_words = set(telling)
    left = list(range(len(evidence)))
    while left and total > 0:
        held = {i: sum(weights[w] for w in open_words & passages[i]) for i in left}
        best = max(left, key=lambda i: held[i])
        share = held[best] / total
        if share < (MIN_SUPPORT if not citations else MIN_SUPPORT / 2):
            break
        citations.append(_citation(evidence[best], telling, weights, share))
        open_words -= passages[best]
        left.remove(best)
    return tuple(citations)


def mark(answer: str, citations: Sequence[Citation]) -> str:
    """Return a prose answer with the numbers of its passages at its end: `... 38 N·m. [2]`."""
    return f"{answer} " + "".join(f"[{c.marker}]" for c in citations) if citations else answer


def spoken(answer: str) -> str:
    """Return the words of an answer: the texts inside it if it is a JSON object, else itself."""
    try:
        value = json.loads(answer)
    except ValueError:
        return answer
    return " ".join(_texts(value)) if isinstance(value, dict) else answer


def fill(answer: str, schema: Mapping[str, Any] | None, citations: Sequence[Citation]) -> str:
    """Return a JSON answer with its citation numbers corrected, if the house format has a place.

    Nothing else is touched: an answer that is not valid JSON, or lacks the property, stays as the
    model wrote it.
    """
    keys = citation_keys(schema)
    try:
        value = json.loads(answer)
    except ValueError:
        return answer
    if not isinstance(value, dict) or not any(key in value for key in keys):
        return answer
    for key in keys:
        if key in value:
            value[key] = [c.marker for c in citations]
    return json.dumps(value, ensure_ascii=False)


def citation_keys(schema: Mapping[str, Any] | None) -> list[str]:
    """Return the properties in which an answer of this format lists its passages."""
    properties = (schema or {}).get("properties")
    if not isinstance(properties, Mapping):
        return []
    return [
        key
        for key, property in properties.items()
        if isinstance(property, Mapping) and property.get(CITATIONS_KEY)
    ]


def _citation(
    evidence: Evidence, telling: set[str], weights: Mapping[str, float], share: float
) -> Citation:
    span = max(
        sentences(evidence.text),
        key=lambda s: sum(weights[w] for w in telling & _words(evidence.text[s.start : s.end])),
    )
    return Citation(
        marker=evidence.marker,
        chunk_id=evidence.chunk_id,
        document_id=evidence.document_id,
        source=evidence.source,
        title=evidence.title,
        heading=evidence.heading,
        page=evidence.page,
        start=evidence.start + span.start,
        end=evidence.start + span.end,
        quote=evidence.text[span.start : span.end],
        score=round(min(share, 1.0), 3),
    )


def _weight(word: str, passages: Sequence[set[str]]) -> float:
    # Inverse document frequency within the evidence, smoothed so that no word weighs nothing.
    holding = sum(word in passage for passage in passages)
    weight = math.log((len(passages) + 1) / (holding + 1)) + 0.5
    return weight * (DIGIT_WEIGHT if any(c.isdigit() for c in word) else 1.0)


def _words(text: str) -> set[str]:
    return {word.casefold() for word in WORD.findall(text) if len(word) > 2 or word.isdigit()}


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return []
