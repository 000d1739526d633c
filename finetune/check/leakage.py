"""Leakage: questions that a model is measured by, and has seen before."""

from collections.abc import Sequence

from assistant.near_duplicates import copied_from, near_duplicates_between
from finetune.check.finding import Finding, Level, Remedy, Row, Spot, Subject
from finetune.split import grouped


def check_leakage(subject: Subject) -> list[Finding]:
    """Compare the sides with each other, with the evaluation questions and with the index.

    Questions are compared, not answers: two questions may well have one answer.
    """
    findings = [*_between(subject, "train", "validation"), *_between(subject, "train", "test")]
    findings += _between(subject, "validation", "test")
    findings += _evaluation(subject)
    findings += _groups(subject)
    findings += _index(subject)
    return findings or [Finding("leakage", "note", _clean(subject))]


def _between(subject: Subject, first: str, second: str) -> list[Finding]:
    ours, theirs = subject.side(first), subject.side(second)
    spots = _alike(ours, [row.example.dialogue for row in theirs], [row.where for row in theirs])
    return _finding(
        spots,
        "error",
        f"{len(spots)} rows of {first} ask what a row of {second} asks: what is measured there was "
        "seen before.",
        "drop",
    )


def _evaluation(subject: Subject) -> list[Finding]:
    names, texts = list(subject.questions), list(subject.questions.values())
    learnt = _alike(subject.learnt, texts, [f"question {name}" for name in names], last=True)
    held = subject.side("validation")
    seen = _alike(held, texts, [f"question {name}" for name in names], last=True)
    return [
        *_finding(
            learnt,
            "error",
            f"{len(learnt)} rows to learn from ask what an evaluation question asks.",
            "drop",
        ),
        *_finding(
            seen,
            "warning",
            f"{len(seen)} rows of validation ask what an evaluation question asks: early stopping "
            "would be tuned to the evaluation.",
        ),
    ]


def _groups(subject: Subject) -> list[Finding]:
    divided = [row for row in subject.rows if row.side != "rows"]
    torn = [
        group
        for group in grouped(
            divided, lambda r: (f"source {r.example.source}", *r.example.documents)
        )
        if len({row.side for row in group}) > 1
    ]
    spots = [
        Spot(row, f"{row.side}; shares a source or document with another side")
        for group in torn
        for row in group
    ]
    return _finding(
        spots,
        "error",
        f"{len(torn)} groups of rows with a common source or document are on two sides.",
        advice="Divide them anew: groundtune dataset split NAME",
    )


def _index(subject: Subject) -> list[Finding]:
    if subject.passages is None:
        return []
    held = [*subject.side("validation"), *subject.side("test")]
    texts = [row.example.question for row in held] + list(subject.questions.values())
    found = copied_from(texts, subject.passages())
    spots = [Spot(held[p.first], "stands in a passage") for p in found if p.first < len(held)]
    asked = sum(pair.first >= len(held) for pair in found)
    said = f"{len(spots)} held-out questions"
    if subject.questions:
        said += f" and {asked} evaluation questions"
    if not found:
        return []
    return _finding(
        spots,
        "warning",
        f"{said} stand in the index, nearly word for word: search finds them too easily.",
        always=True,
        advice="Are the tickets themselves indexed? Then take them out of the index.",
    )


def _alike(
    rows: Sequence[Row], texts: Sequence[str], names: Sequence[str], *, last: bool = False
) -> list[Spot]:
    own = [row.example.question if last else row.example.dialogue for row in rows]
    return [
        Spot(rows[pair.first], f"like {names[pair.second]} ({pair.similarity:.2f})")
        for pair in near_duplicates_between(own, texts)
    ]


def _finding(
    spots: Sequence[Spot],
    level: Level,
    message: str,
    remedy: Remedy = "",
    *,
    advice: str = "",
    always: bool = False,
) -> list[Finding]:
    if not spots and not always:
        return []
    return [Finding("leakage", level, message, tuple(spots), remedy, advice)]


def _clean(subject: Subject) -> str:
    sides = [name for name in ("train", "validation", "test") if subject.side(name)]
    compared = sides if len(sides) > 1 else ["the rows"]
    if subject.questions:
        compared.append(f"{len(subject.questions)} evaluation questions")
    if subject.passages is not None and sides:
        compared.append("the index")
    if len(compared) == 1:
        return "Nothing to compare with: the rows are undivided, and no questions were named."
    return f"No question stands in two of these: {', '.join(compared)}."
