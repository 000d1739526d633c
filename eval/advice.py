"""What to do with these numbers: retrieve, tune, both, neither, or find out more.

Rules, on the headline slice and on the goal: grounded answers, or facts where there is no format to
measure. A step is *worth it* when it is seen to gain (see `verdict`), *not worth it* when it is
seen to lose, and, over eight groups of documents or more, when its interval ends below five points
or no question differs; *unclear* otherwise.

1. An arm that gave fewer than nine answers in ten leaves everything unclear.
2. Adding retrieval is `combined` minus `finetuned`; adding tuning is `combined` minus `rag`.
   Both worth it: both. One worth it: that one, where the other is ruled out, or where it is worth
   it against `base` on its own as well; the other is left open then. What gains only on top of a
   step that is unclear is not advised alone.
3. Neither worth it: whichever of `rag` and `finetuned` is alone worth it against `base`, retrieval
   first, because documents can be changed without training. Neither: neither.
4. Any other case: the data do not tell.
5. Where tuning is advised, an untuned rival (worked examples, a schema) that `combined` is not
   worth it against takes its place: it needs no training. One that is unclear is named.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from eval.power import power
from eval.statistics import Estimate
from eval.summary import ALL, Summary
from eval.verdict import interval, percent, points

Choice = Literal["both", "retrieve", "tune", "neither", "unclear"]
Worth = Literal["yes", "no", "unclear"]
WORTHWHILE = 0.05
"""A gain below five points is not worth a part that has to be kept running."""
ANSWERED_FLOOR = 0.9
FEW_GROUPS = 8
"""Flipping the signs of g groups gives no p below 2 / 2**g, and Holm's method multiplies the
smallest of four by four: 7 groups end at 0.0625."""
TITLES: Mapping[Choice, str] = {
    "both": "For this data: both, retrieval and tuning",
    "retrieve": "For this data: retrieval",
    "tune": "For this data: tuning",
    "neither": "For this data: neither retrieval nor tuning",
    "unclear": "These data do not tell",
}
GOALS = {"grounded": "grounded answers", "facts": "answers with every key fact"}


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do, why, and what would change it."""

    choice: Choice
    title: str
    reasons: tuple[str, ...]
    changes: tuple[str, ...]
    """What would make the advice another one."""


def advise(summary: Summary) -> Advice:
    """Return the advice that the rules give."""
    goal = goal_of(summary)
    if goal is None:
        return _unclear(
            "The run lacks one of the arms base, rag, finetuned and combined, or has no question "
            "with key facts that all four answered.",
            "Run the four arms on questions that have `facts`.",
        )
    lacking = _lacking(summary)
    if lacking:
        return _unclear(*lacking)
    steps = _steps(summary, goal)
    choice, why = _choose(steps, goal)
    reasons = [_gains(summary), why]
    if choice == "unclear" and summary.headline != ALL:
        reasons.append(_overall(summary, goal))
    tuned = choice in ("both", "tune")
    rivals = _rivals(summary, goal) if tuned else {}
    enough = [arm for arm, found in rivals.items() if worth(found) == "no"]
    title = TITLES[choice]
    if enough:
        choice, title = "retrieve", f"For this data: retrieval, as in {enough[0]}"
        reasons.append(
            f"{enough[0]} needs no training and is not behind combined: "
            f"{_gap(rivals[enough[0]])} for combined."
        )
    reasons += [
        f"Whether {arm}, which needs no training, does as well is not told: combined is at "
        f"{_gap(found)}."
        for arm, found in rivals.items()
        if worth(found) == "unclear" and not enough
    ]
    return Advice(choice, title, tuple(r for r in reasons if r), tuple(_changes(steps, goal)))


def worth(found: Estimate) -> Worth:
    """Return whether a gain is worth having."""
    if found.seen and found.mean is not None:
        return "yes" if found.mean > 0 else "no"
    if found.clusters < FEW_GROUPS:
        return "unclear"  # four answers that are alike say little of the fifth
    if found.mean == 0 and found.why == "every question gave the same value":
        return "no"
    if found.high is not None and found.high < WORTHWHILE:
        return "no"
    return "unclear"


@dataclass(frozen=True, slots=True)
class _Steps:
    """Paired differences on the goal."""

    retrieval: Estimate
    """combined - finetuned: retrieval, added to a tuned model."""
    tuning: Estimate
    """combined - rag: tuning, added to retrieval."""
    rag: Estimate
    """rag - base."""
    finetuned: Estimate
    """finetuned - base."""


def goal_of(summary: Summary) -> str | None:
    """Return the metric that the advice is about; None where the four arms cannot be compared."""
    if len(summary.modes) < 4:
        return None
    for metric in GOALS:
        found = summary.compare(metric, summary.modes["combined"], summary.modes["rag"])
        base = summary.compare(metric, summary.modes["finetuned"], summary.modes["base"])
        if found is not None and found.n and base is not None and base.n:
            return metric
    return None


def _lacking(summary: Summary) -> tuple[str, str] | None:
    asked = summary.slices["all"]
    for arm in summary.modes.values():
        failed = summary.failed.get(arm, 0)
        if asked and 1 - failed / asked < ANSWERED_FLOOR:
            return (
                f"{failed} of {asked} answers of {arm} failed, and the ones that are left may be "
                "the easy ones.",
                "Run the same command again: it asks for the failed answers alone.",
            )
    return None


def _steps(summary: Summary, goal: str) -> _Steps:
    def gap(mode: str, against: str) -> Estimate:
        found = summary.compare(goal, summary.modes[mode], summary.modes[against])
        return found if found is not None else Estimate(None, None, None, 0, 0, "not compared")

    return _Steps(
        retrieval=gap("combined", "finetuned"),
        tuning=gap("combined", "rag"),
        rag=gap("rag", "base"),
        finetuned=gap("finetuned", "base"),
    )


def _choose(steps: _Steps, goal: str) -> tuple[Choice, str]:
    retrieval, tuning = worth(steps.retrieval), worth(steps.tuning)
    added = (
        f"In {GOALS[goal]}, retrieval adds {_gap(steps.retrieval)} to the tuned model, and tuning "
        f"adds {_gap(steps.tuning)} to retrieval."
    )
    if (retrieval, tuning) == ("yes", "yes"):
        return "both", added
    if retrieval == "yes" and (tuning == "no" or worth(steps.rag) == "yes"):
        return "retrieve", f"{added} {_other('tuning', tuning)}"
    if tuning == "yes" and (retrieval == "no" or worth(steps.finetuned) == "yes"):
        return "tune", f"{added} {_other('retrieval', retrieval)}"
    if (retrieval, tuning) == ("no", "no"):
        return _alone(steps, added)
    return "unclear", added


def _overall(summary: Summary, goal: str) -> str:
    """Return what all questions say, where the headline's are too few to tell."""
    combined = summary.modes["combined"]
    gaps = [
        summary.compare(goal, combined, summary.modes[mode], ALL) for mode in ("finetuned", "rag")
    ]
    if not all(gap is not None and gap.seen for gap in gaps):
        return ""
    retrieval, tuning = (_gap(gap) for gap in gaps if gap is not None)
    return (
        f"Over all {summary.slices[ALL]} questions, those about documents that training tickets "
        f"touch among them, retrieval adds {retrieval} to the tuned model, and tuning adds "
        f"{tuning} to retrieval."
    )


def _other(what: str, found: Worth) -> str:
    if found == "no":
        return f"There is no sign that {what} gains anything worth having."
    return f"Whether {what} gains anything on top, the data do not tell."


def _alone(steps: _Steps, added: str) -> tuple[Choice, str]:
    """Neither adds to the other: is one of them enough?"""
    rag, finetuned = worth(steps.rag), worth(steps.finetuned)
    if rag == "yes":
        return "retrieve", f"{added} On its own, retrieval gains {_gap(steps.rag)} over base."
    if finetuned == "yes":
        return "tune", f"{added} On its own, tuning gains {_gap(steps.finetuned)} over base."
    if "unclear" in (rag, finetuned):
        return "unclear", added
    return "neither", f"{added} Neither gains over base on its own."


def _gains(summary: Summary) -> str:
    """Return what each part adds to its own end, in plain words: the verdict's own comparisons."""
    clauses, seen = [], []
    for metric, mode, name, what in (
        ("facts", "rag", "retrieval", "correct facts"),
        ("format", "finetuned", "tuning", "valid format"),
    ):
        effect = summary.compare(metric, summary.modes[mode], summary.modes["base"])
        if effect is not None and effect.mean is not None:
            clauses.append(f"{name} {_adds(effect, what)}")
            seen.append(effect.seen)
    if not clauses:
        return ""
    # What a part does alone need not be what it adds to the other, which the advice is about.
    words = f"{'' if all(seen) else 'each by itself, '}{'; '.join(clauses)}"
    means = summary.means[summary.headline]
    base, combined = (means[summary.modes[mode]]["grounded"].mean for mode in ("base", "combined"))
    if combined is not None:
        words += f"; together, {percent(combined)} of the answers are grounded"
        words += f" (base: {percent(base)})"
    return f"{words[0].upper()}{words[1:]}."


def _adds(effect: Estimate, what: str) -> str:
    if not effect.seen or effect.mean is None:
        return f"shows no difference in {what} beyond the noise"
    verb = "adds" if effect.mean > 0 else "costs"
    return f"{verb} {points(abs(effect.mean)).lstrip('+')} points of {what}"


def _rivals(summary: Summary, goal: str) -> dict[str, Estimate]:
    """Return combined minus each untuned arm beyond the 2x2 that retrieves."""
    rivals = {}
    for arm in summary.untuned:
        found = summary.compare(goal, summary.modes["combined"], arm)
        if arm not in summary.modes.values() and found is not None and found.n:
            rivals[arm] = found
    return rivals


def _changes(steps: _Steps, goal: str) -> list[str]:
    lines = []
    for what, found in (("retrieval", steps.retrieval), ("tuning", steps.tuning)):
        size = power(found)
        if worth(found) == "unclear":
            line = f"What {what} adds to {GOALS[goal]} is inside the noise."
            if size.needed is not None:
                line += (
                    f" To see a difference of 5 points you need about {size.needed:,} questions "
                    f"like these; this run has {found.n}."
                )
            lines.append(line)
        elif size.detectable is not None:
            lines.append(
                f"About {what}, this run sees differences of {points(size.detectable).lstrip('+')} "
                f"points and more ({found.n} questions about {found.clusters} groups of "
                f"documents); for 5 points it takes about {size.needed:,} questions."
            )
    groups = max(steps.retrieval.clusters, steps.tuning.clusters)
    if groups < FEW_GROUPS:
        lines.append(
            f"The questions are about {groups} groups of documents, and questions about one "
            f"document stand and fall together: below {FEW_GROUPS} groups, chance cannot be ruled "
            "out. Ask about more documents."
        )
    lines.append(
        "Other documents, another base model or other questions can turn this round: run it again "
        "when one of them changes."
    )
    return lines


def _gap(found: Estimate) -> str:
    if found.mean is None:
        return "nothing that was measured"
    return f"{points(found.mean)} points ({interval(found)})"


def _unclear(why: str, change: str) -> Advice:
    return Advice("unclear", TITLES["unclear"], (why,), (change,))
