"""QLoRA training: batches in, a PEFT adapter and its loss curve out."""

import ctypes
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from finetune.base_model import Device, quiet
from finetune.batch import Row, Step, micro_batches, pad
from finetune.loss import answer_loss, answer_tokens
from finetune.recipe import TrainRecipe
from ingest.errors import GroundtuneError
from ingest.extras import require


class Point(NamedTuple):
    """One place of a loss curve."""

    step: int
    """Optimizer steps done; 0 is before the first."""
    loss: float
    """Nats per answer token."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands after a step."""

    step: int
    steps: int
    loss: float
    """Of this step, in nats per answer token."""
    tokens: int
    """Trained on in this step."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run measured."""

    train: tuple[Point, ...]
    """One point a step."""
    validation: tuple[Point, ...]
    steps: int
    rows: int
    """Counted once for each time they were trained on."""
    tokens: int
    """Trained on, prompts included, padding not."""
    seconds: float
    """Of the training steps alone, without the measurements of validation loss."""


class DivergedError(GroundtuneError):
    """The loss is no number any more."""

    code = "diverged"


def add_adapter(model: Any, recipe: TrainRecipe) -> Any:
    """Return `model` as a PEFT model with a fresh adapter, which changes nothing yet.

    The same seed gives the same first weights.
    """
    import torch

    peft = require("peft", extra="finetune")
    targets = recipe.targets if isinstance(recipe.targets, str) else list(recipe.targets)
    config = peft.LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    if not getattr(model, "is_quantized", False):  # packed 4-bit weights have a layer of their own
        from finetune.lora_product import LoraLinear

        config._register_custom_module({torch.nn.Linear: LoraLinear})
    torch.manual_seed(recipe.seed)
    with quiet():
        return peft.get_peft_model(model, config)


def train(
    model: Any,
    steps: Sequence[Step],
    validation: Sequence[Row],
    recipe: TrainRecipe,
    *,
    padding_id: int,
    device: Device,
    scratch: Path,
    report: Callable[[Progress], None] = lambda _: None,
) -> Outcome:
    """Train the adapter of the PEFT `model` in place.

    `scratch` is a folder that the trainer may write to. `report` is called after each step.

    Raises:
        DivergedError: a loss was not finite.
    """
    keep_freed_memory()
    from transformers.trainer_callback import PrinterCallback

    with quiet():
        trainer = _trainer_class()(
            model=model,
            args=_arguments(recipe, len(steps), device=device, scratch=scratch),
            train_dataset=list(steps),
            data_collator=_only_one,
        )
    trainer.remove_callback(PrinterCallback)  # progress goes through `report`
    trainer.recorder = _Recorder(len(steps), padding_id, report)
    held = micro_batches(validation, tokens=recipe.micro_batch_tokens)
    moments = validation_moments(len(steps), recipe.validations)
    curve: list[Point] = []

    def measure(step: int) -> None:
        if step in moments and held:
            curve.append(Point(step, mean_loss(model, held, padding_id=padding_id)))

    trainer.add_callback(_callback(measure))
    model.train()
    with quiet():
        trainer.train()
    seen: _Recorder = trainer.recorder
    return Outcome(
        tuple(seen.points), tuple(curve), len(steps), seen.rows, seen.tokens, seen.seconds
    )


def mean_loss(model: Any, batches: Sequence[Sequence[Row]], *, padding_id: int) -> float:
    """Return the mean loss of `batches` in nats per answer token, without training on them."""
    import torch

    total, tokens = 0.0, 0
    base = model.get_base_model()
    with torch.no_grad(), _without_dropout(model):
        for rows in batches:
            batch = pad(rows, padding_id=padding_id)
            batch = type(batch)(*(part.to(base.device) for part in batch))
            total += answer_loss(base, batch).item()
            tokens += answer_tokens(batch)
    return total / tokens


@contextmanager
def _without_dropout(model: Any) -> Iterator[None]:
    """Switch dropout off, and only that.

    `model.eval()` would do more: bitsandbytes then repacks its 4-bit weights on a CPU for a kernel
    without a gradient, keeps them so, and all later training steps learn from wrong gradients.
    """
    from torch.nn import Dropout

    dropouts = [m for m in model.modules() if isinstance(m, Dropout) and m.training]
    for module in dropouts:
        module.eval()
    try:
        yield
    finally:
        for module in dropouts:
            module.train()


def validation_moments(steps: int, times: int) -> set[int]:
    """Return after which steps to measure: `times` of them, evenly spread, the last included."""
    if times == 1:
        return {steps}
    return {round(i * steps / (times - 1)) for i in range(times)}


def keep_freed_memory() -> None:
    """Tell glibc to keep big buffers instead of giving them back to the kernel.

    Each step frees and asks again for the same few hundred megabytes. By default glibc maps each
    of them anew, and the page faults cost a third of the throughput on a virtual machine (166
    instead of 240 tokens a second). Other C libraries are left alone.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    libc = ctypes.CDLL("libc.so.6")
    libc.mallopt(mmap_threshold, 1 << 30)
    libc.mallopt(trim_threshold, (1 << 31) - 1)


class _Recorder:
    """Counts what passes through the trainer."""

    def __init__(self, steps: int, padding_id: int, report: Callable[[Progress], None]) -> None:
        self.steps = steps
        self.padding_id = padding_id
        self.report = report
        self.points: list[Point] = []
        self.rows = 0
        self.tokens = 0
        self.seconds = 0.0

    def step_done(self, step: Step, loss: float, seconds: float) -> None:
        tokens = sum(len(row) for rows in step for row in rows)
        self.points.append(Point(len(self.points) + 1, loss))
        self.rows += sum(len(rows) for rows in step)
        self.tokens += tokens
        self.seconds += seconds
        self.report(Progress(len(self.points), self.steps, loss, tokens))


def _trainer_class() -> type[Any]:
    import torch
    from torch.utils.data import SequentialSampler
    from transformers import Trainer

    class StepTrainer(Trainer):
        """A Trainer whose batch is a whole optimizer step: a list of micro-batches.

        The micro-batches differ in size, so each one's loss is weighted by its answer tokens: the
        gradient is that of the step's mean, however it was cut.
        """

        recorder: _Recorder

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            ordered: Any = self.train_dataset if train_dataset is None else train_dataset
            return SequentialSampler(ordered)  # shuffled when the steps were planned

        def training_step(
            self, model: Any, inputs: Any, num_items_in_batch: Any = None
        ) -> torch.Tensor:
            began = time.perf_counter()
            model.train()
            batches = [pad(rows, padding_id=self.recorder.padding_id) for rows in inputs]
            tokens = sum(answer_tokens(batch) for batch in batches)
            mean = torch.zeros((), device=self.args.device)
            base = self.accelerator.unwrap_model(model).get_base_model()
            for batch in batches:
                on_device = type(batch)(*(part.to(self.args.device) for part in batch))
                loss = answer_loss(base, on_device) / tokens
                if not torch.isfinite(loss):
                    raise DivergedError(
                        f"The loss became {loss.item()} in step {len(self.recorder.points) + 1}.",
                        hint="Lower train.learning_rate or raise train.batch_tokens.",
                    )
                self.accelerator.backward(loss)
                mean += loss.detach()
            self.recorder.step_done(inputs, mean.item(), time.perf_counter() - began)
            return mean

    return StepTrainer


def _arguments(recipe: TrainRecipe, steps: int, *, device: Device, scratch: Path) -> Any:
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(scratch),
        max_steps=steps,
        per_device_train_batch_size=1,  # one item is one step
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=round(recipe.warmup * steps),
        weight_decay=recipe.weight_decay,
        max_grad_norm=1.0,
        optim="adamw_torch",
        seed=recipe.seed,
        use_cpu=device == "cpu",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        report_to=[],
    )


def _callback(measure: Callable[[int], None]) -> Any:
    from transformers import TrainerCallback

    class Measure(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            measure(0)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            measure(state.global_step)

    return Measure()


def _only_one(items: list[Step]) -> Step:
    return items[0]
