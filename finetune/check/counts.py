"""How many rows there are, against what is commonly advised."""

from finetune.check.finding import Finding, Subject

ADVISED = {"style": (500, 5_000), "knowledge": (5_000, 50_000)}
"""Rows to learn a style from, and to learn facts from. Rules of thumb: how alike the rows are says
more than their number, and facts are better looked up than learnt (docs/tuning.md)."""


def check_counts(subject: Subject) -> list[Finding]:
    """Compare the number of training rows with the advice."""
    rows = len(subject.learnt)
    low, high = ADVISED[subject.use]
    said = f"{rows:,} rows to learn from; advised for {subject.use} are {low:,} to {high:,}."
    if rows < low:
        return [
            Finding(
                "counts",
                "warning",
                said,
                advice="Fewer can do for one narrow format; measure it: groundtune eval run.",
            )
        ]
    if rows > high:
        return [
            Finding(
                "counts",
                "warning",
                said,
                advice="More rows cost time and rarely add style; try half of them first.",
            )
        ]
    return [Finding("counts", "note", said)]
