"""`make bench-claims`: what is said of LoRA and QLoRA, measured here and computed for large models.

SmolLM2-135M is really trained, each way in a process of its own. Of models that do not fit here the
sizes are exact: they are built on the meta device, where a tensor has a shape and no memory.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from assistant.config import load
from finetune.base_model import Compute, best_compute, load_model, quiet
from finetune.batch import Row, plan_steps
from finetune.estimate import Estimate, estimate
from finetune.loop import Loop
from finetune.memory import peak_memory, used_memory
from finetune.recipe import TrainRecipe
from finetune.train import add_adapter, keep_freed_memory
from tests.bench.index import EXAMPLES
from tests.bench.tuning import read_rows, write_rows

STEPS = 8
ROWS = 32
HELD = 12
BATCH_TOKENS = 1000
TOKENS = 512
"""Of the row that the activations of large models are counted for."""
MB, GB = 10**6, 10**9


class Way(NamedTuple):
    """A way to tune."""

    method: Literal["lora", "full"]
    quantisation: Literal["none", "nf4"]
    compute: Compute
    learning_rate: float


WAYS: Mapping[str, Way] = {
    "full, float32": Way("full", "none", "float32", 1e-4),
    "LoRA, float32": Way("lora", "none", "float32", 1e-3),
    "LoRA": Way("lora", "none", best_compute("cpu"), 1e-3),
    "QLoRA": Way("lora", "nf4", best_compute("cpu"), 1e-3),
}

# Hidden size, layers, heads, key heads, feed-forward size, vocabulary. The first is of table 1 and
# section 2.2 of "Llama 2" (Touvron et al., 2023) and the model's published config.json, the others
# of table 3 of "The Llama 3 Herd of Models" (Grattafiori et al., 2024).
SHAPES: Mapping[str, tuple[int, int, int, int, int, int]] = {
    "7B (Llama 2)": (4096, 32, 32, 32, 11008, 32_000),
    "8B (Llama 3.1)": (4096, 32, 32, 8, 14336, 128_256),
    "70B (Llama 3.1)": (8192, 80, 64, 8, 28672, 128_256),
}


class Measured(NamedTuple):
    """What one way took on the small model; bytes, seconds, nats an answer token."""

    parameters: int
    trained: int
    weights: int
    gradients: int
    optimizer: int
    peak: int
    """Most that the process held above what it held before the model was loaded."""
    step: float
    """Median of the steps behind the first."""
    slowest: float
    quickest: float
    before: float
    after: float


def main() -> None:
    """Print the tables and what they say of the claims."""
    measured = measure()
    computed = {
        (shape, way): compute(sizes, way)
        for shape, sizes in SHAPES.items()
        for way in computed_ways()
    }
    for line in (
        *small_table(measured),
        "",
        *large_table(computed),
        "",
        *claims(measured, computed),
    ):
        sys.stdout.write(line + "\n")


def measure() -> dict[str, Measured]:
    """Return what each way takes, each in a process of its own."""
    settings = load(EXAMPLES / "groundtune.toml").settings
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        write_rows(settings, Path(folder), train=ROWS, held=HELD)
        for way in WAYS:
            command = [sys.executable, "-m", "tests.bench.claims", way, folder]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[way] = Measured(*json.loads(done.stdout.splitlines()[-1]))
    return found


def train_here(way: Way, folder: Path) -> Measured:
    """Train the small model in this process."""
    keep_freed_memory()
    rows = read_rows(folder)
    recipe = TrainRecipe(
        method=way.method,
        quantisation=way.quantisation,
        learning_rate=way.learning_rate,
        warmup=0,
        batch_tokens=BATCH_TOKENS,
        micro_batch_tokens=BATCH_TOKENS,
    )
    steps = plan_steps(
        rows.train,
        epochs=9,
        max_steps=STEPS,
        batch_tokens=BATCH_TOKENS,
        micro_batch_tokens=BATCH_TOKENS,
        seed=0,
    )
    began_with = used_memory("cpu")
    with quiet():
        model = load_model(
            rows.base, quantisation=way.quantisation, device="cpu", compute=way.compute
        )
        if way.method == "lora":
            model = add_adapter(model, recipe)
        loop = Loop(model, recipe, steps=STEPS, device="cpu")
    held = [rows.held[i : i + 4] for i in range(0, len(rows.held), 4)]
    before = loop.mean_loss(held)
    seconds = []
    for number, groups in enumerate(steps, start=1):
        began = time.perf_counter()
        loop.step(number, groups)
        seconds.append(time.perf_counter() - began)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Measured(
        parameters=sum(p.numel() for p in model.parameters()),
        trained=trained,
        weights=sum(p.numel() * p.itemsize for p in model.parameters()),
        gradients=4 * trained,
        optimizer=sum(m.numel() * m.itemsize for m in loop.moments().values()),
        peak=peak_memory("cpu") - began_with,
        step=statistics.median(seconds[1:]),
        slowest=max(seconds[1:]),
        quickest=min(seconds[1:]),
        before=before,
        after=loop.mean_loss(held),
    )


def computed_ways() -> dict[str, TrainRecipe]:
    """Return the ways that are computed, by name."""
    return {
        "full": TrainRecipe(method="full", quantisation="none"),
        "LoRA, rank 16, all linear layers": TrainRecipe(quantisation="none"),
        "QLoRA, rank 16, all linear layers": TrainRecipe(),
        "QLoRA, rank 8, q and v": TrainRecipe(rank=8, targets=("q_proj", "v_proj")),
    }


def compute(sizes: Sequence[int], way: str) -> Estimate:
    """Return what a model of these sizes takes on a GPU."""
    from transformers import LlamaConfig

    names = (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "intermediate_size",
        "vocab_size",
    )
    shape: dict[str, Any] = dict(zip(names, sizes, strict=True))
    row = Row(tuple(range(TOKENS // 2)), tuple(range(TOKENS // 2)))
    with tempfile.TemporaryDirectory() as folder:
        LlamaConfig(**shape, tie_word_embeddings=False).save_pretrained(folder)
        return estimate(
            Path(folder), computed_ways()[way], [[[row]]], device="cuda", compute="bfloat16"
        )


def states(found: Estimate | Measured) -> int:
    """Return the bytes of weights, gradients and optimiser."""
    return found.weights + found.gradients + found.optimizer


def small_table(measured: Mapping[str, Measured]) -> Iterator[str]:
    """Yield the lines of what was measured."""
    yield (
        f"| SmolLM2-135M, {STEPS} steps | trained | weights | gradients | optimiser | peak above "
        "the empty process | seconds a step (range) | validation loss |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for way, m in measured.items():
        sizes = " | ".join(
            f"{n / MB:,.0f} MB" for n in (m.weights, m.gradients, m.optimizer, m.peak)
        )
        yield (
            f"| {way} | {m.trained:,} ({m.trained / m.parameters:.2%}) | {sizes} | {m.step:.2f} "
            f"({m.quickest:.2f} to {m.slowest:.2f}) | {m.before:.3f} to {m.after:.3f} |"
        )


def large_table(computed: Mapping[tuple[str, str], Estimate]) -> Iterator[str]:
    """Yield the lines of what was computed."""
    yield (
        "| model | way | trained | weights | gradients | optimiser | activations of a row of "
        f"{TOKENS} tokens | result |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for (shape, way), e in computed.items():
        parts = (e.weights, e.gradients, e.optimizer, e.activations)
        sizes = " | ".join(f"{n / GB:,.2f} GB" for n in parts)
        share = e.trained / (e.parameters + (0 if way == "full" else e.trained))
        result = f"{e.result / GB:,.1f} GB" if way == "full" else f"{e.result / MB:,.0f} MB"
        yield f"| {shape} | {way} | {e.trained:,} ({share:.2%}) | {sizes} | {result} |"


def claims(
    measured: Mapping[str, Measured], computed: Mapping[tuple[str, str], Estimate]
) -> Iterator[str]:
    """Yield each claim with the figures that bear on it."""
    full, half, lora, qlora = measured.values()
    large = {way: [computed[shape, way] for shape in SHAPES] for way in computed_ways()}
    whole, adapted, packed, narrow = large.values()

    def shares(found: Sequence[Estimate]) -> list[float]:
        return [100 * e.trained / e.parameters for e in found]

    memory = [states(a) / states(b) for a, b in zip(whole, adapted, strict=True)]
    packed_memory = [states(a) / states(b) for a, b in zip(whole, packed, strict=True)]
    quicker = [full.step / half.step, full.step / lora.step, full.step / qlora.step]
    gain = [(m.before - m.after) / (full.before - full.after) for m in (lora, qlora)]
    wide_mb = [e.result / MB for e in packed]
    narrow_mb = [e.result / MB for e in narrow]
    eight = computed["8B (Llama 3.1)", "QLoRA, rank 8, q and v"]
    yield "| claim | figures | holds |"
    yield "| --- | --- | --- |"
    rows = [
        (
            "LoRA trains 0.1 % of the weights",
            f"{_range(shares(adapted), '%')} with rank 16 on all linear layers, "
            f"{_range(shares(narrow), '%')} with rank 8 on q and v, here "
            f"{lora.trained / (lora.parameters - lora.trained):.1%}",
            _holds(shares(narrow), 0.0, 0.15, of="q and v in low rank"),
        ),
        (
            "and keeps 99 % of the capability",
            f"{gain[0]:.0%} (LoRA) and {gain[1]:.0%} (QLoRA) of what full tuning takes off the "
            "validation loss in as many steps",
            _holds(gain, 0.99, 9e9),
        ),
        (
            "memory tenfold less",
            f"weights, gradients and optimiser: {_range(memory, 'x')} (LoRA), "
            f"{_range(packed_memory, 'x')} (QLoRA); peak here {full.peak / lora.peak:.1f}x",
            _holds(packed_memory, 10, 9e9, of="QLoRA"),
        ),
        (
            "60 to 80 % less memory",
            f"{_range([100 - 100 / r for r in memory], '%')} less (LoRA); peak here "
            f"{1 - lora.peak / full.peak:.0%} less",
            _holds([100 - 100 / r for r in memory], 60, 100),
        ),
        (
            "training five to ten times quicker",
            f"a step {quicker[0]:.1f}x in float32, {quicker[1]:.1f}x (LoRA) and "
            f"{quicker[2]:.1f}x (QLoRA) in {WAYS['LoRA'].compute}",
            _holds(quicker, 5, 9e9),
        ),
        (
            "50 to 70 % less time",
            f"{_range([100 - 100 / q for q in quicker], '%')} less for a step, as above",
            _holds([100 - 100 / q for q in quicker], 50, 70),
        ),
        (
            "QLoRA: 16 GB to 2 or 3 GB",
            f"8B: {eight.parameters * 2 / GB:.1f} GB in bfloat16, {eight.weights / GB:.1f} GB with "
            "the linear layers in NF4, embeddings and head as they are",
            _holds([eight.weights / GB], 2, 3),
        ),
        (
            "adapters of 10 to 50 MB",
            f"{_range(narrow_mb, 'MB')} (rank 8, q and v), {_range(wide_mb, 'MB')} (rank 16, all "
            f"linear layers), here {4 * lora.trained / MB:.0f} MB; float32",
            _holds(narrow_mb, 10, 50, of="q and v in low rank"),
        ),
    ]
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _range(values: Sequence[float], unit: str) -> str:
    return f"{min(values):.3g} to {max(values):.3g} {unit}"


def _holds(values: Sequence[float], low: float, high: float, *, of: str = "") -> str:
    inside = sum(low <= value <= high for value in values)
    said = "yes" if inside == len(values) else "no" if not inside else f"{inside} of {len(values)}"
    return f"{said} ({of})" if of else said


if __name__ == "__main__":
    if len(sys.argv) > 1:
        found = train_here(WAYS[sys.argv[1]], Path(sys.argv[2]))
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        main()
