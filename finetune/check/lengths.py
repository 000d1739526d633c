"""How long rows are, against the window: a longer row is left out of the training."""

from collections.abc import Sequence

from finetune.check.finding import Finding, Spot, Subject
from finetune.dataset_card import percentiles

MANY = 0.1
"""Share of rows beyond the window, 0 to 1, above which it is an error: what is trained on is then
another data set than this one."""
BINS = 24


def check_lengths(subject: Subject, lengths: Sequence[int]) -> list[Finding]:
    """List the rows that are longer than the window."""
    long = [
        Spot(row, f"{length} tokens")
        for row, length in zip(subject.rows, lengths, strict=True)
        if length > subject.window
    ]
    spread = percentiles(lengths)
    said = (
        f"rows have {spread['min']} to {spread['max']} tokens, half of them up to {spread['p50']}, "
        f"95 % up to {spread['p95']}; the window is {subject.window}."
    )
    if not long:
        return [Finding("lengths", "note", said[0].upper() + said[1:])]
    level = "error" if len(long) > MANY * len(subject.rows) else "warning"
    return [
        Finding(
            "lengths",
            "error" if level == "error" else "warning",
            f"{len(long)} of {len(subject.rows)} rows are longer than the window, and training "
            f"leaves them out: {said}",
            tuple(sorted(long, key=lambda spot: spot.row.where)),
            advice="Raise train.window, show fewer passages (retrieval.top_k), or shorten them.",
        )
    ]


def histogram(lengths: Sequence[int], window: int) -> list[tuple[int, int]]:
    """Return (upper end in tokens, rows) of equal bins from 0 to the longest row or the window."""
    top = max(window, *lengths) if lengths else window
    width = -(-top // BINS)
    counts = [0] * BINS
    for length in lengths:
        counts[min((length - 1) // width, BINS - 1) if length else 0] += 1
    return [((place + 1) * width, count) for place, count in enumerate(counts)]
