"""Three sentences that the numbers allow.

Rules, all on the headline slice (held-out documents where there are any):

1. Retrieval and facts: `rag` minus `base` on facts right.
2. Tuning and format: `finetuned` minus `base` on format valid.
3. The combination: `combined` minus `rag`, and minus `finetuned`, on grounded answers.

A difference is claimed only when its 95 % interval excludes zero and its test, corrected for the
four comparisons by Holm's method, is below 0.05. (Where every question gave the same value there is
no interval, and the test alone decides.) Otherwise the sentence says "no difference seen"; where
the interval alone would claim one, it says what the test finds, and in how many documents. What was
not measured is said to be so.
"""

from typing import NamedTuple

from eval.statistics import Estimate
from eval.summary import Summary


class Parts(NamedTuple):
    """The words of a sentence about one paired difference."""

    subject: str
    better: str
    worse: str
    what: str


RETRIEVAL = Parts("Retrieval", "makes answers more correct", "makes answers less correct", "facts")
TUNING = Parts("Tuning", "teaches the format", "harms the format", "format")


def verdict(summary: Summary) -> tuple[str, str, str]:
    """Return the three sentences."""
    return (
        _effect(summary, RETRIEVAL, "facts", "rag", "state every key fact"),
        _effect(summary, TUNING, "format", "finetuned", "fit the house format"),
        _combination(summary),
    )


def percent(value: float | None) -> str:
    """Return a share in percent, without decimals."""
    return "n/a" if value is None else f"{100 * value:.0f} %"


def points(value: float) -> str:
    """Return a difference of shares in signed percentage points."""
    rounded = round(100 * value)
    return f"{rounded:+d}".replace("-", "−") if rounded else "0"


def quantity(value: float | None, unit: str) -> str:
    """Return a value of a metric with its unit."""
    if value is None:
        return "n/a"
    if unit == "ms":
        return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.0f} ms"
    return f"{value:.2f}" if unit in ("share", "price") else f"{value:.0f}"


def interval(estimate: Estimate) -> str:
    """Return the uncertainty of a difference in words."""
    if estimate.low is None or estimate.high is None:
        test = f", exact test p = {estimate.p:.2g}" if estimate.p is not None else ""
        return f"no interval: {estimate.why}{test}, n = {estimate.n}"
    low, high = points(estimate.low), points(estimate.high)
    doubt = ""
    if estimate.leaning:
        # Without this, an interval beside zero would seem to contradict "no difference seen".
        p = estimate.p if estimate.adjusted is None else estimate.adjusted
        doubt = f"; but p = {p:.2g} after Holm's correction, with {estimate.clusters} documents"
    return f"95 % interval {low} to {high}, n = {estimate.n}{doubt}"


def _effect(summary: Summary, parts: Parts, metric: str, mode: str, predicate: str) -> str:
    question = f"What {parts.subject.lower()} does to {parts.what} was not measured"
    missing = [m for m in ("base", mode) if m not in summary.modes]
    if missing:
        return f"{question}: this run has no {' and no '.join(missing)} arm."
    base, arm = summary.modes["base"], summary.modes[mode]
    found = summary.compare(metric, arm, base)
    if found is None or found.mean is None:
        return f"{question}: no question was scored by both {base} and {arm}."
    means = summary.means[summary.headline]
    numbers = (
        f"{percent(means[arm][metric].mean)} of the {arm} answers {predicate}, against "
        f"{percent(means[base][metric].mean)} of the {base} answers "
        f"({points(found.mean)} points, {interval(found)})"
    )
    if not found.seen:
        return f"No difference seen from {parts.subject.lower()} on {parts.what}: {numbers}."
    claim = parts.better if found.mean > 0 else parts.worse
    return f"{parts.subject} {claim}: {numbers}."


def _combination(summary: Summary) -> str:
    wanted = ("combined", "rag", "finetuned")
    question = "Whether the combination beats both its parts was not measured"
    missing = [mode for mode in wanted if mode not in summary.modes]
    if missing:
        return f"{question}: this run has no {' and no '.join(missing)} arm."
    combined, *parts = (summary.modes[mode] for mode in wanted)
    clauses, signs = [], []
    for part in parts:
        found = summary.compare("grounded", combined, part)
        if found is None or found.mean is None:
            return f"{question}: no question was scored by both {combined} and {part}."
        sign = 0 if not found.seen else (1 if found.mean > 0 else -1)
        signs.append(sign)
        words = {1: f"ahead of {part}", 0: f"not told apart from {part}", -1: f"behind {part}"}
        clauses.append(f"{words[sign]} ({points(found.mean)} points, {interval(found)})")
    mean = percent(summary.means[summary.headline][combined]["grounded"].mean)
    return f"{_claim(signs)} on grounded answers: at {mean}, it is {' and '.join(clauses)}."


def _claim(signs: list[int]) -> str:
    if min(signs) < 0:
        return "The combination does not beat both its parts"
    if min(signs) > 0:
        return "The combination beats both its parts"
    if max(signs) > 0:
        return "The combination beats only one of its parts"
    return "No difference seen between the combination and its parts"
