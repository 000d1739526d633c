"""Format, house terms and grounded answers where training never looked, over several splits.

    GROUNDTUNE_HOME=.groundtune/demo python -m tests.bench.tickets [SPLITS [KEY=VALUE...]]

It takes a workspace with the sample company's index. For each split an adapter is trained with the
demo's recipe, its seed changed, and asked the tickets whose documents it did not see and the
questions about documents that no ticket touches, through all that serves: search, prompt, engine
and adapter. `KEY=VALUE` changes a key of the recipe. What was trained or answered before is not
done again, so it can be stopped and goes on where it was.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eval.choice import share
from eval.past import PastReport, read_report
from eval.statistics import estimate
from finetune.recipe import load_recipe
from finetune.rows import answer_text
from finetune.split import split_by_document
from finetune.ticket import Ticket, read_tickets
from tests.bench.commands import TARNFELL, groundtune, say, train

SPLITS = 3
ARMS = ("base", "finetuned", "combined")
TICKET = "ticket"
METRICS: dict[str, dict[str, float | None]] = {
    TICKET: {"format": 0.98, "terms": 0.95},
    "question": {"format": None, "grounded": None},
}
"""Kind of what is asked -> metric -> aim."""


def main(splits: str = str(SPLITS), *changes: str) -> None:
    """Print each arm's shares, split by split and of all together."""
    changed = dict(change.split("=", 1) for change in changes)
    found: list[PastReport] = []
    for seed in range(int(splits)):
        parts = ["split", str(seed), *(f"{key}-{value}" for key, value in changed.items())]
        adapter = "-".join(parts).replace("_", "-")
        train(adapter, {**changed, "seed": seed})
        found.append(_asked(adapter, seed))
        for line in _lines(f"split {seed}", found[-1:]):
            say(line)
    for line in _lines(f"{splits} splits", found):
        say(line)


def _asked(adapter: str, seed: int) -> PastReport:
    data = load_recipe(TARNFELL / "finetune.toml").data
    assert data.tickets is not None
    split = split_by_document(
        read_tickets(data.tickets), heldout_fraction=data.heldout_fraction, seed=seed
    )
    with TemporaryDirectory() as folder:
        questions = Path(folder) / "questions.jsonl"
        rows = [*map(_row, split.validation), *_heldout()]
        questions.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        recipe = Path(folder) / "eval.toml"
        arms = "".join(f'[[arm]]\nname = "{arm}"\nmode = "{arm}"\n' for arm in ARMS)
        recipe.write_text(
            f'questions = "{questions}"\nterms = "{TARNFELL / "terms.toml"}"\n'
            f'adapter = "{adapter}"\nmax_tokens = 128\nparallel = 1\n{arms}',
            encoding="utf-8",
        )
        return read_report(Path(groundtune("eval", "run", recipe)["report"]))


def _lines(name: str, reports: list[PastReport]) -> Iterator[str]:
    for kind, metrics in METRICS.items():
        for arm in ARMS:
            shares = [f"{metric} {_share(reports, kind, arm, metric)}" for metric in metrics]
            yield f"{name}, {kind}s, {arm}: {', '.join(shares)}"


def _share(reports: list[PastReport], kind: str, arm: str, metric: str) -> str:
    """Return the share over all reports; what is about one document is one draw in all of them."""
    values, clusters = {}, {}
    for number, report in enumerate(reports):
        for question, value in report.values(arm, metric).items():
            if (TICKET in report.questions[question]["tags"]) == (kind == TICKET):
                values[f"{number} {question}"] = value
                clusters[f"{number} {question}"] = report.clusters[question]
    right = Counter(values.values())[1.0]
    aim = METRICS[kind][metric]
    told = f"{share(asdict(estimate(values, clusters, seed=0)))}, {right} of {len(values)}"
    return f"{told}, aim {aim}" if aim else told


def _row(ticket: Ticket) -> Mapping[str, Any]:
    return {
        "id": ticket.id,
        "question": ticket.question,
        "reference": answer_text(ticket.answer),
        "documents": ticket.documents,
        "facts": ticket.facts,
        "answerable": bool(ticket.documents),
        "tags": [TICKET, *ticket.tags],
    }


def _heldout() -> Iterator[Mapping[str, Any]]:
    text = (TARNFELL / "questions.jsonl").read_text(encoding="utf-8")
    for row in map(json.loads, text.splitlines()):
        if "heldout" in row["tags"]:
            yield row


if __name__ == "__main__":
    main(*sys.argv[1:])
