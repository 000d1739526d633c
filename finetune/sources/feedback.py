"""Feedback: what people wrote an answer should have been, and the answers that they disliked."""

from collections.abc import Mapping, Sequence
from typing import Any

from assistant.engines.engine import Message
from assistant.prompt import Passage, Turn, build_messages, neutralise
from finetune.answer_format import AnswerFormat
from finetune.example import Example
from finetune.lines import problems
from finetune.sources.source import Harvest


def take_feedback(
    opinions: Sequence[Mapping[str, Any]],
    *,
    title: str,
    system: str,
    tags: tuple[str, ...],
    answers: AnswerFormat,
) -> Harvest:
    """Return a row for each correction, and for review each answer disliked without one.

    A row shows the very passages that the answer was given from. Opinions come as
    `Feedback.list` gives them, newest first; rows are in the order of their request ids.

    Raises:
        DataError: a correction is not as `answers` declares; names its request.
    """
    harvest = Harvest()
    with problems("Rate the answer again with a correction in the declared format.") as found:
        for opinion in sorted(opinions, key=lambda o: o["request_id"]):
            correction = (opinion["correction"] or "").strip()
            if correction:
                if reason := answers.reason(correction):
                    found.add(f"request {opinion['request_id']}", f"the correction {reason}")
                harvest.examples.append(_example(opinion, correction, title, system, tags))
                harvest.counts["corrections"] += 1
            elif opinion["rating"] == "down":
                harvest.review.append(_to_review(opinion))
                harvest.counts["to_review"] += 1
            else:
                harvest.counts["liked"] += 1
    return harvest


def _example(
    opinion: Mapping[str, Any], correction: str, title: str, system: str, tags: tuple[str, ...]
) -> Example:
    shown = sorted(opinion["evidence"], key=lambda e: e["marker"])
    passages = [Passage(_label(e), e["text"]) for e in shown]
    history = [Turn(question, answer) for question, answer in opinion["history"]]
    prompt = build_messages(system, opinion["question"], passages, history=history)
    return Example(
        (*prompt, Message("assistant", neutralise(correction))),
        f"{title}:{opinion['request_id']}",
        (*tags, "correction"),
        tuple(passage.text for passage in passages),
        tuple(dict.fromkeys(e["source"] for e in shown)),
    )


def _label(evidence: Mapping[str, Any]) -> str:
    return " > ".join(part for part in (evidence["title"], evidence["heading"]) if part)


def _to_review(opinion: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("request_id", "question", "answer", "comment", "mode", "adapter", "history")
    return {
        **{key: opinion[key] for key in kept},
        "evidence": [{"source": e["source"], "text": e["text"]} for e in opinion["evidence"]],
    }
