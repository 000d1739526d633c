"""A recipe becomes a data set."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from finetune.dataset import WHOLE, Content, Dataset, write_dataset
from finetune.harvest import Report, harvest, kind_of
from finetune.recipe import Recipe
from finetune.rows import House, Retrieve, Rows, build_rows, lot
from finetune.sources.source import Desk, Harvest, SourceRecipe
from finetune.split import Split, split_by_document
from finetune.ticket import Ticket, read_tickets
from ingest.errors import DataError
from ingest.model_file import sha256_of


@dataclass(frozen=True, slots=True)
class Ground:
    """What rows are built on, whatever they come from."""

    house: House
    """The system text, the refusal and the number of passages that serve."""
    retrieve: Retrieve
    """Finds the evidence; the retriever that serves."""
    prompt_fingerprint: str
    """Of the prompt contract that the rows are built with."""


def build_from_tickets(recipe: Recipe, ground: Ground, *, folder: Path, now: datetime) -> Dataset:
    """Write the data set of the recipe's tickets below `folder`, divided, and return it.

    The same tickets, evidence and recipe give the same folder.

    Args:
        recipe: says what to build; it has `data.tickets`.
        ground: what rows are built on.
        folder: holds all data sets.
        now: written down as the time of building.

    Raises:
        DataError: wrong lines in the tickets, or tickets that cannot be divided; nothing is
            written.
    """
    assert recipe.data.tickets is not None
    tickets = read_tickets(recipe.data.tickets)
    split = split_by_document(
        tickets, heldout_fraction=recipe.data.heldout_fraction, seed=recipe.data.seed
    )
    train = build_rows(split.train, ground.retrieve, recipe.data, ground.house)
    if recipe.data.max_rows:
        train = Rows(train.examples[: recipe.data.max_rows], train.counts)
    validation = build_rows(split.validation, ground.retrieve, recipe.data, ground.house)
    documents = {ticket.id: ticket.documents for ticket in tickets}
    sides = {
        name: [replace(e, documents=documents[e.source]) for e in rows.examples]
        for name, rows in (("train", train), ("validation", validation))
    }
    content = Content(
        recipe.name,
        sides,
        _ticket_facts(recipe, tickets, len(sides["train"]) + len(sides["validation"]))
        | _facts(recipe, ground),
        [recipe.dump()["data"], ground.prompt_fingerprint],
        _ticket_sides(split, train, validation),
    )
    return write_dataset(folder, content, now=now)


def build_from_sources(
    recipe: Recipe,
    ground: Ground,
    desk: Desk,
    *,
    folder: Path,
    now: datetime,
    bar: Callable[[str], AbstractContextManager[Report]],
) -> Dataset:
    """Write the rows of the recipe's sources below `folder`, undivided, and return them.

    Raises:
        ConfigError: a source is declared wrongly.
        DataError: wrong lines in a source, two sources of one name, or no rows at all; nothing is
            written.
        EngineError: the model that writes questions failed; what it wrote is kept.
    """
    _check_names(recipe)
    gathered: dict[str, Harvest] = {}
    for source in recipe.source:
        gathered[source.title] = harvest(
            source, recipe.data, ground.house, ground.retrieve, desk, bar=bar
        )
    rows = [example for harvest in gathered.values() for example in harvest.examples]
    review = [item for harvest in gathered.values() for item in harvest.review]
    if not rows:
        raise DataError(
            f"The sources gave no rows: {_outcome(gathered)}.",
            hint="Answers disliked without a correction teach nothing; correct some of them."
            if review
            else "Look at what was dropped, and why.",
        )
    if recipe.data.max_rows and len(rows) > recipe.data.max_rows:
        # By lot, or the last source would be the one that is left out.
        chosen = sorted(rows, key=lambda e: lot(recipe.data.seed, e.line()))
        rows = chosen[: recipe.data.max_rows]
    sources = [_source_facts(source, gathered[source.title]) for source in recipe.source]
    content = Content(
        recipe.name,
        {WHOLE: rows},
        {"sources": sources} | _facts(recipe, ground),
        [recipe.dump()["data"], recipe.dump()["source"], ground.prompt_fingerprint],
        review=review,
    )
    return write_dataset(folder, content, now=now)


def _check_names(recipe: Recipe) -> None:
    titles = [source.title for source in recipe.source]
    if twice := sorted({title for title in titles if titles.count(title) > 1}):
        raise DataError(
            f"Two sources are called {', '.join(repr(title) for title in twice)}, so that nobody "
            "could tell whose a row is.",
            hint='Give one of them another: name = "..."',
        )


def _facts(recipe: Recipe, ground: Ground) -> dict[str, Any]:
    dumped = recipe.dump()
    return {
        "recipe": {**dumped["data"], **({"source": dumped["source"]} if recipe.source else {})},
        "seed": recipe.data.seed,
        "top_k": ground.house.shown,
        "prompt_fingerprint": ground.prompt_fingerprint,
    }


def _source_facts(source: SourceRecipe, found: Harvest) -> dict[str, Any]:
    return {
        "name": source.title,
        "kind": kind_of(source),
        "file": source.path.name if source.path else "",
        "sha256": sha256_of(source.path) if source.path else "",
        "rows": len(found.examples),
        "to_review": len(found.review),
        "counts": dict(found.counts),
    }


def _ticket_facts(recipe: Recipe, tickets: list[Ticket], rows: int) -> dict[str, Any]:
    path = recipe.data.tickets
    assert path is not None
    return {
        "sources": [
            {
                "name": "tickets",
                "kind": "tickets",
                "file": path.name,
                "sha256": sha256_of(path),
                "rows": rows,
                "to_review": 0,
                "counts": {"tickets": len(tickets)},
            }
        ]
    }


def _ticket_sides(split: Split, train: Rows, validation: Rows) -> dict[str, dict[str, Any]]:
    return {
        name: {"tickets": len(tickets), "left_out": rows.counts.get("left_out", 0)}
        for name, tickets, rows in (
            ("train", split.train, train),
            ("validation", split.validation, validation),
        )
    }


def _outcome(gathered: Mapping[str, Harvest]) -> str:
    return "; ".join(
        f"{title}: " + (", ".join(f"{name} {n}" for name, n in h.counts.items()) or "nothing")
        for title, h in gathered.items()
    )
