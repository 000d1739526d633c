"""Whether one answer or one source outweighs the others."""

from collections import Counter

from finetune.check.finding import Finding, Spot, Subject

FEWEST = 20
"""Fewer rows have no balance to speak of."""
ONE_ANSWER = 0.3
"""Share of the rows, 0 to 1, above which one and the same answer is learnt before all others."""
ONE_SOURCE = 0.5
"""Share above which one document or conversation is what the rows are about."""


def check_balance(subject: Subject) -> list[Finding]:
    """Say what share the commonest answer and the commonest source have."""
    rows = subject.learnt
    if len(rows) < FEWEST:
        return []
    answers = Counter(row.example.target for row in rows)
    abouts = Counter(
        about for row in rows for about in set(row.example.documents or (row.example.source,))
    )
    (answer, said), (about, times) = answers.most_common(1)[0], abouts.most_common(1)[0]
    findings = []
    if said > ONE_ANSWER * len(rows):
        findings.append(
            Finding(
                "balance",
                "warning",
                f"{said} of {len(rows)} rows have one and the same answer: {_short(answer)!r}.",
                tuple(Spot(row) for row in rows if row.example.target == answer),
                advice="Keep fewer of them: data.refusals and data.insufficient bound refusals.",
            )
        )
    if times > ONE_SOURCE * len(rows):
        findings.append(
            Finding(
                "balance",
                "warning",
                f"{times} of {len(rows)} rows are about {about!r}.",
                advice="Add rows about others, or the model learns that one.",
            )
        )
    return findings or [
        Finding(
            "balance",
            "note",
            f"The commonest answer has {said / len(rows):.0%} of the rows, the commonest source "
            f"{times / len(rows):.0%}.",
        )
    ]


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
