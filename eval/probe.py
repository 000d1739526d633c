"""Is a judge fit to judge? Sixty pairs with a known verdict, and how often it agrees with them."""

import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eval.judge import Judge
from eval.run import Progress
from ingest.extras import require

FILE = Path(__file__).parent / "probe.jsonl"
FIT_KAPPA = 0.6
"""Substantial agreement (Landis and Koch, 1977); the interval must not reach below 0.4."""
LOWEST_KAPPA = 0.4
ANSWERED_FLOOR = 0.9
PROMPT = (
    "Passage: {passage}\nQuestion: {question}\nAnswer: {answer}\n"
    "Does the passage say that this answer is right? Say yes or no."
)


class Pair(NamedTuple):
    """An answer whose verdict is known."""

    passage: str
    question: str
    answer: str
    right: bool


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well two raters agree beyond chance."""

    kappa: float | None
    """Cohen's; None where nothing was rated."""
    low: float | None
    high: float | None
    """95 % interval; None where it is undefined."""
    n: int
    """Pairs that both rated."""
    unscored: int
    """Pairs that the judge gave no verdict on."""

    @property
    def fit(self) -> bool:
        """Whether the judge may be believed."""
        asked = self.n + self.unscored
        return (
            self.kappa is not None
            and self.low is not None
            and self.kappa >= FIT_KAPPA
            and self.low >= LOWEST_KAPPA
            and self.n >= ANSWERED_FLOOR * asked
        )

    def sentence(self, judge: str, pairs: str = "probe pairs") -> str:
        """Say whether the judge is fit, by its own numbers on these `pairs`."""
        asked = self.n + self.unscored
        if self.kappa is None:
            measured = f"of {asked} {pairs} it gave a verdict on {self.n}, and always the same"
            if not self.n:
                measured = f"it gave no verdict on any of {asked} {pairs}"
        else:
            measured = f"Cohen's kappa {self.kappa:.2f}"
            if self.low is not None and self.high is not None:
                measured += f" (95 % interval {self.low:.2f} to {self.high:.2f})"
            measured += f" on {self.n} of {asked} {pairs}"
        if self.fit:
            return f"{judge} is fit to judge: {measured}."
        return (
            f"{judge} is not fit to judge: {measured}; wanted are {FIT_KAPPA} or more, an interval "
            f"above {LOWEST_KAPPA}, and verdicts on {ANSWERED_FLOOR:.0%} of them. Do not rely on "
            "its scores."
        )


def read_probe() -> list[Pair]:
    """Return the shipped pairs; half of them are right."""
    rows = FILE.read_text(encoding="utf-8").splitlines()
    return [Pair(**json.loads(row)) for row in rows]


async def probe(judge: Judge, pairs: Sequence[Pair], progress: Progress) -> Agreement:
    """Return how well `judge` agrees with the pairs' known verdicts."""
    wanted: list[bool] = []
    given: list[bool] = []
    for pair in pairs:
        prompt = PROMPT.format(passage=pair.passage, question=pair.question, answer=pair.answer)
        verdict = await judge.choose(prompt, ("yes", "no"))
        if verdict is not None:
            wanted.append(pair.right)
            given.append(verdict == "yes")
        progress.advance()
    return agreement(wanted, given, unscored=len(pairs) - len(given))


def agreement(a: Sequence[bool], b: Sequence[bool], *, unscored: int = 0) -> Agreement:
    """Return Cohen's kappa of two raters of the same things, and its interval, by statsmodels."""
    if not a:
        return Agreement(None, None, None, 0, unscored)
    if len(set(a) | set(b)) == 1:  # both said the same one thing: kappa is 0 / 0
        return Agreement(None, None, None, len(a), unscored)
    table = np.zeros((2, 2))
    np.add.at(table, (np.array(a, dtype=int), np.array(b, dtype=int)), 1)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # where the raters agree on everything, the spread is 0
        found = require("statsmodels.stats.inter_rater", extra="eval").cohens_kappa(table)
    low, high = float(found.kappa_low), float(found.kappa_upp)
    known = math.isfinite(low) and math.isfinite(high)
    return Agreement(
        float(found.kappa),
        max(-1.0, low) if known else None,
        min(1.0, high) if known else None,
        len(a),
        unscored,
    )
