"""One optimizer step after the other, on one device or on several through accelerate."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from finetune.base_model import Device, quiet
from finetune.batch import Batch, Row, Step, join
from finetune.checkpoint import Tensors
from finetune.loss import answer_loss, answer_tokens
from finetune.recipe import TrainRecipe

if TYPE_CHECKING:
    import torch

SEEDS = 1_000_003
"""A prime: the dropout of one seed's steps is not that of another's."""


class Loop:
    """The model, its optimizer, and where they run.

    A step is a function of the weights, the optimizer's moments and the step's number: learning
    rate and dropout follow from the number and the recipe's seed. So what `weights` and `moments`
    return is all that a later run needs to go on as if it had never stopped.
    """

    def __init__(self, model: Any, recipe: TrainRecipe, *, steps: int, device: Device) -> None:
        """Take the model whose trainable parameters are to be trained in `steps` steps."""
        import torch
        from accelerate import Accelerator

        self.recipe = recipe
        if recipe.gradient_checkpointing:
            model_of(model).activation_checkpointing_enable({"use_reentrant": False})
        model.train()
        self.accelerator: Any = Accelerator(cpu=device == "cpu")
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self._factor = _schedule(recipe, optimizer, steps)
        self.module, self.optimizer = self.accelerator.prepare(loss_module(model), optimizer)

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files."""
        return bool(self.accelerator.is_main_process)

    @property
    def sharded(self) -> bool:
        """Whether each process holds only a part of every weight."""
        return "FSDP" in str(self.accelerator.distributed_type)

    def learning_rate(self, number: int) -> float:
        """Return the learning rate of a step; the first is 0."""
        return self.recipe.learning_rate * self._factor(number)

    def step(self, number: int, groups: Step) -> tuple[float, float]:
        """Do step `number` and return its mean loss and the norm of its gradient.

        Groups differ in size, so each one's loss is weighted by its answer tokens: the gradient is
        that of the step's mean, however it was cut and on however many devices. Where one of the
        two is not finite, the weights stay as they were.
        """
        import torch

        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        torch.manual_seed((self.recipe.seed * SEEDS + number) * world + rank)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(number)
        tokens = sum(len(row.target) for rows in groups for row in rows)
        total = torch.zeros((), device=self.accelerator.device)
        for rows, weight in share(groups, rank=rank, world=world):
            loss = self.module(join(rows)) * (weight / tokens)
            # Several devices take the mean of their gradients, and the step's is their sum.
            self.accelerator.backward(loss * world)
            total += loss.detach()
        norm = self.accelerator.clip_grad_norm_(list(self._trained().values()), 1.0)
        found = self.accelerator.reduce(total).item(), float(whole(norm))
        if all(torch.isfinite(torch.tensor(found))):
            self.optimizer.step()
        self.optimizer.zero_grad()
        return found

    def speed(self, rows: Sequence[Row]) -> float:
        """Return the tokens a second of one micro-batch's way there and back."""
        for _ in range(2):  # the first one pays for what later ones find ready
            began = time.perf_counter()
            self.accelerator.backward(self.module(join(rows)))
            self.optimizer.zero_grad()
        return sum(len(row) for row in rows) / (time.perf_counter() - began)

    def mean_loss(self, batches: Sequence[Sequence[Row]]) -> float:
        """Return the mean loss of `batches`, without training on them."""
        return mean_loss(self.module, batches)

    def stop(self, asked: bool) -> bool:
        """Return whether any process was asked to stop."""
        if self.accelerator.num_processes == 1:
            return asked
        import torch

        flag = torch.tensor(float(asked), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag).item())

    def weights(self) -> Tensors:
        """Return what is trained, whole and on the CPU, by its name in the model."""
        return {n: whole(p.detach()).cpu() for n, p in self._trained().items()}

    def moments(self) -> Tensors:
        """Return what the optimizer remembers, whole and on the CPU."""
        return {
            f"{name}/{key}": whole(value).cpu()
            for name, p in self._trained().items()
            for key, value in self.optimizer.state[p].items()
        }

    def restore(self, weights: Tensors, moments: Tensors) -> None:
        """Go on from what `weights` and `moments` returned."""
        import torch

        trained = self._trained()
        with torch.no_grad():
            for name, p in trained.items():
                p.copy_(_placed(weights[name], p))
        for name, value in moments.items():
            name, _, key = name.rpartition("/")
            p = trained[name]
            placed = value if value.dim() == 0 else _placed(value, p)
            self.optimizer.state[p][key] = placed

    def _trained(self) -> dict[str, Any]:
        inner = self.accelerator.unwrap_model(self.module).model
        return {n: p for n, p in inner.named_parameters() if p.requires_grad}


def mean_loss(module: Any, batches: Sequence[Sequence[Row]]) -> float:
    """Return the mean loss of `batches` in nats per answer token, without training on them.

    `module` is what `loss_module` made.
    """
    import torch

    total, tokens = 0.0, 0
    with torch.no_grad(), as_it_answers(module):
        for rows in batches:
            batch = join(rows)
            total += module(batch).item()
            tokens += answer_tokens(batch)
    return total / tokens


def loss_module(model: Any) -> Any:
    """Return a module from a batch to its summed loss.

    Libraries that spread a model over devices act when a module is called, so the whole way to the
    loss is one call.
    """
    import torch

    class AnswerLoss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, batch: Batch) -> "torch.Tensor":
            base = model_of(self.model)
            return answer_loss(base, batch.to(base.device))

    return AnswerLoss()


def model_of(model: Any) -> Any:
    """Return the transformers model inside a PEFT model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@contextmanager
def as_it_answers(module: Any) -> Iterator[None]:
    """Switch dropout and the recomputing of activations off, and only that.

    `module.eval()` would do more: bitsandbytes then repacks its 4-bit weights on a CPU for a kernel
    without a gradient, keeps them so, and all later training steps learn from wrong gradients.
    """
    from torch.nn import Dropout

    dropouts = [m for m in module.modules() if isinstance(m, Dropout) and m.training]
    recomputed = [m for m in module.modules() if getattr(m, "gradient_checkpointing", False)]
    for part in dropouts:
        part.eval()
    for part in recomputed:
        part.gradient_checkpointing = False
    try:
        yield
    finally:
        for part in dropouts:
            part.train()
        for part in recomputed:
            part.gradient_checkpointing = True


def share(groups: Step, *, rank: int, world: int) -> list[tuple[list[Row], float]]:
    """Return the groups that process `rank` of `world` works on, each with its weight.

    All processes get as many, because they exchange gradients after each; a weight of 0 marks a
    group that another one counts.
    """
    rounds = -(-len(groups) // world)
    places = [rank + world * n for n in range(rounds)]
    return [(groups[i], 1.0) if i < len(groups) else (groups[0], 0.0) for i in places]


def whole(tensor: Any) -> Any:
    """Return all of a tensor of which each process may hold a part."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _placed(tensor: Any, like: Any) -> Any:
    if not hasattr(like, "full_tensor"):
        return tensor.to(like.device)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def _schedule(recipe: TrainRecipe, optimizer: Any, steps: int) -> Callable[[int], float]:
    """Return the share of the learning rate that a step has, by its number."""
    from transformers import get_scheduler

    with quiet():
        made = get_scheduler(
            recipe.schedule,
            optimizer,
            num_warmup_steps=round(recipe.warmup * steps),
            num_training_steps=steps,
        )
    factor: Callable[[int], float] = made.lr_lambdas[0]
    return factor
