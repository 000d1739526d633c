"""Whether the rows cover what goes wrong in service: edge cases, refusals, error conditions."""

from collections import Counter

from finetune.check.finding import Finding, Subject

COVERED = {
    "edge cases": ("edge", "edge-case", "corner-case"),
    "refusals": ("refusal", "insufficient", "unanswerable", "out-of-scope"),
    "error conditions": ("error", "error-code", "error-condition", "code", "failure"),
}
"""What rows should cover, and the tags that say so."""
LEAST = 0.01
"""Share of the rows, 0 to 1, below which something counts as not covered."""


def check_tags(subject: Subject) -> list[Finding]:
    """Say which of the three are missing, and how many rows have each."""
    rows = subject.learnt
    counts = {
        name: sum(any(tag in row.example.tags for tag in tags) for row in rows)
        for name, tags in COVERED.items()
    }
    said = ", ".join(f"{name} {n}" for name, n in counts.items())
    missing = [name for name, n in counts.items() if n < LEAST * len(rows) or not n]
    untagged = sum(not row.example.tags for row in rows)
    counted = Counter(tag for row in rows for tag in row.example.tags)
    top = ", ".join(f"{tag} {n}" for tag, n in counted.most_common(8)) or "none"
    note = f"Tags: {top}; {untagged} rows without one."
    if not missing:
        return [Finding("tags", "note", f"Covered: {said}. {note}")]
    return [
        Finding(
            "tags",
            "warning",
            f"Hardly any row is tagged as one of {', '.join(missing)} ({said} of {len(rows)}). "
            + note,
            advice="Add rows of these kinds, or tag those that are there: "
            + "; ".join(f"{name}: {', '.join(COVERED[name])}" for name in missing),
        )
    ]
