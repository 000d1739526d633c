"""Scores that ragas computes without a language model: words and documents in common."""

import os
import warnings
from typing import Any

from assistant.answer import Answer
from eval.question import Question
from eval.score import Score
from eval.wording import spoken
from ingest.extras import require


class Overlap:
    """The judge-free metrics of ragas, loaded once."""

    def __init__(self) -> None:
        # Read once by ragas when it is imported: evaluating must not call home.
        os.environ.setdefault("RAGAS_DO_NOT_TRACK", "true")
        self._rouge: Any = require("ragas.metrics.collections", extra="eval").RougeScore(
            rouge_type="rougeL"
        )
        self._sample: Any = require("ragas", extra="eval").SingleTurnSample
        metrics = require("ragas.metrics", extra="eval")
        with warnings.catch_warnings():
            # ragas 0.4 announces that these two move to `ragas.metrics.collections`; they are not
            # there yet.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._recall: Any = metrics.IDBasedContextRecall()
            self._precision: Any = metrics.IDBasedContextPrecision()

    async def rouge(self, question: Question, answer: Answer) -> Score:
        """ROUGE-L F1 between the answer's words and the reference, 0 to 1."""
        if not question.reference:
            return Score(None, "no reference")
        text = spoken(answer.answer).strip()
        if not text:
            return Score(0.0, "the answer is empty")
        result = await self._rouge.ascore(reference=question.reference, response=text)
        return Score(float(result.value), "longest common word sequence")

    async def retrieval_recall(self, question: Question, answer: Answer, *, shown: bool) -> Score:
        """Share of the named documents that the shown passages come from."""
        why = _inapplicable(question, shown=shown)
        if why:
            return Score(None, why)
        sources = [evidence.source for evidence in answer.evidence]
        return await self._of_named(self._recall, question, sources)

    async def retrieval_precision(
        self, question: Question, answer: Answer, *, shown: bool
    ) -> Score:
        """Share of the documents shown that are named; None when nothing is shown."""
        why = _inapplicable(question, shown=shown)
        if not why and not answer.evidence:
            why = "no passage is shown"
        if why:
            return Score(None, why)
        sources = [evidence.source for evidence in answer.evidence]
        return await self._of_named(self._precision, question, sources)

    async def citation_precision(self, question: Question, answer: Answer, *, shown: bool) -> Score:
        """Share of the cited documents that are named; None when nothing is cited."""
        why = _inapplicable(question, shown=shown)
        if not why and not answer.citations:
            why = "nothing is cited"
        if why:
            return Score(None, why)
        return await self._of_named(self._precision, question, _cited(answer))

    async def citation_recall(self, question: Question, answer: Answer, *, shown: bool) -> Score:
        """Share of the named documents that are cited."""
        why = _inapplicable(question, shown=shown)
        if why:
            return Score(None, why)
        return await self._of_named(self._recall, question, _cited(answer))

    async def _of_named(self, metric: Any, question: Question, sources: list[str]) -> Score:
        sample = self._sample(
            retrieved_context_ids=sources, reference_context_ids=list(question.documents)
        )
        # The public method wraps this one in telemetry, which writes an id into the user's home.
        value = float(await metric._single_turn_ascore(sample, callbacks=[]))
        return Score(value, f"{', '.join(dict.fromkeys(sources)) or 'none'}")


def _inapplicable(question: Question, *, shown: bool) -> str:
    if not shown:
        return "this arm is shown no passages"
    return "" if question.documents else "the question names no document"


def _cited(answer: Answer) -> list[str]:
    return [citation.source for citation in answer.citations]
