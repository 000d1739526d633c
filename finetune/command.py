"""`groundtune finetune`: a recipe becomes an adapter."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assistant.config import Settings
from assistant.workspace import Workspace, open_workspace
from finetune.prepare import prepare
from finetune.recipe import Recipe, load_recipe
from finetune.train import Progress
from finetune.tuning import Base, tune


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("recipe", type=Path, metavar="CONFIG.toml", help="the recipe")
    parser.add_argument(
        "--max-steps", type=int, default=None, metavar="N", help="stop after N optimizer steps"
    )


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Build the data set, train, and return the adapter's manifest and folder.

    Raises:
        GroundtuneError: as the recipe, the data set and the training raise it.
    """
    recipe = _with_max_steps(load_recipe(args.recipe), args.max_steps)
    with open_workspace(settings) as workspace:
        base = _base(workspace)
        dataset = prepare(recipe, workspace)
        with _progress() as report:
            adapter = tune(
                recipe,
                dataset,
                base,
                workspace.adapters,
                now=datetime.now(UTC),
                report=report,
            )
    return {"folder": str(adapter.folder), **adapter.manifest}


def render(result: dict[str, Any]) -> str:
    """Return what a person reads of a run."""
    counts, validation = result["counts"], result["losses"]["validation"]
    lines = [
        f"Trained {result['name']}:{result['version']} on {counts['tokens_trained_on']} tokens in "
        f"{counts['steps']} steps, {result['seconds']:g} s ({result['tokens_per_second']:g} "
        "tokens/s).",
    ]
    if len(validation) > 1:
        lines.append(
            f"Validation loss {validation[0][1]:.3f} -> {validation[-1][1]:.3f} on documents that "
            "training never saw."
        )
    lines.append(f"Adapter: {result['folder']}")
    return "\n".join(lines)


def _base(workspace: Workspace) -> Base:
    return Base(
        workspace.settings.engine.model,
        workspace.model_file,
        workspace.base_sha256,
        workspace.prompt_fingerprint,
    )


def _with_max_steps(recipe: Recipe, max_steps: int | None) -> Recipe:
    if max_steps is None:
        return recipe
    train = recipe.train.model_copy(update={"max_steps": max_steps})
    return recipe.model_copy(update={"train": train})


@contextmanager
def _progress() -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import (
        Progress as Bar,
    )

    columns = (
        TextColumn("Training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps, loss {task.fields[loss]}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=None, loss="-")

        def report(progress: Progress) -> None:
            bar.update(
                task,
                total=progress.steps,
                completed=progress.step,
                loss=f"{progress.loss:.3f}",
            )
            # A log file gets lines, where a terminal gets a bar that moves.
            if not bar.console.is_terminal and progress.step % 5 == 0:
                bar.console.print(
                    f"step {progress.step} of {progress.steps}, loss {progress.loss:.3f}"
                )

        yield report
