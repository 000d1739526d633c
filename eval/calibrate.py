"""Calibration: from questions with known outcomes to one number for "the evidence is enough"."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from assistant.strength import Calibration
from eval.question import Question
from ingest.errors import DataError
from ingest.extras import require

FOLDS = 5
FEWEST = 10
"""Examples of either outcome below which nothing is fitted."""
BINS = 10
"""Of the expected calibration error, equally full."""
KEPT = 0.95
"""Share of the questions with enough evidence that must still be answered."""
ASKED = "asked"
"""Key of a calibration's `fitted`: the hashes of the questions that it was fitted to."""
COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Example(NamedTuple):
    """A question, what was seen of its evidence, and whether that was enough."""

    id: str
    group: str
    """Examples of one group are fitted together or not at all: the document they are about."""
    values: Mapping[str, float]
    enough: bool


@dataclass(frozen=True, slots=True)
class Fit:
    """What cross-fitting says of a calibration; every strength is from a fit without its group."""

    strengths: NDArray[np.float64]
    enough: NDArray[np.bool_]
    threshold: float

    def report(self) -> dict[str, Any]:
        """Return counts and figures as they are stored and printed."""
        answered = self.strengths >= self.threshold
        return {
            "n": len(self.enough),
            "enough": int(self.enough.sum()),
            "brier": round(float(np.mean((self.strengths - self.enough) ** 2)), 4),
            "brier_of_the_share": round(float(self.enough.mean() * (1 - self.enough.mean())), 4),
            "ece": round(_calibration_error(self.strengths, self.enough), 4),
            "kept": _ratio(answered & self.enough, self.enough),
            "abstention": {
                "precision": _ratio(~answered & ~self.enough, ~answered),
                "recall": _ratio(~answered & ~self.enough, ~self.enough),
            },
            "risk_coverage": _risk_coverage(self.strengths, self.enough),
        }


def calibrate(
    examples: Sequence[Example],
    *,
    fingerprint: str,
    collection: str,
    asked: Sequence[str] = (),
    seed: int = 0,
) -> Calibration:
    """Fit on all examples; report and choose the threshold on strengths from other groups alone.

    The threshold is the highest at which `KEPT` of the questions with enough evidence are still
    answered. `asked` are the questions, so that none of them is ever evaluated on.

    Raises:
        DataError: too few examples of one outcome.
    """
    names = tuple(examples[0].values) if examples else ()
    enough = np.array([example.enough for example in examples], dtype=bool)
    fewest = min(int(enough.sum()), int((~enough).sum())) if len(enough) else 0
    if fewest < FEWEST:
        raise DataError(
            f"{int(enough.sum())} questions found enough evidence and {int((~enough).sum())} did "
            f"not; {FEWEST} of each are needed.",
            hint='Add questions, also such as the documents do not answer: "answerable": false',
        )
    table = np.array([[example.values[name] for name in names] for example in examples])
    groups = [example.group for example in examples]
    strengths = _cross_fitted(table, enough, groups, seed)
    threshold = float(np.quantile(strengths[enough], 1 - KEPT, method="lower"))
    model = _model().fit(table, enough)
    scaler, regression = model[0], model[-1]
    return Calibration(
        fingerprint=fingerprint,
        collection=collection,
        names=names,
        means=tuple(float(v) for v in scaler.mean_),
        scales=tuple(float(v) for v in scaler.scale_),
        weights=tuple(float(v) for v in regression.coef_[0]),
        bias=float(regression.intercept_[0]),
        threshold=threshold,
        rule=f"the highest at which {KEPT:.0%} of the questions with enough evidence are answered",
        fitted={
            "folds": FOLDS,
            "seed": seed,
            **Fit(strengths, enough, threshold).report(),
            ASKED: sorted({name_of(text) for text in asked}),
        },
    )


def refuse_known(questions: Sequence[Question], known: Sequence[Question], where: str) -> None:
    """Refuse questions that are in an evaluation set, by id or by their words.

    Raises:
        DataError: names them.
    """
    ids = {question.id for question in known}
    texts = {_plain(question.question) for question in known}
    same = [q.id for q in questions if q.id in ids or _plain(q.question) in texts]
    if same:
        shown = ", ".join(same[:10]) + (", ..." if len(same) > 10 else "")
        raise DataError(
            f"{len(same)} of the {len(questions)} questions are in {where} as well: {shown}.",
            hint="What is evaluated on must not be fitted on; take them out of one of the two.",
        )


def refuse_fitted(questions: Sequence[Question], calibration: Calibration | None) -> None:
    """Refuse to evaluate on questions that the calibration in use was fitted to.

    Raises:
        DataError: names them.
    """
    if calibration is None:
        return
    fitted = set(calibration.fitted.get(ASKED, ()))
    same = [q.id for q in questions if name_of(q.question) in fitted]
    if same:
        shown = ", ".join(same[:10]) + (", ..." if len(same) > 10 else "")
        raise DataError(
            f"The threshold of collection {calibration.collection!r} was fitted to {len(same)} of "
            f"these questions: {shown}.",
            hint="Fit it to others: groundtune calibrate DEV.jsonl --not QUESTIONS.jsonl",
        )


def name_of(text: str) -> str:
    """Return what a question is remembered by, whatever its spaces, case and signs: 16 digits."""
    return hashlib.sha256(_plain(text).encode()).hexdigest()[:16]


def _plain(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())


def _model() -> Any:
    linear = require("sklearn.linear_model", extra="eval")
    preprocessing = require("sklearn.preprocessing", extra="eval")
    pipeline = require("sklearn.pipeline", extra="eval")
    return pipeline.make_pipeline(
        preprocessing.StandardScaler(), linear.LogisticRegression(C=1.0, max_iter=1000)
    )


def _cross_fitted(
    table: NDArray[np.float64], enough: NDArray[np.bool_], groups: Sequence[str], seed: int
) -> NDArray[np.float64]:
    selection = require("sklearn.model_selection", extra="eval")
    folds = selection.StratifiedGroupKFold(n_splits=FOLDS, shuffle=True, random_state=seed)
    return np.asarray(
        selection.cross_val_predict(
            _model(), table, enough, groups=groups, cv=folds, method="predict_proba"
        )[:, 1]
    )


def _calibration_error(strengths: NDArray[np.float64], enough: NDArray[np.bool_]) -> float:
    """Mean distance between what was said and what happened, over equally full bins."""
    order = np.argsort(strengths, kind="stable")
    bins = [part for part in np.array_split(order, BINS) if len(part)]
    gaps = [len(part) * abs(strengths[part].mean() - enough[part].mean()) for part in bins]
    return float(sum(gaps) / len(strengths))


def _risk_coverage(strengths: NDArray[np.float64], enough: NDArray[np.bool_]) -> list[Any]:
    """Return, for each share of questions answered, the strongest first, how many lack evidence."""
    order = np.argsort(-strengths, kind="stable")
    rows = []
    for coverage in COVERAGES:
        answered = order[: max(1, round(coverage * len(order)))]
        rows.append({"coverage": coverage, "risk": round(float(1 - enough[answered].mean()), 4)})
    return rows


def _ratio(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float | None:
    return round(float(part.sum() / whole.sum()), 4) if whole.any() else None
