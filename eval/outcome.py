"""What one arm did with one question, and how that is kept on disk."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assistant.answer import Answer, Citation, Evidence, Support, Timings
from ingest.errors import DataError


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer, or why there is none."""

    question_id: str
    arm: str
    key: str
    """Hash of everything that shapes the answer; an outcome with another key is out of date."""
    answer: Answer | None
    error: str = ""
    """Why the arm failed; empty when it answered."""

    def line(self) -> str:
        """Return the outcome as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


def read_outcomes(path: Path) -> list[Outcome]:
    """Read what a run has written so far.

    Raises:
        DataError: a line is not an outcome.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    outcomes = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            outcomes.append(_outcome(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{path}:{number} is not an answer of an evaluation: {error}",
                hint="Evaluate into another folder, or delete that line.",
            ) from None
    return outcomes


def _outcome(row: Mapping[str, Any]) -> Outcome:
    answer = row["answer"]
    return Outcome(
        question_id=row["question_id"],
        arm=row["arm"],
        key=row["key"],
        answer=None if answer is None else _answer(dict(answer)),
        error=row["error"],
    )


def _answer(row: dict[str, Any]) -> Answer:
    row["timings"] = Timings(**row["timings"])
    row["citations"] = tuple(Citation(**citation) for citation in row["citations"])
    row["evidence"] = tuple(Evidence(**evidence) for evidence in row["evidence"])
    row["support"] = tuple(
        Support(**{**sentence, "markers": tuple(sentence["markers"])})
        for sentence in row.get("support", ())
    )
    return Answer(**row)
