"""`groundtune finetune`: a recipe becomes an adapter."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from assistant.adapter import AdapterStore
from assistant.config import Settings
from assistant.workspace import Workspace, open_workspace
from finetune.card import compared
from finetune.dataset import Dataset, open_dataset
from finetune.estimate import Estimate
from finetune.prepare import prepare
from finetune.processes import Processes
from finetune.recipe import Recipe, load_recipe
from finetune.run_folder import interrupted
from finetune.train import Progress, Watch
from finetune.tuning import Base, Plan, foresee, plan, tune, with_speed
from ingest.errors import UsageError

SHIPPED = Path(__file__).parent / "recipes"
MODELS = "models"
"""Folder of the workspace that holds what full tuning made."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("recipe", type=Path, nargs="?", metavar="CONFIG.toml", help="the recipe")
    parser.add_argument(
        "--list-recipes", action="store_true", help="say which recipes are shipped, to copy one"
    )
    parser.add_argument(
        "--max-steps", type=int, default=None, metavar="N", help="stop after N optimizer steps"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what the run will take, and train nothing"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with an interrupted run, if there is one"
    )
    parser.add_argument(
        "--restart", action="store_true", help="throw an interrupted run away and begin again"
    )
    parser.add_argument(
        "--ignore-memory",
        action="store_true",
        help="begin although the estimate is over what the machine has",
    )


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Build the data set, train, and return the adapter's manifest and folder.

    Raises:
        GroundtuneError: as the recipe, the data set and the training raise it.
    """
    if args.list_recipes:
        return {"recipes": shipped_recipes()}
    if args.recipe is None:
        raise UsageError("Which recipe? None was named.", hint="groundtune finetune --list-recipes")
    recipe = _with_max_steps(load_recipe(args.recipe), args.max_steps)
    if recipe.base:
        engine = settings.engine.model_copy(update={"model": recipe.base})
        settings = settings.model_copy(update={"engine": engine})
    processes = Processes()
    with open_workspace(settings) as workspace:
        store = _store(recipe, workspace)
        dataset = _dataset(recipe, workspace, store, processes, resume=args.resume)
        planned = plan(recipe, dataset, _base(workspace, recipe))
        if args.dry_run:
            return _dry_run(planned, store, processes)
        with _progress() as report, _stopping() as stop:
            adapter = tune(
                planned,
                store,
                processes,
                now=datetime.now(UTC),
                resume=args.resume,
                restart=args.restart,
                ignore_memory=args.ignore_memory,
                announce=_announce,
                watch=Watch(report=report, stop=stop),
            )
    return {} if adapter is None else {"folder": str(adapter.folder), **adapter.manifest}


def render(result: dict[str, Any]) -> str:
    """Return what a person reads of a run."""
    if not result:
        return ""  # one of several processes, and not the one that speaks
    if "recipes" in result:
        return "\n".join(f"{path}\n  {what}" for path, what in result["recipes"].items())
    if "counts" not in result:
        return "\n".join(_estimate_lines(result["estimate"]))
    counts, validation = result["counts"], result["losses"]["validation"]
    early = "" if counts["steps"] == counts["steps_planned"] else " (ended early)"
    lines = [
        f"Trained {result['name']}:{result['version']} on {counts['tokens_trained_on']} tokens in "
        f"{counts['steps']} steps{early}, {result['seconds']:g} s ({result['tokens_per_second']:g} "
        "tokens/s).",
    ]
    if len(validation) > 1:
        kept = dict(map(tuple, validation)).get(counts["step_kept"], validation[-1][1])
        lines.append(
            f"Validation loss {validation[0][1]:.3f} -> {kept:.3f} on documents that "
            f"training never saw; kept are the weights of step {counts['step_kept']}."
        )
    lines.append(f"  {'':<20}{'estimated':<14}measured")
    lines += [f"  {what:<20}{foreseen:<14}{found}" for what, foreseen, found in compared(result)]
    if result["kind"] == "model":
        lines.append(f'To serve it: engine.model = "file:{result["folder"]}/model.gguf"')
    else:
        lines.append(f"Adapter: {result['folder']}")
    return "\n".join(lines)


def shipped_recipes() -> dict[str, str]:
    """Return the recipes of this package: path -> what its first line says."""
    first = {
        path: path.read_text(encoding="utf-8").split("\n")[0] for path in SHIPPED.glob("*.toml")
    }
    return {str(path): line.removeprefix("# ") for path, line in sorted(first.items())}


def _dry_run(planned: Plan, store: AdapterStore, processes: Processes) -> dict[str, Any]:
    found = foresee(planned, store, processes, ignore_memory=True)
    fits = found.fits(planned.device)
    if fits and processes.alone and not found.tokens_per_second:
        found = with_speed(planned, found, planned.model())
    return {"estimate": {**found.body(), "fits": fits}}


def _announce(found: Estimate) -> None:
    sys.stderr.write("\n".join(_estimate_lines(found.body())) + "\n")
    sys.stderr.flush()


def _estimate_lines(body: dict[str, Any]) -> list[str]:
    memory = body["memory_mb"]
    parts = ", ".join(f"{name} {memory[name]:,}" for name in memory if name != "total")
    share = body["trained_parameters"] / body["parameters"]
    time = "unknown until it runs"
    if body["seconds"]:
        time = (
            f"{body['seconds']:,.0f} s for {body['steps']} steps and {body['tokens']:,} tokens, at "
            f"{body['tokens_per_second']:,.0f} tokens/s (from {body['speed_from']}); measuring and "
            "sampling come on top"
        )
    lines = [
        "This run will take about:",
        f"  memory     {memory['total']:,} MB ({parts})",
        f"  time       {time}",
        f"  result     {body['result_mb']:,} MB; {body['trained_parameters']:,} of "
        f"{body['parameters']:,} parameters are trained ({share:.2%})",
    ]
    if body.get("fits") is False:
        lines.append("It does not fit into this machine's memory.")
    return lines


def _store(recipe: Recipe, workspace: Workspace) -> AdapterStore:
    """Return where the result goes: models lie where nothing takes them for adapters."""
    if recipe.train.method == "full":
        return AdapterStore(workspace.home / MODELS)
    return workspace.adapters


def _dataset(
    recipe: Recipe, workspace: Workspace, store: AdapterStore, processes: Processes, *, resume: bool
) -> Dataset:
    """Return the data set of a run that is resumed, or build that of the recipe."""
    folder = workspace.home / "datasets"
    before = interrupted(store.folder / recipe.name) if resume else None
    if before is not None:
        return open_dataset(folder / before["dataset"]["name"])
    name = prepare(recipe, workspace).folder.name if processes.lead else ""
    return open_dataset(folder / processes.told(name))


def _base(workspace: Workspace, recipe: Recipe) -> Base:
    return Base(
        workspace.settings.engine.model,
        workspace.model_file,
        workspace.base_sha256,
        workspace.contract_of(recipe.name),
    )


def _with_max_steps(recipe: Recipe, max_steps: int | None) -> Recipe:
    if max_steps is None:
        return recipe
    train = recipe.train.model_copy(update={"max_steps": max_steps})
    return recipe.model_copy(update={"train": train})


@contextmanager
def _stopping() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C or SIGTERM end the run behind its current step; a second one ends it at once."""
    asked = False

    def ask(number: int, _: FrameType | None) -> None:
        nonlocal asked
        asked = True
        sys.stderr.write("\nStopping behind this step; once more stops at once.\n")
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
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
