"""Words and documents in common: ROUGE-L, and recall and precision of the named documents.

Without ragas, which takes seconds to import and is loaded for a judge alone; the tests hold these
against ragas and trec_eval.
"""

from collections.abc import Collection
from functools import lru_cache
from typing import Any

from assistant.answer import Answer
from eval.question import Question
from eval.score import Score
from eval.wording import spoken
from ingest.extras import require


def rouge(question: Question, answer: Answer) -> Score:
    """ROUGE-L F1 between the stemmed words of the answer and the reference, 0 to 1."""
    if not question.reference:
        return Score(None, "no reference")
    text = spoken(answer.answer).strip()
    if not text:
        return Score(0.0, "the answer is empty")
    found = _scorer().score(question.reference, text)["rougeL"]
    return Score(float(found.fmeasure), "longest common word sequence")


def retrieval_recall(question: Question, answer: Answer, *, shown: bool) -> Score:
    """Share of the named documents that the shown passages come from."""
    why = _inapplicable(question, shown=shown)
    return Score(None, why) if why else _recall(question, _shown(answer))


def retrieval_precision(question: Question, answer: Answer, *, shown: bool) -> Score:
    """Share of the documents shown that are named; None when nothing is shown."""
    why = _inapplicable(question, shown=shown)
    if not why and not answer.evidence:
        why = "no passage is shown"
    return Score(None, why) if why else _precision(question, _shown(answer))


def citation_recall(question: Question, answer: Answer, *, shown: bool) -> Score:
    """Share of the named documents that are cited."""
    why = _inapplicable(question, shown=shown)
    return Score(None, why) if why else _recall(question, _cited(answer))


def citation_precision(question: Question, answer: Answer, *, shown: bool) -> Score:
    """Share of the cited documents that are named; None when nothing is cited."""
    why = _inapplicable(question, shown=shown)
    if not why and not answer.citations:
        why = "nothing is cited"
    return Score(None, why) if why else _precision(question, _cited(answer))


@lru_cache(maxsize=1)
def _scorer() -> Any:
    module = require("rouge_score.rouge_scorer", extra="eval")
    return module.RougeScorer(["rougeL"], use_stemmer=True)


def _recall(question: Question, sources: Collection[str]) -> Score:
    named = set(question.documents)
    return Score(len(named & set(sources)) / len(named), ", ".join(sources) or "none")


def _precision(question: Question, sources: Collection[str]) -> Score:
    hits = set(question.documents) & set(sources)
    return Score(len(hits) / len(sources), ", ".join(sources))


def _inapplicable(question: Question, *, shown: bool) -> str:
    if not shown:
        return "this arm is shown no passages"
    return "" if question.documents else "the question names no document"


def _shown(answer: Answer) -> list[str]:
    return list(dict.fromkeys(evidence.source for evidence in answer.evidence))


def _cited(answer: Answer) -> list[str]:
    return list(dict.fromkeys(citation.source for citation in answer.citations))
