"""What a report is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eval.judged import Judged, Judgements
from eval.outcome import Outcome
from eval.question import Question
from eval.recipe import Arm
from eval.score import Score
from eval.summary import Summary


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a report is made of."""

    title: str
    created: str
    """UTC, ISO 8601."""
    arms: tuple[Arm, ...]
    questions: tuple[Question, ...]
    outcomes: tuple[Outcome, ...]
    cards: tuple[Mapping[str, Score], ...]
    """Scores of `outcomes`, in their order."""
    summary: Summary
    manifest: Mapping[str, Any]
    """Hashes, versions, seed, resolved recipe, timings."""
    parallel: int
    """Questions that were answered at the same time."""
    judged: Judged | None = None
    """What a judge says; None where none was asked."""
    judgements: Judgements = field(default_factory=dict)
    """Its scores, one by one."""
