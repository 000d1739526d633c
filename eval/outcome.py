"""What one arm did with one question, and how an answer is kept on disk."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from assistant.answer import Answer, Citation, Evidence, Place, Searched, Support, Timings
from assistant.choice import Choice


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer, or why there is none."""

    question_id: str
    arm: str
    key: str
    """Hash of everything that shapes the answer."""
    answer: Answer | None
    error: str = ""
    """Why the arm failed; empty when it answered."""
    repeat: int = 0
    """Counted from 0; above it only for arms that sample."""
    cached: bool = False
    """Whether the answer was taken from the cache; its timings are of the day it was made."""

    def line(self) -> str:
        """Return the outcome as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


def answer_row(answer: Answer) -> dict[str, Any]:
    """Return an answer as plain values, evidence and raw text included."""
    return asdict(answer)


def answer_of(row: Mapping[str, Any]) -> Answer:
    """Return the answer that `answer_row` took apart."""
    return Answer(
        **{
            **row,
            "timings": Timings(**row["timings"]),
            "citations": tuple(Citation(**citation) for citation in row["citations"]),
            "evidence": tuple(Evidence(**evidence) for evidence in row["evidence"]),
            "searched": _searched(row["searched"]),
            "choice": Choice(**row["choice"]) if row.get("choice") else None,
            "support": tuple(
                Support(**{**sentence, "markers": tuple(sentence["markers"])})
                for sentence in row["support"]
            ),
        }
    )


def _searched(row: Mapping[str, Any] | None) -> Searched | None:
    if row is None:
        return None
    nearest = tuple(Place(**place) for place in row["nearest"])
    return Searched(row["collection"], row["documents"], nearest)
