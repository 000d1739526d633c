"""What a person reads of an adapter: its card, its loss curve, and a page with its samples."""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from finetune.journal import SAMPLES, read_lines
from finetune.train import Outcome
from ingest.extras import require

PAGE = "training.html"
TEMPLATE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ title }}</title>
<style>
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
svg{max-width:100%;height:auto}table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid #ccc}
td{overflow-wrap:anywhere}details{margin:.5rem 0}pre{white-space:pre-wrap}
</style>
<h1>{{ title }}</h1>
{{ curve | safe }}
<h2>Estimated and measured</h2>
<table><tr><th></th><th>estimated</th><th>measured</th></tr>
{% for row in figures %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% if samples %}<h2>Sample answers while it trained</h2>
{% for prompt, answers in samples.items() %}
<details><summary>Prompt {{ loop.index }}</summary><pre>{{ prompt }}</pre></details>
<table><tr><th>step</th><th>answer</th></tr>
{% for sample in answers %}<tr><td>{{ sample.step }}</td><td>{{ sample.answer }}</td></tr>
{% endfor %}<tr><td>expected</td><td>{{ answers[0].expected }}</td></tr></table>
{% endfor %}{% endif %}
</html>
"""


def draw_losses(outcome: Outcome, destination: Any, kind: str = "png") -> None:
    """Draw the training and validation loss over the steps, as `png` or `svg`."""
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
    figure.savefig(destination, format=kind)


def write_page(manifest: Mapping[str, Any], outcome: Outcome, folder: Path) -> None:
    """Write the page of a run into its folder, from the samples there: one file, no network."""
    import jinja2

    curve = StringIO()
    draw_losses(outcome, curve, "svg")
    svg = curve.getvalue()
    samples: dict[str, list[dict[str, Any]]] = {}
    for line in read_lines(folder / SAMPLES):
        samples.setdefault(line["prompt"], []).append(line)
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    text = page.from_string(TEMPLATE).render(
        title=f"Training of {manifest['name']}:{manifest['version']}",
        curve=svg[svg.index("<svg") :],
        figures=compared(manifest),
        samples=samples,
    )
    (folder / PAGE).write_text(text, encoding="utf-8")


def compared(manifest: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return what was estimated of a run beside what was measured."""
    expected, found = manifest["estimate"], manifest["measured"]
    foreseen = f"{expected['seconds']:,.0f} s" if expected["seconds"] else "not known"
    return [
        (
            "most memory",
            f"{expected['memory_mb']['total']:,} MB",
            f"{found['memory_mb']:,} MB",
        ),
        ("time of the steps", foreseen, f"{found['seconds']:,.0f} s"),
        ("size of the result", f"{expected['result_mb']:,} MB", f"{found['result_mb']:,} MB"),
    ]


def adapter_card(manifest: dict[str, Any]) -> str:
    """Return the README of an adapter's folder."""
    if manifest["kind"] == "model":
        return _model_card(manifest)
    recipe = manifest["recipe"]["train"]
    scale = "rank-stabilised, " if recipe["method"] == "rslora" else ""
    lines = [
        f"# Adapter {manifest['name']}:{manifest['version']}",
        "",
        f"A LoRA adapter ({scale}rank {recipe['rank']}, alpha {recipe['alpha']:g}, frozen weights: "
        f"{recipe['quantisation']}) for `{manifest['base']}`, trained {manifest['created']}.",
        "",
        *_table(manifest),
        "",
        "It answers in the style of its tickets. Facts come from the passages in the prompt: "
        "without them, what it says of parts, prices and limits is made up.",
        "",
        f"    groundtune ask QUESTION --mode combined --adapter {manifest['name']}:"
        f"{manifest['version']}",
    ]
    return "\n".join(lines) + "\n"


def _model_card(manifest: Mapping[str, Any]) -> str:
    lines = [
        f"# Model {manifest['name']}:{manifest['version']}",
        "",
        f"`{manifest['base']}` with all of its weights tuned, for comparison with an adapter; "
        f"trained {manifest['created']}, written as q8_0.",
        "",
        *_table(manifest),
        "",
        "It is a whole model and not an adapter: it is served in place of the base model, and "
        "no adapter of the base fits it.",
        "",
        "    [engine]",
        '    model = "file:THIS FOLDER/model.gguf"',
    ]
    return "\n".join(lines) + "\n"


def _table(manifest: Mapping[str, Any]) -> list[str]:
    counts, losses = manifest["counts"], manifest["losses"]
    return [
        "| | |",
        "| --- | --- |",
        f"| data set | {manifest['dataset']['name']} |",
        f"| rows | {counts['train_rows']} to learn from, "
        f"{counts['validation_rows']} to measure on |",
        f"| trained on | {counts['tokens_trained_on']} tokens in {counts['steps']} of "
        f"{counts['steps_planned']} steps; kept are the weights of step {counts['step_kept']} |",
        f"| time | {manifest['seconds']:g} s on {manifest['device']}, "
        f"{manifest['tokens_per_second']:g} tokens/s |",
        f"| validation loss | {_from_to(losses['validation'])} nats per answer token |",
        f"| base model | SHA-256 {manifest['base_sha256']} |",
        f"| prompt contract | {manifest['prompt_fingerprint']} |",
        "",
        "![Loss over steps](losses.png)",
    ]


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
