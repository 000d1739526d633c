"""Where a training run stands: one safetensors file, replaced in one stroke."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ingest.errors import DiskFullError, MismatchError

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]
CHECKPOINT = "checkpoint.safetensors"
KEPT = "kept.safetensors"
"""The weights that become the adapter: the best that were measured, or the last."""


class Point(NamedTuple):
    """One place of a loss curve."""

    step: int
    """Optimizer steps done; 0 is before the first."""
    loss: float
    """Nats per answer token."""


@dataclass(slots=True)
class State:
    """What a run knows of itself after a step, besides its weights."""

    step: int = 0
    """Optimizer steps done."""
    train: list[Point] = field(default_factory=list)
    validation: list[Point] = field(default_factory=list)
    rows: int = 0
    """Counted once for each time they were trained on."""
    tokens: int = 0
    """Trained on, prompts included, padding not."""
    seconds: float = 0.0
    """Of the training steps alone, without the measurements of validation loss."""
    kept: int = 0
    """The step whose weights are kept; 0 while there are none."""
    stale: int = 0
    """Measurements since the validation loss was lowest."""

    def lowest(self) -> float:
        """Return the lowest validation loss of a trained step; infinity before the first."""
        return min((p.loss for p in self.validation if p.step), default=float("inf"))


def save_checkpoint(folder: Path, state: State, weights: Tensors, moments: Tensors) -> None:
    """Replace the checkpoint in `folder`.

    `weights` are what is trained, `moments` the optimizer's memory of them. Learning rate, order of
    the rows and dropout follow from the step and the seed, so nothing else is needed to go on.

    Raises:
        DiskFullError: it cannot be written; the one before is as it was.
    """
    tensors = {
        **{f"weights.{name}": tensor for name, tensor in weights.items()},
        **{f"moments.{name}": tensor for name, tensor in moments.items()},
    }
    write_tensors(folder / CHECKPOINT, tensors, {"state": json.dumps(asdict(state))})


def load_checkpoint(folder: Path) -> tuple[State, Tensors, Tensors] | None:
    """Return the state, weights and moments of the checkpoint in `folder`; None if there is none.

    Raises:
        MismatchError: the file is damaged.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            values: dict[str, Any] = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError, KeyError, ValueError) as error:
        raise MismatchError(
            f"The checkpoint {path} cannot be read: {error}.",
            hint="Start over: groundtune finetune CONFIG.toml --restart",
        ) from None
    for curve in ("train", "validation"):
        values[curve] = [Point(*point) for point in values[curve]]
    return State(**values), _under("weights.", tensors), _under("moments.", tensors)


def write_tensors(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> None:
    """Write `tensors` as a safetensors file; a reader sees the old file or the new one.

    Raises:
        DiskFullError: it cannot be written; the old file is as it was.
    """
    from safetensors.torch import save_file

    part = path.with_name(f".{path.name}.part")
    try:
        with room_for(path):
            save_file(dict(tensors), part, metadata)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Turn a failure to write `path` into an error that says how to go on.

    Raises:
        DiskFullError: it cannot be written.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise DiskFullError(
            f"{path} could not be written: {error}. What was written before is whole.",
            hint="Make room, then go on: groundtune finetune CONFIG.toml --resume",
        ) from error


def _under(prefix: str, tensors: Tensors) -> Tensors:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
