"""Rows that ask the same and answer differently."""

from assistant.citations import spoken
from assistant.near_duplicates import near_duplicates, near_duplicates_between
from finetune.check.finding import Finding, Row, Spot, Subject


def check_contradictions(subject: Subject) -> list[Finding]:
    """List the training rows whose question is like another's, and whose answer is not.

    Rows are compared where the same passages are shown, or none: what to answer depends on the
    evidence, and other evidence may well mean another answer.
    """
    found: list[Spot] = []
    for rows in _by_evidence(subject.learnt):
        for pair in near_duplicates([row.example.dialogue for row in rows]):
            first, second = rows[pair.first], rows[pair.second]
            a, b = spoken(first.example.target), spoken(second.example.target)
            if first.example.source == second.example.source:
                continue  # two turns of one conversation begin alike
            if a != b and not near_duplicates_between([b], [a]):
                found.append(Spot(second, f"{first.where} answers otherwise"))
    if not found:
        return [Finding("contradictions", "note", "No two rows answer one question differently.")]
    return [
        Finding(
            "contradictions",
            "warning",
            f"{len(found)} rows answer a question that an earlier row answers otherwise.",
            tuple(found),
            advice="Keep the right one; a model that learns both says either.",
        )
    ]


def _by_evidence(rows: list[Row]) -> list[list[Row]]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.example.evidence, []).append(row)
    return [group for group in groups.values() if len(group) > 1]
