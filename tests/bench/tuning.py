"""Training against a stock `trl` SFTTrainer QLoRA run: speed, memory and what was learnt.

Both train the same rows of the sample company, eight a step, on the same base in NF4 with the same
rank, targets and learning rates. All else of `trl` is as it comes: gradient checkpointing, mixed
precision, padding, the loss of answers alone. Each run has a process of its own, so that peaks of
memory do not add up, and they take turns.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from assistant.config import Settings
from assistant.workspace import Workspace
from finetune.base_model import best_compute, load_model, load_tokenizer, quiet, training_folder
from finetune.batch import Row, encode
from finetune.loop import loss_module, mean_loss
from finetune.memory import peak_memory
from finetune.prepare import build
from finetune.recipe import TrainRecipe, load_recipe
from finetune.train import add_adapter, train
from ingest.files import find_files
from tests.bench.index import EXAMPLES

BATCH = 8
"""Rows of a step: the default of `trl`."""
STEPS = 6
HELD = 12
ROUNDS = 3
MB = 1_000_000


class Run(NamedTuple):
    """What one run came to."""

    tokens_per_second: float
    """Of prompts and answers, by the clock; padding counts nothing."""
    tokens_per_cpu_second: float
    """The same by processor seconds: what other work on the machine changes least."""
    loss: float
    """On validation rows, in nats per answer token, by the same function for both."""
    peak_mb: float


class Rows(NamedTuple):
    """What both sides are given."""

    base: Path
    train: list[Row]
    held: list[Row]


def measure(settings: Settings) -> Iterator[str]:
    """Yield the lines of both sides."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(settings, folder, train=BATCH * STEPS, held=HELD)
        found: dict[str, list[Run]] = {side: [] for side in SIDES}
        for number in range(ROUNDS):
            for side in sorted(SIDES, reverse=bool(number % 2)):
                found[side].append(in_process(side, folder))
    yield from lines(found["ours"], found["trl"])


def lines(ours: Sequence[Run], trl: Sequence[Run]) -> Iterator[str]:
    """Yield speed, memory and loss, with every run's figures and the ratios of the pairs."""
    units = {
        "tokens_per_second": "tok/s",
        "tokens_per_cpu_second": "tok/cpu s",
        "peak_mb": "MB",
        "loss": "nats a token",
    }
    for field, unit in units.items():
        left, right = ([getattr(run, field) for run in side] for side in (ours, trl))
        ratios = [a / b for a, b in zip(left, right, strict=True)]
        yield (
            f"training, {unit:<14} ours {_list(left)}   trl {_list(right)}   ratio "
            f"{min(ratios):.3f} to {max(ratios):.3f}, n={len(ratios)}"
        )


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def write_rows(settings: Settings, folder: Path, *, train: int, held: int) -> None:
    """Write the rows that every run trains, and the base that it trains on, into `folder`."""
    recipe = load_recipe(EXAMPLES / "finetune.toml")
    home = settings.model_copy(update={"home": folder / "home"})
    with Workspace(home) as workspace:
        workspace.pipeline.run(find_files([str(EXAMPLES / "documents")]), collection="default")
        dataset = build(recipe, workspace)
        base = training_folder(workspace.model_file, workspace.base_sha256)
    tokenizer = load_tokenizer(base)
    sides = {"train": dataset.train[:train], "held": dataset.validation[:held]}
    rows = {side: [encode(tokenizer, e) for e in examples] for side, examples in sides.items()}
    (folder / "rows.json").write_text(
        json.dumps({"base": str(base)} | {s: [[r.prompt, r.target] for r in rows[s]] for s in rows})
    )


def read_rows(folder: Path) -> Rows:
    """Return what `write_rows` wrote."""
    found = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    train, held = (
        [Row(tuple(prompt), tuple(target)) for prompt, target in found[side]]
        for side in ("train", "held")
    )
    return Rows(Path(found["base"]), train, held)


def in_process(side: str, folder: Path) -> Run:
    """Return what `side` comes to in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.tuning", side, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Run(*json.loads(done.stdout.splitlines()[-1]))


def recipe_of(rows: Rows) -> TrainRecipe:
    """Return the recipe of both sides; a step holds eight rows."""
    steps = [rows.train[i : i + BATCH] for i in range(0, len(rows.train), BATCH)]
    most = max(sum(map(len, step)) for step in steps)
    return TrainRecipe(
        learning_rate=1e-3,
        schedule="cosine",
        warmup=0,
        batch_tokens=most,
        micro_batch_tokens=1300,
        validations=1,
        samples=0,
    )


class Spent(NamedTuple):
    """Seconds of a training."""

    clock: float
    processor: float


class Watch:
    """Runs from its making."""

    def __init__(self) -> None:
        self.clock, self.processor = time.perf_counter(), time.process_time()

    def spent(self) -> Spent:
        """Return the seconds since then."""
        return Spent(time.perf_counter() - self.clock, time.process_time() - self.processor)


def ours(rows: Rows, folder: Path) -> tuple[Spent, Any]:
    """Train as `groundtune finetune` does; return the seconds and the model."""
    recipe = recipe_of(rows)
    groups = [rows.train[i : i + BATCH] for i in range(0, len(rows.train), BATCH)]
    steps = [[group[: BATCH // 2], group[BATCH // 2 :]] for group in groups]
    model = load_model(rows.base, quantisation="nf4", device="cpu", compute=best_compute("cpu"))
    model = add_adapter(model, recipe)
    # A folder of its own: in one where a run has ended there is nothing left to train.
    with tempfile.TemporaryDirectory(dir=folder) as place:
        watch = Watch()
        train(model, steps, [], recipe, device="cpu", folder=Path(place))
        return watch.spent(), model


def stock(rows: Rows, folder: Path) -> tuple[Spent, Any]:
    """Train as the documentation of `trl` says; return the seconds and the model."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    from trl import SFTConfig, SFTTrainer  # type: ignore[attr-defined]

    recipe = recipe_of(rows)
    nf4 = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_use_double_quant=True,
    )
    model = AutoModelForCausalLM.from_pretrained(
        rows.base, quantization_config=nf4, dtype=torch.bfloat16, device_map={"": "cpu"}
    )
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(folder / "trl"),
            learning_rate=recipe.learning_rate,
            lr_scheduler_type=recipe.schedule,
            max_steps=STEPS,
            completion_only_loss=True,
            use_cpu=True,
            save_strategy="no",
            report_to=[],
        ),
        train_dataset=Dataset.from_list(
            [
                {
                    "input_ids": [*row.prompt, *row.target],
                    "completion_mask": [0] * len(row.prompt) + [1] * len(row.target),
                }
                for row in rows.train
            ]
        ),
        processing_class=load_tokenizer(rows.base),
        peft_config=LoraConfig(
            r=recipe.rank,
            lora_alpha=int(recipe.alpha),
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    watch = Watch()
    trainer.train()
    return watch.spent(), trainer.model


SIDES: dict[str, Callable[[Rows, Path], tuple[Spent, Any]]] = {"ours": ours, "trl": stock}


def main(side: str, folder: Path) -> None:
    """Train one side and print its figures."""
    rows = read_rows(folder)
    with quiet():
        spent, model = SIDES[side](rows, folder)
        peak = peak_memory("cpu") / MB
        loss = mean_loss(loss_module(model), [rows.held[: HELD // 2], rows.held[HELD // 2 :]])
    tokens = sum(map(len, rows.train))
    sys.stdout.write(
        json.dumps(Run(tokens / spent.clock, tokens / spent.processor, loss, peak)) + "\n"
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
