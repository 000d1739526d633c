"""A report that was written before, read back so that another can be compared with it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.statistics import Clusters, Values
from ingest.errors import DataError, NotFoundError, UsageError

FILE = "report.json"


@dataclass(frozen=True, slots=True)
class PastReport:
    """What a comparison needs of a report."""

    folder: Path
    questions: Mapping[str, Mapping[str, Any]]
    """Question id -> `question`, `reference`, `cluster`, `tags` and the rest of its row."""
    arms: tuple[str, ...]
    scores: Mapping[tuple[str, str], Mapping[str, float | None]]
    """Arm, question id -> metric -> value; None is unscored."""
    answers: Mapping[tuple[str, str], str]
    """Arm, question id -> what was answered, or why nothing was."""
    manifest: Mapping[str, Any]

    @property
    def clusters(self) -> Clusters:
        """Return question id -> cluster."""
        return {i: str(row["cluster"]) for i, row in self.questions.items()}

    def metrics(self) -> set[str]:
        """Return every metric that at least one answer has."""
        return {name for card in self.scores.values() for name in card}

    def values(self, arm: str, metric: str) -> Values:
        """Return question id -> value."""
        return {i: self.scores.get((arm, i), {}).get(metric) for i in self.questions}


def find_report(name: str, reports: Path, file: str = FILE) -> Path:
    """Return the folder of the report called `name`: a path, a name in `reports`, or `latest`.

    Raises:
        NotFoundError: there is none; says which there are.
    """
    finished = sorted(path.parent for path in reports.glob(f"*/{file}"))
    if name == "latest" and finished:
        return finished[-1]
    for place in (Path(name), reports / name):
        if (place / file).is_file():
            return place
    known = ", ".join(path.name for path in finished) or "none yet"
    raise NotFoundError(
        f"There is no report {name!r} in {reports}. Reports: {known}.",
        hint="Make one with: groundtune eval run CONFIG.toml",
    )


def read_report(folder: Path) -> PastReport:
    """Read `report.json` of a report folder.

    Raises:
        DataError: it is not a report, or one of a version that kept too little.
    """
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = content["scores"]
        return PastReport(
            folder=folder,
            questions={row["id"]: row for row in content["questions"]},
            arms=tuple(content["summary"]["arms"]),
            scores=_means(rows),
            answers={
                (row["arm"], row["question_id"]): row["answer"] or row["error"]
                for row in reversed(rows)  # of repeated answers, the first
            },
            manifest=content["manifest"],
        )
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a report: {error}.") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is not a report that can be compared: {error!r} is missing.",
            hint="Reports of older versions kept no answers. Run the evaluation again.",
        ) from None


def _means(
    rows: Sequence[Mapping[str, Any]],
) -> dict[tuple[str, str], dict[str, float | None]]:
    """Return the scores of each arm and question, averaged over repeated answers."""
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows:
        card = values.setdefault((row["arm"], row["question_id"]), {})
        for name, score in row["scores"].items():
            scored = card.setdefault(name, [])
            if score["value"] is not None:
                scored.append(score["value"])
    return {
        place: {name: sum(v) / len(v) if v else None for name, v in card.items()}
        for place, card in values.items()
    }


def check_same_questions(a: PastReport, b: PastReport) -> None:
    """Refuse reports that did not ask the same: their difference would mean nothing.

    Raises:
        UsageError: names what differs and how to get two reports that compare.
    """
    only_a, only_b = (
        sorted(a.questions.keys() - b.questions),
        sorted(b.questions.keys() - a.questions),
    )
    changed = sorted(
        i
        for i in a.questions.keys() & b.questions.keys()
        if any(a.questions[i].get(k) != b.questions[i].get(k) for k in ("question", "reference"))
    )
    if not (only_a or only_b or changed):
        return
    said = [
        f"{len(ids)} {words}: {', '.join(ids[:5])}{', ...' if len(ids) > 5 else ''}"
        for ids, words in (
            (only_a, f"only in {a.folder.name}"),
            (only_b, f"only in {b.folder.name}"),
            (changed, "with another wording or reference"),
        )
        if ids
    ]
    raise UsageError(
        f"{a.folder.name} and {b.folder.name} asked different questions: {'; '.join(said)}.",
        hint="Run both with one file of questions, the same --limit and the same seed: "
        "groundtune eval run CONFIG.toml. Answers that are still valid are taken from the cache.",
    )
