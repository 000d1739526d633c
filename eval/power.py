"""How small a difference a run can see, and how many questions it takes to see a given one."""

import math
from collections.abc import Callable
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
    sides = "larger" if one_sided else "two-sided"
    spread = found.error * found.clusters**0.5

    def seen(effect: float, groups: float) -> float:
        share = float(test.power(effect, groups, alpha, alternative=sides))
        return 1.0 if math.isnan(share) else share  # it is, where the effect is beyond all doubt

    effect = _reached(lambda effect: seen(effect, found.clusters), 0.0)
    groups = _reached(lambda groups: seen(WANTED / spread, groups), float(FEWEST_GROUPS))
    return Power(effect * spread, _rounded(groups * found.n / found.clusters), found.n)


def _reached(share: Callable[[float], float], least: float) -> float:
    """Return from where on the growing `share` is `POWER`; `least` where it is that from the start.

    statsmodels has solvers for both, and they give nan, or the wrong shape, where few groups are
    enough or the level is unusual.
    """
    if share(least) >= POWER:
        return least
    most = 2 * least + 1
    while share(most) < POWER:
        most *= 2
    root = require("scipy.optimize", extra="eval").brentq
    return float(root(lambda x: share(x) - POWER, least, most, rtol=1e-9))


def _rounded(questions: float) -> int:
    """Round up to two figures: the spread is not known better than that."""
    scale = 10 ** max(0, len(str(int(questions))) - 2)
    return int(-(-questions // scale) * scale)
