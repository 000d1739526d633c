"""How an estimate stands in a table, in few characters."""

from eval.statistics import Estimate
from eval.verdict import interval, points


def span(estimate: Estimate) -> str:
    """Return interval, n and what was left out, in brackets."""
    parts = [part for part in (between(estimate), count(estimate)) if part]
    return f"({', '.join(parts)})"


def between(estimate: Estimate) -> str:
    """Return the interval of a share in percent; empty where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{100 * estimate.low:.0f} to {100 * estimate.high:.0f}"


def count(estimate: Estimate) -> str:
    """Return how many questions count, and how many do not."""
    left_out = f", {estimate.unscored} unscored" if estimate.unscored else ""
    return f"n={estimate.n}{left_out}"


def signed(found: Estimate) -> str:
    """Return a difference of shares with its interval."""
    if found.mean is None:
        return f"not measured: {found.why}"
    words = "" if found.seen else "; no difference seen"
    return f"{points(found.mean)} points ({interval(found)}{words})"
