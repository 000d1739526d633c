"""A whole fine-tuning run: a data set in, a version of an adapter in the workspace out."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from assistant.adapter import Adapter, AdapterStore
from finetune.base_model import (
    Compute,
    Device,
    best_compute,
    best_device,
    load_model,
    load_tokenizer,
    quiet,
    shape_of,
    training_folder,
)
from finetune.batch import Fitting, Step, answers_and_prompts, encode, fit, plan_steps
from finetune.card import adapter_card, draw_losses, write_page
from finetune.checkpoint import KEPT, room_for
from finetune.dataset import Dataset, package_versions
from finetune.estimate import Estimate, check_memory, estimate, remembered_speed
from finetune.gguf_lora import Shape, check_architecture, write_gguf_lora
from finetune.journal import METRICS, SAMPLES, trackers
from finetune.memory import explain_memory, peak_memory
from finetune.merge import write_tuned
from finetune.processes import Processes
from finetune.recipe import Recipe
from finetune.run_folder import begin, run_folder, run_id
from finetune.sample import sample_answers
from finetune.train import Outcome, Watch, add_adapter, measure_speed, train
from ingest.errors import MissingModelError, UsageError
from ingest.model_file import resolve, sha256_of

MODEL = "model.gguf"
"""What full tuning makes: a model to serve instead of the base, at q8_0."""


@dataclass(frozen=True, slots=True)
class Base:
    """The model that an adapter is trained for, and the prompt it is asked with."""

    name: str
    file: Path
    """GGUF."""
    sha256: str
    prompt_fingerprint: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A run before its model is loaded."""

    recipe: Recipe
    base: Base
    dataset: Dataset
    source: Path
    """The transformers folder of the base model."""
    tokenizer: Any
    shape: Shape
    rows: Fitting
    held: Fitting
    steps: list[Step]
    device: Device
    compute: Compute

    def model(self, *, placed: bool = True) -> Any:
        """Return the model with what is to be trained, loaded.

        Raises:
            OutOfMemoryError: the memory did not suffice.
        """
        train = self.recipe.train
        full = train.method == "full"
        with explain_memory(train):
            model = load_model(
                self.source,
                quantisation=train.quantisation,
                double=train.double_quantisation,
                device=self.device,
                # What is trained itself must not be rounded at each step.
                compute="float32" if full else self.compute,
                placed=placed,
            )
            return model if full else add_adapter(model, train)

    def facts(self) -> dict[str, Any]:
        """Return what must not change while a run is interrupted."""
        return {
            "base": self.base.name,
            "base_sha256": self.base.sha256,
            "prompt_fingerprint": self.base.prompt_fingerprint,
            "dataset": {
                "name": self.dataset.folder.name,
                "sha256": self.dataset.manifest["sha256"],
            },
            "recipe": self.recipe.dump(),
        }


def plan(recipe: Recipe, dataset: Dataset, base: Base) -> Plan:
    """Read the rows and lay out every step of the run.

    Raises:
        UsageError: an architecture that no adapter can be exported for.
        DataError: no row fits the window.
        MissingExtraError: a package of the `finetune` extra, or a tracker, is not installed.
    """
    options = recipe.train
    trackers(options)
    source = resolve(recipe.weights) if recipe.weights else training_folder(base.file, base.sha256)
    shape = shape_of(_config(source))
    check_architecture(shape)
    device = best_device()
    tokenizer = load_tokenizer(source)
    if not tokenizer.chat_template:
        raise UsageError(
            f"{source} has no chat template, so it cannot answer questions.",
            hint="Use an instruction-tuned model.",
        )
    encoded = [encode(tokenizer, e) for e in dataset.train]
    if not options.assistant_only:
        encoded = [answers_and_prompts(row) for row in encoded]
    held = [encode(tokenizer, e) for e in dataset.validation]
    rows = fit(encoded, window=options.window, what="train")
    steps = plan_steps(
        rows.rows,
        epochs=options.epochs,
        max_steps=options.max_steps,
        batch_tokens=options.batch_tokens,
        micro_batch_tokens=options.micro_batch_tokens,
        seed=options.seed,
    )
    return Plan(
        recipe,
        base,
        dataset,
        source,
        tokenizer,
        shape,
        rows,
        fit(held, window=options.window, what="validation"),
        steps,
        device,
        best_compute(device) if options.compute == "auto" else options.compute,
    )


def _config(source: Path) -> Any:
    """Return the configuration of the model in folder `source`.

    Raises:
        MissingModelError: it is not on this machine.
        UsageError: transformers does not know its architecture.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(source, local_files_only=True)
    except OSError:
        raise MissingModelError(
            f"The weights {source} are not on this machine.", hint=f"hf download {source}"
        ) from None
    except ValueError as error:
        raise UsageError(f"{source} cannot be fine-tuned: {error}") from None


def foresee(
    planned: Plan, store: AdapterStore, processes: Processes, *, ignore_memory: bool
) -> Estimate:
    """Return what the run will take of each process; its speed is that of a run like it, if any.

    Raises:
        OutOfMemoryError: more than there is, and `ignore_memory` does not say to try.
        UsageError: a target that the model does not have.
    """
    options = planned.recipe.train
    found = estimate(
        planned.source, options, planned.steps, device=planned.device, compute=planned.compute
    )
    if processes.sharded:
        found = found.divided(processes.count)
    if not ignore_memory:
        check_memory(found, options, planned.device)
    manifests = [adapter.manifest for adapter in store.list()]
    speed, where = remembered_speed(
        manifests,
        planned.base.sha256,
        options,
        device=planned.device,
        compute=planned.compute,
    )
    return replace(found, tokens_per_second=speed, speed_from=where)


def with_speed(planned: Plan, found: Estimate, model: Any) -> Estimate:
    """Return `found` with a speed; where none is known, one micro-batch measures it."""
    if found.tokens_per_second:
        return found
    speed = measure_speed(
        model,
        planned.steps,
        planned.recipe.train,
        device=planned.device,
    )
    return replace(found, tokens_per_second=speed, speed_from="one micro-batch")


def tune(
    planned: Plan,
    store: AdapterStore,
    processes: Processes,
    *,
    now: datetime,
    resume: bool = False,
    restart: bool = False,
    ignore_memory: bool = False,
    announce: Callable[[Estimate], None] = lambda _: None,
    watch: Watch | None = None,
) -> Adapter | None:
    """Train an adapter and put it into `store` as the next version of its name.

    It becomes visible whole or not at all: a hidden folder beside the versions holds the run until
    the adapter in it gets its name. An interrupted run stays there, to be resumed. Of several
    processes the leader returns the adapter and the others None.

    Raises:
        ConflictError: an interrupted run is there, and neither `resume` nor `restart` was said.
        MismatchError: it is to be resumed with other inputs.
        TrainingError: the run ended early; what it had is kept.
    """
    recipe = planned.recipe
    store.next_version(recipe.name)  # a bad name fails before the training, not after
    versions = store.folder / recipe.name
    expected = foresee(planned, store, processes, ignore_memory=ignore_memory)
    folder = run_folder(versions)
    if processes.lead:
        begin(versions, planned.facts(), resume=resume, restart=restart)
    processes.told("the run's folder is there")
    model = planned.model(placed=not processes.sharded)
    if processes.alone:
        expected = with_speed(planned, expected, model)
    if processes.lead:
        announce(expected)
    outcome = train(
        model,
        planned.steps,
        planned.held.rows[: recipe.train.validation_rows],
        recipe.train,
        device=planned.device,
        folder=folder,
        name=recipe.name,
        watch=_sampling(watch or Watch(), planned, model),
    )
    if not processes.lead:
        return None
    adapter = _put_in(store, planned, outcome, expected, folder=folder, now=now, model=model)
    shutil.rmtree(folder, ignore_errors=True)
    return adapter


def _put_in(
    store: AdapterStore,
    planned: Plan,
    outcome: Outcome,
    expected: Estimate,
    *,
    folder: Path,
    now: datetime,
    model: Any,
) -> Adapter:
    """Make the adapter of a run that has ended, and give it its name."""
    name = planned.recipe.name
    part = folder / "adapter"
    version = store.next_version(name)
    target = store.folder / name / version
    head = {"name": name, "version": version, "created": now.isoformat(timespec="seconds")}
    with room_for(part):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        made = _export(planned, model, folder / KEPT, part)
        manifest = {
            **head,
            **planned.facts(),
            **_facts(planned, outcome, expected, made),
            "run": run_id(folder),
        }
        for file in (METRICS, SAMPLES):
            if (folder / file).is_file():
                shutil.copy(folder / file, part / file)
        if (folder / "tensorboard").is_dir():
            shutil.copytree(folder / "tensorboard", part / "tensorboard")
        draw_losses(outcome, part / "losses.png")
        write_page(manifest, outcome, part)
        (part / "README.md").write_text(adapter_card(manifest), encoding="utf-8")
        write_manifest(part, manifest)
        part.rename(target)
    return Adapter(name, version, target, manifest)


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write `manifest.json` into `folder` in one stroke."""
    part = folder / ".manifest.part"
    part.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(folder / "manifest.json")


def _sampling(watch: Watch, planned: Plan, model: Any) -> Watch:
    options = planned.recipe.train
    rows = planned.held.rows[: options.samples]

    def sample() -> list[dict[str, str]]:
        return sample_answers(model, planned.tokenizer, rows, max_tokens=options.sample_tokens)

    return replace(watch, sample=sample)


def _export(planned: Plan, model: Any, kept: Path, folder: Path) -> Path:
    """Write what was trained into `folder` and return the file that is served."""
    from safetensors.torch import load_file

    weights = load_file(kept)
    if planned.recipe.train.method == "full":
        write_tuned(planned.base.file, weights, planned.shape, folder / MODEL, weights="q8_0")
        return folder / MODEL
    with quiet():
        # The machine's path of the base says nothing elsewhere; its name does.
        model.peft_config["default"].base_model_name_or_path = planned.base.name
        model.save_pretrained(folder, state_dict=weights, save_embedding_layers=False)
    write_gguf_lora(folder, planned.shape, folder / "lora.gguf")
    return folder / "lora.gguf"


def _facts(planned: Plan, outcome: Outcome, expected: Estimate, made: Path) -> dict[str, Any]:
    speed = round(outcome.tokens / outcome.seconds, 1)
    return {
        "kind": "model" if planned.recipe.train.method == "full" else "adapter",
        "counts": {
            "train_rows": len(planned.rows.rows),
            "train_rows_too_long": planned.rows.too_long,
            "validation_rows": len(planned.held.rows),
            "rows_trained_on": outcome.rows,
            "tokens_trained_on": outcome.tokens,
            "steps": outcome.steps,
            "steps_planned": len(planned.steps),
            "step_kept": outcome.kept,
        },
        "losses": {
            "train": [[p.step, round(p.loss, 4)] for p in outcome.train],
            "validation": [[p.step, round(p.loss, 4)] for p in outcome.validation],
        },
        "device": planned.device,
        "compute": "float32" if planned.recipe.train.method == "full" else planned.compute,
        "seconds": round(outcome.seconds, 1),
        "tokens_per_second": speed,
        "peak_memory_mb": peak_memory(planned.device) // 1_000_000,
        "estimate": expected.body(),
        "measured": {
            "memory_mb": round(peak_memory(planned.device) / 1_000_000),
            "result_mb": round(made.stat().st_size / 1_000_000, 1),
            "seconds": round(outcome.seconds, 1),
            "tokens_per_second": speed,
        },
        "seed": planned.recipe.train.seed,
        "packages": package_versions(),
        "parity": None,
        "lora_sha256" if made.name == "lora.gguf" else "model_sha256": sha256_of(made),
    }
