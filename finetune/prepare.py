"""From a recipe to the data set that is trained on: built, divided, checked."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from assistant.workspace import Workspace
from finetune.build import build_from_sources, build_from_tickets
from finetune.check.report import Report, write_report
from finetune.dataset import Content, Dataset, find_dataset, write_dataset
from finetune.examine import Terms, examine
from finetune.example import Example
from finetune.harvest import Report as Done
from finetune.harvest import check_tables, kind_of
from finetune.recipe import Recipe
from finetune.sources.source import SourceRecipe
from finetune.split import split_rows
from finetune.workbench import desk_of, ground_of
from ingest.errors import DataError, MismatchError


def prepare(recipe: Recipe, workspace: Workspace) -> Dataset:
    """Return the data set that `recipe` trains on.

    Raises:
        NotFoundError: no such collection or data set.
        DataError: wrong lines, rows that cannot be divided, or errors that the check found.
        MismatchError: the rows were built for another prompt.
    """
    dataset = build(recipe, workspace)
    if not dataset.divided:
        fraction = recipe.data.heldout_fraction
        dataset = divide(dataset, workspace, validation=fraction, test=0.0, seed=recipe.data.seed)
    ours = workspace.contract_of(recipe.name)
    theirs = dataset.manifest.get("prompt_fingerprint", "")
    if theirs and theirs != ours:
        raise MismatchError(
            f"The rows of {dataset.folder.name} were built for the prompt {theirs}, and this "
            f"configuration asks with {ours}.",
            hint="Build them anew: groundtune dataset build CONFIG.toml",
        )
    report, _ = examine(dataset, workspace, terms_of(recipe))
    if report.errors:
        written = keep_report(report, workspace)
        raise DataError(
            f"{dataset.folder.name} has errors, which stop a training run:\n"
            + "\n".join(f"  {finding.check}: {finding.message}" for finding in report.errors),
            hint=f"groundtune dataset check {dataset.folder.name} --fix   (all rows: {written})",
        )
    return dataset


def build(recipe: Recipe, workspace: Workspace) -> Dataset:
    """Return the data set of `recipe`, as its sources give it.

    Raises:
        NotFoundError: the collection holds no documents, or there is no such data set.
        DataError: wrong lines.
    """
    folder, collection = workspace.home / "datasets", recipe.data.collection
    if recipe.data.dataset:
        return find_dataset(folder, recipe.data.dataset)
    check_tables(recipe.source)
    if recipe.data.tickets or any(searches(source) for source in recipe.source):
        workspace.check_collection(collection)
    ground, now = ground_of(recipe, workspace), datetime.now(UTC)
    if recipe.data.tickets:
        return build_from_tickets(recipe, ground, folder=folder, now=now)
    desk = desk_of(collection, workspace)
    return build_from_sources(recipe, ground, desk, folder=folder, now=now, bar=_bar)


def divide(
    dataset: Dataset, workspace: Workspace, *, validation: float, test: float, seed: int
) -> Dataset:
    """Return a version of `dataset` with sides; one that has them already is divided anew.

    Raises:
        DataError: its rows cannot be divided so.
    """
    rows = [example for side in dataset.sides.values() for example in side]
    sides = split_rows(rows, validation=validation, test=test, seed=seed)
    shares = f"validation {validation:g}, test {test:g}, seed {seed}"
    return derive(dataset, workspace, sides, f"divided by source and document ({shares})")


def derive(
    dataset: Dataset, workspace: Workspace, sides: dict[str, list[Example]], how: str
) -> Dataset:
    """Write a version of `dataset` with other sides, and return it."""
    kept = ("sources", "recipe", "seed", "top_k", "prompt_fingerprint")
    facts = {key: dataset.manifest[key] for key in kept if key in dataset.manifest}
    origin = {"name": dataset.folder.name, "sha256": dataset.manifest["sha256"]}
    content = Content(
        dataset.name, sides, {**facts, "made_from": origin, "how": how}, [origin["sha256"], how]
    )
    return write_dataset(workspace.home / "datasets", content, now=datetime.now(UTC))


def terms_of(recipe: Recipe) -> Terms:
    """Return what a recipe's data set is held against."""
    return Terms(
        window=recipe.train.window,
        collection=recipe.data.collection,
        questions=recipe.data.questions,
    )


def keep_report(report: Report, workspace: Workspace) -> str:
    """Write a report into the workspace; return the path of the page."""
    return str(write_report(report, workspace.home / "checks" / report.name)["html"])


def searches(source: SourceRecipe) -> bool:
    """Whether rows of a source need the index."""
    kind = kind_of(source)
    return kind == "documents" or (kind == "table" and source.evidence)


@contextmanager
def _bar(title: str) -> Iterator[Done]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(f"{title}: passages asked about"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
