"""The table of every question, as compact data for the page."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from eval.judge import JUDGED
from eval.outcome import Outcome
from eval.question import Question
from eval.result import Report
from eval.score import METRICS, Score
from eval.wording import parsed

PASSAGE_CHARS = 220


class Texts:
    """Texts by number, each kept once: arms share passages, and often answers."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """Return the number of `text`."""
        if text not in self._numbers:
            self._numbers[text] = len(self.all)
            self.all.append(text)
        return self._numbers[text]


def table_of(report: Report) -> dict[str, Any]:
    """Return each question with what every arm made of it; `report.js` reads it.

    Keys are short, because a report of thousands of questions repeats them. A question: id `i`,
    text `q`, kind `k`, tags `t`, reference `r`, documents `d`, cells `a` (one an arm). A cell:
    state `s` (1 right, 0 not right, -1 failed), abstained `b`, answer or error `x`, scores `v`
    (by metric, null is unscored), reasons `w` (-1: does not apply), citations `c` (marker, source,
    quote), passages `p` (marker, source, text), times and tokens `m`.
    """
    texts = Texts()
    judged = {m.name: m for m in JUDGED if report.judged and m.name in report.judged.coverage}
    by_place = {
        (o.question_id, o.arm): (o, card)
        for o, card in zip(report.outcomes, report.cards, strict=True)
        if o.repeat == 0
    }
    questions = [
        {
            "i": question.id,
            "q": question.question,
            "k": question.kind,
            "t": list(question.tags),
            "r": question.reference,
            "d": [texts.number(document) for document in question.documents],
            "a": [
                _cell(
                    question,
                    *by_place[question.id, arm.name],
                    [report.judgements.get((arm.name, question.id, name)) for name in judged],
                    texts,
                )
                for arm in report.arms
            ],
        }
        for question in report.questions
    ]
    return {
        "arms": [arm.name for arm in report.arms],
        "metrics": [
            *([metric.label, metric.help] for metric in METRICS),
            *([f"Judge: {metric.label}", metric.help] for metric in judged.values()),
        ],
        "questions": questions,
        "texts": texts.all,
    }


def as_script_data(value: Any) -> str:
    """Return JSON that can stand in a script element: nothing in it can end or open a tag."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _cell(
    question: Question,
    outcome: Outcome,
    card: Mapping[str, Score],
    judged: Sequence[Score | None],
    texts: Texts,
) -> dict[str, Any]:
    answer = outcome.answer
    if answer is None:
        return {"s": -1, "x": texts.number(outcome.error)}
    scored = [card[metric.name] for metric in METRICS]
    values = [s.value for s in scored] + [None if s is None else s.value for s in judged]
    reasons = [-1 if s.value is None else texts.number(s.why) for s in scored]
    # Where the judge failed, the reason stands in the table as well: a gap would say nothing.
    reasons += [-1 if s is None else texts.number(s.why) for s in judged]
    return {
        "s": int(succeeded(question, card)),
        "b": int(answer.abstained),
        "x": texts.number(_pretty(answer.answer)),
        "v": [None if value is None else round(value, 3) for value in values],
        "w": reasons,
        "c": [
            [c.marker, texts.number(_place(c.source, c.page)), texts.number(c.quote)]
            for c in answer.citations
        ],
        "p": [
            [e.marker, texts.number(e.source), texts.number(e.text[:PASSAGE_CHARS])]
            for e in answer.evidence
        ],
        "m": [
            round(answer.timings.total),
            answer.prompt_tokens,
            answer.completion_tokens,
            answer.evidence_dropped,
        ],
    }


def succeeded(question: Question, card: Mapping[str, Score]) -> bool:
    """Whether the answer is what was wanted, by the strictest score that applies."""
    if not question.answerable:
        return card["abstention"].value == 1
    best = next((m for m in ("grounded", "facts", "format") if card[m].value is not None), None)
    return best is not None and card[best].value == 1


def _place(source: str, page: int | None) -> str:
    return source if page is None else f"{source}, page {page}"


def _pretty(answer: str) -> str:
    """Return a JSON answer with a line for each key, prose as it is."""
    value = parsed(answer)
    if not isinstance(value, dict | list):
        return answer
    return json.dumps(value, ensure_ascii=False, indent=1)
