"""A whole fine-tuning run: a data set in, a version of an adapter in the workspace out."""

import json
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from assistant.adapter import Adapter, AdapterStore
from finetune.base_model import (
    best_compute,
    best_device,
    load_model,
    load_tokenizer,
    quiet,
    shape_of,
    training_folder,
)
from finetune.batch import encode, fit, plan_steps
from finetune.card import adapter_card, draw_losses
from finetune.dataset import Dataset, package_versions
from finetune.gguf_lora import write_gguf_lora
from finetune.recipe import Recipe
from finetune.train import Outcome, Progress, add_adapter, train
from ingest.model_file import sha256_of


@dataclass(frozen=True, slots=True)
class Base:
    """The model that an adapter is trained for, and the prompt it is asked with."""

    name: str
    file: Path
    """GGUF."""
    sha256: str
    prompt_fingerprint: str


def tune(
    recipe: Recipe,
    dataset: Dataset,
    base: Base,
    store: AdapterStore,
    *,
    now: datetime,
    report: Callable[[Progress], None] = lambda _: None,
) -> Adapter:
    """Train an adapter and put it into `store` as the next version of its name.

    It becomes visible whole or not at all: everything is written in a hidden folder beside the
    versions, which gets its name at the end.

    Raises:
        DataError: no row fits the window.
        DivergedError: the loss was no number.
        MissingExtraError: a package of the `finetune` extra is not installed.
    """
    store.next_version(recipe.name)  # a bad name fails before the training, not after
    versions = store.folder / recipe.name
    versions.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".training-", dir=versions))
    try:
        facts = _train_into(part, recipe, dataset, base, report)
        version = store.next_version(recipe.name)
        manifest = {
            "name": recipe.name,
            "version": version,
            "created": now.isoformat(timespec="seconds"),
            "base": base.name,
            "base_sha256": base.sha256,
            "prompt_fingerprint": base.prompt_fingerprint,
            "dataset": {"name": dataset.folder.name, "sha256": dataset.manifest["sha256"]},
            "recipe": recipe.dump(),
            **facts,
            "seed": recipe.train.seed,
            "packages": package_versions(),
            "lora_sha256": sha256_of(part / "lora.gguf"),
            "parity": None,
        }
        (part / "README.md").write_text(adapter_card(manifest), encoding="utf-8")
        write_manifest(part, manifest)
        part.chmod(0o755)
        part.rename(versions / version)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Adapter(recipe.name, version, versions / version, manifest)


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write `manifest.json` into `folder` in one stroke."""
    part = folder / ".manifest.part"
    part.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(folder / "manifest.json")


def _train_into(
    folder: Path,
    recipe: Recipe,
    dataset: Dataset,
    base: Base,
    report: Callable[[Progress], None],
) -> dict[str, Any]:
    options = recipe.train
    source = training_folder(base.file, base.sha256)
    tokenizer = load_tokenizer(source)
    rows = fit([encode(tokenizer, e) for e in dataset.train], window=options.window, what="train")
    held = fit(
        [encode(tokenizer, e) for e in dataset.validation],
        window=options.window,
        what="validation",
    )
    steps = plan_steps(
        rows.rows,
        epochs=options.epochs,
        max_steps=options.max_steps,
        batch_tokens=options.batch_tokens,
        micro_batch_tokens=options.micro_batch_tokens,
        seed=options.seed,
    )
    device = best_device()
    compute = best_compute(device) if options.compute == "auto" else options.compute
    model = load_model(source, quantisation=options.quantisation, device=device, compute=compute)
    shape = shape_of(model.config)
    model = add_adapter(model, options)
    scratch = folder / "scratch"
    outcome = train(
        model,
        steps,
        held.rows[: options.validation_rows],
        options,
        padding_id=tokenizer.pad_token_id,
        device=device,
        scratch=scratch,
        report=report,
    )
    shutil.rmtree(scratch, ignore_errors=True)
    with quiet():
        # The machine's path of the base says nothing elsewhere; its name does.
        model.peft_config["default"].base_model_name_or_path = base.name
        model.save_pretrained(folder, save_embedding_layers=False)
    write_gguf_lora(folder, shape, folder / "lora.gguf")
    draw_losses(outcome, folder / "losses.png")
    where = {"device": device, "compute": compute}
    return where | _facts(outcome, len(rows.rows), rows.too_long, len(held.rows))


def _facts(outcome: Outcome, rows: int, too_long: int, validation_rows: int) -> dict[str, Any]:
    return {
        "counts": {
            "train_rows": rows,
            "train_rows_too_long": too_long,
            "validation_rows": validation_rows,
            "rows_trained_on": outcome.rows,
            "tokens_trained_on": outcome.tokens,
            "steps": outcome.steps,
        },
        "losses": {
            "train": [[p.step, round(p.loss, 4)] for p in outcome.train],
            "validation": [[p.step, round(p.loss, 4)] for p in outcome.validation],
        },
        "seconds": round(outcome.seconds, 1),
        "tokens_per_second": round(outcome.tokens / outcome.seconds, 1),
        "peak_memory_mb": _peak_memory_mb(),
    }


def _peak_memory_mb() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1 << 20 if sys.platform == "darwin" else 1 << 10)  # bytes there, KiB elsewhere
