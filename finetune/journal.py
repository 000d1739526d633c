"""What a run writes down while it trains: metrics and sample answers, as JSONL and to trackers."""

import json
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from finetune.checkpoint import room_for
from finetune.recipe import TrainRecipe
from ingest.errors import MissingExtraError

METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"


class Journal:
    """The written record of one run, in its folder."""

    def __init__(self, folder: Path, recipe: TrainRecipe, *, name: str, step: int) -> None:
        """Go on behind `step`: what a run that was cut off wrote after it will be written again.

        Raises:
            MissingExtraError: the recipe asks for a tracker that is not installed.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for file in (METRICS, SAMPLES):
            _cut(folder / file, step)
        self._trackers = [_tracker(kind, folder, name, step) for kind in trackers(recipe)]
        for tracker in self._trackers:
            tracker.start()

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Write down what an optimizer step measured."""
        self._append(METRICS, {"step": step, **values})
        self._track(step, {f"train/{key}": value for key, value in values.items()})

    def measured(self, step: int, loss: float, samples: Sequence[Mapping[str, str]]) -> None:
        """Write down a validation loss and what the model answered at that moment."""
        self._append(METRICS, {"step": step, "validation_loss": loss})
        self._track(step, {"validation/loss": loss})
        for sample in samples:
            self._append(SAMPLES, {"step": step, **sample})

    def close(self) -> None:
        """End the trackers' runs."""
        for tracker in self._trackers:
            tracker.finish()

    def _append(self, file: str, line: Mapping[str, Any]) -> None:
        path = self.folder / file
        with room_for(path), path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _track(self, step: int, values: Mapping[str, float]) -> None:
        for tracker in self._trackers:
            tracker.log(dict(values), step=step)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a journal's file; none if there is no such file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def trackers(recipe: TrainRecipe) -> list[str]:
    """Return the trackers that get the losses.

    `installed` is TensorBoard where its writer is installed, and MLflow where it is and
    `MLFLOW_TRACKING_URI` says where to.

    Raises:
        MissingExtraError: one that the recipe names is not installed.
    """
    there = {
        "tensorboard": any(find_spec(name) for name in ("tensorboard", "tensorboardX")),
        "mlflow": find_spec("mlflow") is not None,
    }
    if recipe.tracking == "installed":
        there["mlflow"] &= "MLFLOW_TRACKING_URI" in os.environ
        return [kind for kind, found in there.items() if found]
    for kind in recipe.tracking:
        if not there[kind]:
            raise MissingExtraError(
                f"train.tracking names {kind}, which is not installed.",
                hint=f"Install it with: pip install {kind}",
            )
    return list(recipe.tracking)


def _tracker(kind: str, folder: Path, name: str, step: int) -> Any:
    from accelerate import PartialState
    from accelerate.tracking import MLflowTracker, TensorBoardTracker

    PartialState()  # the trackers ask it which process writes
    if kind == "mlflow":
        return MLflowTracker(experiment_name="groundtune", run_name=name)
    return TensorBoardTracker("tensorboard", folder, purge_step=step + 1)


def _cut(path: Path, step: int) -> None:
    """Drop what stands behind `step`, and a last line that was not finished."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n") and json.loads(line)["step"] <= step:
            kept.append(line)
    part = path.with_name(f".{path.name}.part")
    part.write_text("".join(kept), encoding="utf-8")
    part.replace(path)
