"""What a run will take, before it starts: memory, time and the size of what it makes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetune.base_model import Compute, Device, quiet, torch_type
from finetune.batch import Row, Step, join
from finetune.loop import model_of
from finetune.loss import hidden_states
from finetune.memory import free_memory, used_memory, what_to_lower
from finetune.recipe import TrainRecipe
from finetune.train import add_adapter
from ingest.errors import OutOfMemoryError

FLOAT = 4
"""Bytes of a float32: gradients, moments and the adapter are kept in it."""
BLOCK, BLOCKS = 64, 256
"""NF4: weights that share a scale, and scales that share a scale when they are rounded as well."""
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will take; memory in bytes."""

    parameters: int
    """Of the base model."""
    trained: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    """Of the largest micro-batch: all that the backward pass needs, and the logits."""
    process: int
    """What the process holds already."""
    result: int
    """Bytes of the adapter's file, or of the model's."""
    steps: int
    tokens: int
    tokens_per_second: float = 0.0
    """0 while it is unknown."""
    speed_from: str = ""

    @property
    def memory(self) -> int:
        """The most that the process will hold."""
        parts = self.weights, self.gradients, self.optimizer, self.activations, self.process
        return sum(parts)

    @property
    def seconds(self) -> float:
        """Of the training steps alone; 0 while the speed is unknown."""
        return self.tokens / self.tokens_per_second if self.tokens_per_second else 0.0

    def divided(self, processes: int) -> "Estimate":
        """Return what each of several processes takes that share the weights."""
        return replace(
            self,
            weights=self.weights // processes,
            gradients=self.gradients // processes,
            optimizer=self.optimizer // processes,
        )

    def fits(self, device: Device) -> bool:
        """Whether the memory that is free now suffices."""
        return self.memory - self.process <= free_memory(device)

    def body(self) -> dict[str, Any]:
        """Return what a manifest keeps and `--json` prints."""
        names = ("weights", "gradients", "optimizer", "activations", "process")
        parts = {name: round(getattr(self, name) / MB) for name in names}
        return {
            "parameters": self.parameters,
            "trained_parameters": self.trained,
            "memory_mb": {**parts, "total": round(self.memory / MB)},
            "result_mb": round(self.result / MB, 1),
            "steps": self.steps,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 1),
            "tokens_per_second": round(self.tokens_per_second, 1),
            "speed_from": self.speed_from,
        }


def estimate(
    source: Path,
    recipe: TrainRecipe,
    steps: Sequence[Step],
    *,
    device: Device,
    compute: Compute,
) -> Estimate:
    """Return what training the model in folder `source` will take; its speed is left open.

    The model is built without weights, so one of any size is counted in a second or two.

    Raises:
        UsageError: a target that the model does not have.
    """
    full = recipe.method == "full"
    if full:
        compute = "float32"
    model = shape_model(source, recipe, compute=compute)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    whole = sum(p.numel() for p in model.parameters())
    width = torch_type(compute).itemsize
    groups = (group for step in steps for group in step)
    rows = max(groups, key=lambda group: sum(map(len, group)))
    return Estimate(
        parameters=whole if full else whole - trained,
        trained=trained,
        weights=_weight_bytes(model, recipe, device),
        gradients=trained * FLOAT,
        optimizer=2 * trained * FLOAT,
        activations=_activation_bytes(model, rows, recipe, width),
        process=used_memory(device),
        result=trained * 34 // 32 if full else trained * FLOAT,  # q8_0: a scale for 32 bytes
        steps=len(steps),
        tokens=sum(len(row) for step in steps for group in step for row in group),
    )


def check_memory(found: Estimate, recipe: TrainRecipe, device: Device) -> None:
    """Refuse a run that the machine has not the memory for.

    Raises:
        OutOfMemoryError: names both figures, and what to lower.
    """
    if not found.fits(device):
        raise OutOfMemoryError(
            f"The training needs about {(found.memory - found.process) / MB:,.0f} MB more than "
            f"this process holds, and {free_memory(device) / MB:,.0f} MB are free.",
            hint=f"{what_to_lower(recipe)} To try all the same: --ignore-memory",
        )


def remembered_speed(
    manifests: Sequence[Mapping[str, Any]],
    base_sha256: str,
    recipe: TrainRecipe,
    *,
    device: Device,
    compute: Compute,
) -> tuple[float, str]:
    """Return the tokens a second of the newest run like this one, and which that was; (0, "")."""
    keys = ("method", "quantisation", "gradient_checkpointing")
    wanted = {key: getattr(recipe, key) for key in keys}
    alike = [
        m
        for m in manifests
        if m.get("base_sha256") == base_sha256
        and (m.get("device"), m.get("compute")) == (device, compute)
        and m.get("tokens_per_second")
        and {key: m["recipe"]["train"].get(key) for key in keys} == wanted
    ]
    if not alike:
        return 0.0, ""
    newest = max(alike, key=lambda m: str(m["created"]))
    return float(newest["tokens_per_second"]), f"the run of {newest['name']}:{newest['version']}"


def shape_model(source: Path, recipe: TrainRecipe, *, compute: Compute) -> Any:
    """Return the model that is to be trained, on the meta device: shapes without weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(source, local_files_only=True)
    from_config: Any = AutoModelForCausalLM.from_config
    with quiet(), torch.device("meta"):
        model = from_config(config, dtype=torch_type(compute))
    if recipe.method != "full":
        model = add_adapter(model, recipe, meta=True)
    if recipe.gradient_checkpointing:
        model_of(model).activation_checkpointing_enable({"use_reentrant": False})
    return model.train()


def _weight_bytes(model: Any, recipe: TrainRecipe, device: Device) -> int:
    """Return what the weights take; a CPU holds those of 4 bits as what they stand for."""
    import torch

    if recipe.quantisation == "none" or device == "cpu":
        return int(sum(p.numel() * p.itemsize for p in model.parameters()))
    scales = 1 / BLOCK + FLOAT / (BLOCK * BLOCKS) if recipe.double_quantisation else FLOAT / BLOCK
    head = model_of(model).get_output_embeddings()
    rounded = {
        id(m.weight)
        for m in model.modules()
        if isinstance(m, torch.nn.Linear) and m is not head and not m.weight.requires_grad
    }
    held: float = sum(
        p.numel() * (0.5 + scales if id(p) in rounded else p.itemsize) for p in model.parameters()
    )
    return round(held)


def _activation_bytes(model: Any, rows: Sequence[Row], recipe: TrainRecipe, width: int) -> int:
    """Return what the backward pass of `rows` needs besides the weights."""
    import torch

    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, Any] = {}  # held, so that no storage's place is given to another

    def note(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    base = model_of(model)
    with quiet(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        hidden_states(base, join(rows).to("meta"))
    answers = sum(len(row.target) for row in rows)
    # Logits in the model's type and in float32, their softmax, and its gradient.
    logits = answers * base.config.vocab_size * (width + 3 * FLOAT)
    return int(sum(storage.nbytes() for storage in kept.values()) + logits)
