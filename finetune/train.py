"""The training loop: steps in, trained weights and their loss curve out."""

import ctypes
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.base_model import Device, quiet
from finetune.batch import Row, Step, micro_batches
from finetune.checkpoint import (
    KEPT,
    Point,
    State,
    load_checkpoint,
    save_checkpoint,
    write_tensors,
)
from finetune.gguf_lora import check_targets
from finetune.journal import Journal
from finetune.loop import Loop
from finetune.memory import explain_memory
from finetune.recipe import TrainRecipe
from ingest.errors import DivergedError, StoppedError
from ingest.extras import require


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
class Watch:
    """Who looks on while a run trains."""

    report: Callable[[Progress], None] = lambda _: None
    """Called after each step."""
    sample: Callable[[], Sequence[Mapping[str, str]]] = tuple
    """Called whenever the validation loss was measured; returns sample answers."""
    stop: Callable[[], bool] = lambda: False
    """Asked before each step; true ends the run behind a checkpoint."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run measured."""

    train: tuple[Point, ...]
    """One point a step."""
    validation: tuple[Point, ...]
    steps: int
    """Done; fewer than planned where the run ended early."""
    rows: int
    """Counted once for each time they were trained on."""
    tokens: int
    """Trained on, prompts included, padding not."""
    seconds: float
    """Of the training steps alone, without the measurements of validation loss."""
    kept: int
    """The step whose weights are in `kept.safetensors`."""


def add_adapter(model: Any, recipe: TrainRecipe, *, meta: bool = False) -> Any:
    """Return `model` as a PEFT model with a fresh adapter, which changes nothing yet.

    The same seed gives the same first weights. `meta` leaves the adapter without any, as those of
    a model on the meta device are.

    Raises:
        UsageError: a target that the model does not have, or that cannot be exported.
    """
    import torch

    peft = require("peft", extra="finetune")
    targets = recipe.targets if isinstance(recipe.targets, str) else list(recipe.targets)
    if isinstance(targets, list):
        linear = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)]
        check_targets(targets, linear)
    config = peft.LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
        use_rslora=recipe.method == "rslora",
    )
    if not getattr(model, "is_quantized", False):  # packed 4-bit weights have a layer of their own
        from finetune.lora_product import LoraLinear

        config._register_custom_module({torch.nn.Linear: LoraLinear})
    torch.manual_seed(recipe.seed)
    with quiet():
        return peft.get_peft_model(model, config, low_cpu_mem_usage=meta)


def train(
    model: Any,
    steps: Sequence[Step],
    validation: Sequence[Row],
    recipe: TrainRecipe,
    *,
    device: Device,
    folder: Path,
    name: str = "run",
    watch: Watch | None = None,
) -> Outcome:
    """Train `model` in place: the adapter of a PEFT model, or all of another.

    `folder` holds the checkpoint that the run goes on from, if there is one, and gets those that it
    writes, its journal, and at the end the weights to keep.

    Raises:
        DivergedError: a loss was not finite.
        StoppedError: `watch` wanted so.
        OutOfMemoryError: the memory did not suffice.
        DiskFullError: a checkpoint could not be written.
    """
    keep_freed_memory()
    loop = Loop(model, recipe, steps=len(steps), device=device)
    found = load_checkpoint(folder)
    state = State()
    if found is not None:
        state, weights, moments = found
        loop.restore(weights, moments)
    journal = None
    if loop.writes:
        journal = Journal(folder, recipe, name=name, step=state.step if found else -1)
    run = _Run(loop, state, folder, journal, watch or Watch(), len(steps))
    held = micro_batches(validation, tokens=recipe.micro_batch_tokens)
    with explain_memory(recipe), quiet():
        run.go(steps, held)
    if journal is not None:
        journal.close()
    return Outcome(
        tuple(state.train),
        tuple(state.validation),
        state.step,
        state.rows,
        state.tokens,
        state.seconds,
        state.kept,
    )


def measure_speed(
    model: Any, steps: Sequence[Step], recipe: TrainRecipe, *, device: Device
) -> float:
    """Return how many tokens a second one micro-batch trains at; nothing is learnt from it."""
    keep_freed_memory()
    loop = Loop(model, recipe, steps=len(steps), device=device)
    with explain_memory(recipe), quiet():
        return loop.speed(steps[0][0])


class _Run:
    """A run from its state to its end."""

    def __init__(
        self,
        loop: Loop,
        state: State,
        folder: Path,
        journal: Journal | None,
        watch: Watch,
        steps: int,
    ) -> None:
        self.loop = loop
        self.state = state
        self.folder = folder
        self.journal = journal
        self.watch = watch
        self.steps = steps
        self.moments = validation_moments(steps, loop.recipe.validations)

    def go(self, steps: Sequence[Step], held: Sequence[Sequence[Row]]) -> None:
        state, recipe = self.state, self.loop.recipe
        if not state.validation:
            self._measure(held)
        while state.step < len(steps) and not self._stale():
            if self.loop.stop(self.watch.stop()):
                self._save()
                raise StoppedError(
                    f"Stopped after step {state.step} of {len(steps)}; nothing is lost.",
                    hint="Go on with: groundtune finetune CONFIG.toml --resume",
                )
            self._step(steps[state.step])
            self._measure(held)
            if state.step % recipe.checkpoint_steps == 0:
                self._save()
        if not state.kept or not recipe.keep_best:
            self._keep()
        self._save()

    def _step(self, groups: Step) -> None:
        state, number = self.state, self.state.step
        began = time.perf_counter()
        loss, norm = self.loop.step(number, groups)
        seconds = time.perf_counter() - began
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergedError(
                f"The loss became {loss} in step {number + 1}, its gradient {norm}. The last "
                f"checkpoint in {self.folder} is whole.",
                hint="Lower train.learning_rate or raise train.batch_tokens, and begin again with "
                "--restart.",
            )
        tokens = sum(len(row) for rows in groups for row in rows)
        state.step += 1
        state.train.append(Point(state.step, loss))
        state.rows += sum(len(rows) for rows in groups)
        state.tokens += tokens
        state.seconds += seconds
        if self.journal is not None:
            rate = self.loop.learning_rate(number)
            values = {"loss": loss, "gradient_norm": norm, "learning_rate": rate}
            speed = {"tokens": tokens, "seconds": round(seconds, 3)}
            self.journal.step(state.step, {**values, **speed})
        self.watch.report(Progress(state.step, self.steps, loss, tokens))

    def _measure(self, held: Sequence[Sequence[Row]]) -> None:
        state = self.state
        if state.step not in self.moments or not held:
            return
        loss = self.loop.mean_loss(held)
        better = loss < state.lowest()
        state.validation.append(Point(state.step, loss))
        samples = () if self.loop.sharded else self.watch.sample()
        if self.journal is not None:
            self.journal.measured(state.step, loss, samples)
        if state.step and better:
            state.stale = 0
            self._keep()
        elif state.step:
            state.stale += 1

    def _stale(self) -> bool:
        patience = self.loop.recipe.patience
        return 0 < patience <= self.state.stale

    def _keep(self) -> None:
        self.state.kept = self.state.step
        weights = self.loop.weights()
        if self.loop.writes:
            write_tensors(self.folder / KEPT, weights)

    def _save(self) -> None:
        weights, moments = self.loop.weights(), self.loop.moments()
        if self.loop.writes:
            save_checkpoint(self.folder, self.state, weights, moments)


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
