"""A gate: how much worse a new report may be before it is refused.

A rule fails only when the new report is worse than the old one *beyond its margin*, at the stated
confidence. The confidence holds for all rules together: their p values are corrected by Holm's
method, so a gate of ten rules raises a false alarm no more often than a gate of one.
"""

from pathlib import Path

from pydantic import Field, ValidationError

from assistant.config import explain, read_toml
from eval.recipe import Section
from eval.score import COSTS, METRICS
from ingest.errors import ConfigError

KNOWN = {metric.name: metric for metric in (*METRICS, *COSTS)}


class Rule(Section):
    """One arm and metric that must not get worse."""

    arm: str = Field(min_length=1)
    metric: str
    margin: float = Field(default=0.0, ge=0)
    """How much worse is still accepted, in the metric's own unit: 0.05 is five points of a share,
    500 is half a second of an answer time."""

    @property
    def lower_is_better(self) -> bool:
        """Whether a higher value is a regression."""
        return KNOWN[self.metric].better == "low"


class Gate(Section):
    """All rules."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """How sure a failure is, for all rules together: 0.95 raises at most 1 false alarm in 20."""
    rule: tuple[Rule, ...] = Field(min_length=1)

    @property
    def alpha(self) -> float:
        """Highest rate of false alarms."""
        return 1 - self.confidence


def read_gate(path: Path) -> Gate:
    """Read a gate.

    Raises:
        ConfigError: no such file, not TOML, or a wrong key or value; names all of them.
    """
    try:
        gate = Gate.model_validate(read_toml(path))
    except ValidationError as error:
        raise ConfigError(explain(error, Gate, str(path))) from None
    unknown = sorted({rule.metric for rule in gate.rule} - KNOWN.keys())
    if unknown:
        raise ConfigError(
            f"{path}: no metric called {', '.join(map(repr, unknown))}. "
            f"There are: {', '.join(KNOWN)}."
        )
    return gate
