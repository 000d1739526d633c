"""What a person reads of an adapter: its card and its loss curve."""

from pathlib import Path
from typing import Any

from finetune.train import Outcome
from ingest.extras import require


def draw_losses(outcome: Outcome, destination: Path) -> None:
    """Draw the training and validation loss over the steps as a PNG."""
    require("matplotlib", extra="finetune")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*_columns(outcome.train), color="#9aa5b1", label="training, each step")
    if outcome.validation:
        axes.plot(*_columns(outcome.validation), color="#0b6e4f", marker="o", label="validation")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss (nats per answer token)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(destination)


def adapter_card(manifest: dict[str, Any]) -> str:
    """Return the README of an adapter's folder."""
    counts, losses = manifest["counts"], manifest["losses"]
    recipe = manifest["recipe"]["train"]
    lines = [
        f"# Adapter {manifest['name']}:{manifest['version']}",
        "",
        f"A LoRA adapter (rank {recipe['rank']}, alpha {recipe['alpha']:g}, frozen weights: "
        f"{recipe['quantisation']}) for `{manifest['base']}`, trained {manifest['created']}.",
        "",
        "| | |",
        "| --- | --- |",
        f"| data set | {manifest['dataset']['name']} |",
        f"| rows | {counts['train_rows']} to learn from, "
        f"{counts['validation_rows']} to measure on |",
        f"| trained on | {counts['tokens_trained_on']} tokens in {counts['steps']} steps |",
        f"| time | {manifest['seconds']:g} s on {manifest['device']}, "
        f"{manifest['tokens_per_second']:g} tokens/s |",
        f"| validation loss | {_from_to(losses['validation'])} nats per answer token |",
        f"| base model | SHA-256 {manifest['base_sha256']} |",
        f"| prompt contract | {manifest['prompt_fingerprint']} |",
        "",
        "![Loss over steps](losses.png)",
        "",
        "It answers in the style of its tickets. Facts come from the passages in the prompt: "
        "without them, what it says of parts, prices and limits is made up.",
        "",
        f"    groundtune ask QUESTION --mode combined --adapter {manifest['name']}:"
        f"{manifest['version']}",
    ]
    return "\n".join(lines) + "\n"


def _columns(points: Any) -> tuple[list[int], list[float]]:
    return [p.step for p in points], [p.loss for p in points]


def _from_to(points: list[list[float]]) -> str:
    if not points:
        return "not measured, in"
    return (
        f"{points[0][1]:.3f} before, {points[-1][1]:.3f} after,"
        if len(points) > 1
        else (f"{points[-1][1]:.3f}")
    )
