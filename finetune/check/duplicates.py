"""Rows that are there twice, exactly or nearly."""

from collections import defaultdict

from assistant.near_duplicates import near_duplicates
from finetune.check.finding import Finding, Row, Spot, Subject


def check_duplicates(subject: Subject) -> list[Finding]:
    """List the rows of one side that repeat an earlier row of it.

    Rows are compared by all that was said and the answer. Two with other passages are near
    duplicates at most: other evidence for one question is worth learning from.
    """
    sides: dict[str, list[Row]] = defaultdict(list)
    for row in subject.rows:
        sides[row.side].append(row)
    exact: list[Spot] = []
    near: list[Spot] = []
    for rows in sides.values():
        for pair in near_duplicates([text_of(row) for row in rows]):
            first, second = rows[pair.first], rows[pair.second]
            if _same(first, second):
                exact.append(Spot(second, f"as {first.where}"))
            elif first.example.source != second.example.source:
                # Two turns of one conversation begin alike, and are two rows all the same.
                near.append(Spot(second, f"like {first.where} ({pair.similarity:.2f})"))
    findings = []
    if exact:
        findings.append(
            Finding(
                "duplicates",
                "warning",
                f"{len(exact)} rows repeat an earlier row of their side exactly: they are learnt "
                "twice as hard, and measured twice.",
                tuple(exact),
                "drop",
            )
        )
    if near:
        findings.append(
            Finding(
                "near-duplicates",
                "warning",
                f"{len(near)} rows say nearly the same as an earlier row of their side.",
                tuple(near),
                advice="Keep the better one of each, unless the difference is the point.",
            )
        )
    return findings or [Finding("duplicates", "note", "No row repeats another of its side.")]


def text_of(row: Row) -> str:
    """Return what a row is compared by."""
    return f"{row.example.dialogue}\n{row.example.target}"


def _same(first: Row, second: Row) -> bool:
    a, b = first.example, second.example
    return a.messages == b.messages
