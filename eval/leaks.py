"""Leaks: questions that an adapter was trained on, or on nearly the same words.

A tuned arm that has seen a question answers from memory, and the comparison with the others means
nothing. The training rows are found by lineage: report -> adapter -> data set.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from assistant.adapter import Adapter
from assistant.near_duplicates import near_duplicates_between
from assistant.prompt import WITHOUT_EVIDENCE
from eval.question import Question
from ingest.errors import DataError

TRAIN = "train.jsonl"
OPENING = WITHOUT_EVIDENCE.partition("{")[0]
"""What stands before a question in a prompt; with evidence, the last one counts."""
SHOWN = 10
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Leak:
    """A question and the training row that is like it."""

    question_id: str
    question: str
    adapter: str
    """`name:version` of the adapter that saw it."""
    row: str
    """What was asked in the training row."""
    similarity: float
    """0 to 1; 1 means the same words in the same order."""


@dataclass(frozen=True, slots=True)
class Search:
    """What was looked through, and what was found there."""

    leaks: tuple[Leak, ...]
    rows: dict[str, int]
    """Adapter -> training questions that were looked at."""
    unknown: dict[str, str]
    """Adapter -> why its training rows could not be looked at."""

    @property
    def ids(self) -> set[str]:
        """Return the ids of the questions that leaked."""
        return {leak.question_id for leak in self.leaks}

    def refuse(self) -> None:
        """Raise where a question leaked.

        Raises:
            DataError: names the questions and the rows.
        """
        if not self.leaks:
            return
        lines = [
            f"  {leak.question_id} ({leak.similarity:.2f}): {leak.question!r} against {leak.row!r}"
            for leak in self.leaks[:SHOWN]
        ]
        if len(self.leaks) > SHOWN:
            lines.append(f"  ... and {len(self.leaks) - SHOWN} more")
        trained = ", ".join(sorted({leak.adapter for leak in self.leaks}))
        raise DataError(
            "\n".join(
                [
                    f"{len(self.ids)} questions are near-duplicates of rows that {trained} was "
                    "trained on:",
                    *lines,
                ]
            ),
            hint='Take them out of the file, or set leaks = "leave-out" in the recipe: they are '
            "left out then, and the report says so.",
        )


def find_leaks(questions: Sequence[Question], adapters: Sequence[Adapter], home: Path) -> Search:
    """Return the questions that are near-duplicates of a training row of an adapter."""
    leaks: list[Leak] = []
    rows: dict[str, int] = {}
    unknown: dict[str, str] = {}
    for adapter in sorted(adapters, key=lambda a: a.reference):
        try:
            said = trained_on(adapter, home, asked_in)
        except DataError as error:
            unknown[adapter.reference] = error.message
            continue
        asked = list(dict.fromkeys(text for row in said for text in row))
        rows[adapter.reference] = len(asked)
        leaks += [
            Leak(
                questions[pair.first].id,
                questions[pair.first].question,
                adapter.reference,
                asked[pair.second],
                round(pair.similarity, 4),
            )
            for pair in near_duplicates_between([q.question for q in questions], asked)
        ]
    return Search(tuple(leaks), rows, unknown)


def leak_sentence(manifest: Mapping[str, Any]) -> str:
    """Say what the search for questions that an adapter was trained on found; empty without one."""
    search = manifest.get("leaks") or {}
    ids = sorted({leak["question_id"] for leak in search.get("leaks", ())})
    said = []
    if search.get("rows"):
        rows = ", ".join(f"{n} of {adapter}" for adapter, n in search["rows"].items())
        found = "None of the questions is a near-duplicate of one"
        if ids:
            found = f"{len(ids)} questions are near-duplicates of one and were left out"
            found += f": {', '.join(ids[:10])}{', ...' if len(ids) > 10 else ''}"
        said.append(f"Questions of training rows looked at: {rows}. {found}.")
    for adapter, why in search.get("unknown", {}).items():
        said.append(f"Whether {adapter} was trained on these questions is unknown: {why}.")
    return " ".join(said)


def asked_in(row: dict[str, Any]) -> list[str]:
    """Return what is asked in a training row: the question of each user turn, without evidence."""
    said = [str(m["content"]) for m in row["messages"] if m["role"] == "user"]
    return [text.rpartition(OPENING)[2].strip() for text in said]


def trained_on(adapter: Adapter, home: Path, read: Callable[[dict[str, Any]], T]) -> list[T]:
    """Return what `read` makes of every row of the adapter's data set, in its order.

    Raises:
        DataError: the data set is not known, not here, or not readable.
    """
    dataset = adapter.manifest.get("dataset") or {}
    if not dataset.get("name"):
        raise DataError("its manifest names no data set")
    path = home / "datasets" / str(dataset["name"]) / TRAIN
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [read(json.loads(line)) for line in lines if line.strip()]
    except OSError:
        raise DataError(f"its data set {dataset['name']} is not in this workspace") from None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"its data set {dataset['name']} cannot be read: {error!r}") from None
