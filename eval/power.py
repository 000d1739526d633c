"""How small a difference a run can see, and how many questions it takes to see a given one."""

from dataclasses import dataclass

from eval.statistics import SIGNIFICANT, Estimate
from ingest.extras import require

POWER = 0.8
WANTED = 0.05
"""Five points: the difference that reports say the needed number of questions for."""
FEWEST_GROUPS = 2
"""Below it there is no spread."""


@dataclass(frozen=True, slots=True)
class Power:
    """What a paired comparison of this size can see, 8 times in 10, at 5 % two-sided."""

    detectable: float | None
    """Smallest true difference; None where the spread could not be measured."""
    needed: int | None
    """Questions to see a difference of `WANTED`, for the spread and the clusters of this run."""
    n: int


def power(found: Estimate, *, alpha: float = SIGNIFICANT, one_sided: bool = False) -> Power:
    """Return what a comparison with the spread and the clusters of `found` can see.

    The one-sample t test of statsmodels on the clusters: the standard error of `found`, times the
    root of their number, is the spread of one of them. Holds for one comparison on its own; the
    correction for many costs power.
    """
    if found.error is None or found.error <= 0 or found.clusters < FEWEST_GROUPS:
        return Power(None, None, found.n)
    test = require("statsmodels.stats.power", extra="eval").TTestPower()
    sides = {"alternative": "larger" if one_sided else "two-sided", "alpha": alpha, "power": POWER}
    spread = found.error * found.clusters**0.5
    effect = float(test.solve_power(nobs=found.clusters, **sides))
    groups: float = FEWEST_GROUPS
    # Where two are enough, the solver looks for fewer, of which there is no spread, and finds none.
    if WANTED / spread < float(test.solve_power(nobs=FEWEST_GROUPS, **sides)):
        groups = float(test.solve_power(effect_size=WANTED / spread, **sides))
    return Power(effect * spread, _rounded(groups * found.n / found.clusters), found.n)


def _rounded(questions: float) -> int:
    """Round up to two figures: the spread is not known better than that."""
    scale = 10 ** max(0, len(str(int(questions))) - 2)
    return int(-(-questions // scale) * scale)
