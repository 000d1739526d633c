"""Whole runs of a tiny model, from a plan to a version in the store."""

import json
import resource
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from assistant.adapter import Adapter, AdapterStore
from finetune.batch import Row, answers_and_prompts
from finetune.gguf_lora import permute
from finetune.memory import explain_memory
from finetune.merge import read_pairs
from finetune.processes import Processes
from finetune.recipe import TrainRecipe
from finetune.train import Progress, Watch
from finetune.tuning import foresee, plan, tune
from ingest.errors import (
    ConflictError,
    DiskFullError,
    MismatchError,
    MissingModelError,
    OutOfMemoryError,
    StoppedError,
    UsageError,
)
from tests.finetune.tiny import tiny_plan

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """More threads only wait for each other over so small a model."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tuned(home: Path, *, watch: Watch | None = None, flags: Any = (), **train: Any) -> Adapter:
    planned = tiny_plan(home, **train)
    store = AdapterStore(home / "adapters")
    options = dict.fromkeys(flags, True)
    adapter = tune(planned, store, Processes("cpu"), now=NOW, watch=watch, **options)
    assert adapter is not None
    return adapter


def stop_after(step: int) -> Watch:
    done: list[int] = []
    return Watch(report=lambda p: done.append(p.step), stop=lambda: step in done)


def weights(adapter: Adapter) -> bytes:
    return (adapter.folder / "adapter_model.safetensors").read_bytes()


def test_a_run_leaves_all_that_a_reader_needs(tmp_path: Path) -> None:
    adapter = tuned(tmp_path)
    names = {path.name for path in adapter.folder.iterdir()}
    assert {"losses.png", "training.html", "metrics.jsonl", "samples.jsonl", "README.md"} <= names
    assert [p.name for p in (tmp_path / "adapters" / "house").iterdir()] == ["v1"]
    lines = [json.loads(li) for li in (adapter.folder / "metrics.jsonl").read_text().splitlines()]
    assert [li["step"] for li in lines if "loss" in li] == list(range(1, 13))
    assert [li["step"] for li in lines if "validation_loss" in li] == [0, 3, 6, 9, 12]
    samples = (adapter.folder / "samples.jsonl").read_text().splitlines()
    assert [json.loads(li)["step"] for li in samples] == [0, 3, 6, 9, 12]
    page = (adapter.folder / "training.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert json.loads(samples[-1])["expected"] in page
    estimated, measured = adapter.manifest["estimate"], adapter.manifest["measured"]
    assert estimated["memory_mb"]["total"] > 0
    assert estimated["seconds"] > 0
    assert measured["result_mb"] == pytest.approx(estimated["result_mb"], abs=0.2)


def test_an_interrupted_run_is_not_there_until_it_is_resumed_and_then_the_same(
    tmp_path: Path,
) -> None:
    whole = weights(tuned(tmp_path / "whole"))
    home = tmp_path / "cut"
    with pytest.raises(StoppedError, match=r"(?s)after step 5 of 12.*--resume"):
        tuned(home, watch=stop_after(5))
    assert AdapterStore(home / "adapters").list() == []
    with pytest.raises(ConflictError, match=r"(?s)behind step 5.*--resume.*--restart"):
        tuned(home)
    with pytest.raises(MismatchError, match=r"recipe\.train\.rank: 4, now 8"):
        tuned(home, flags=["resume"], rank=8)
    steps: list[int] = []
    adapter = tuned(home, watch=Watch(report=lambda p: steps.append(p.step)), flags=["resume"])
    assert steps == list(range(6, 13))
    assert weights(adapter) == whole
    assert not (home / "adapters" / "house" / ".run").exists()
    metrics = (adapter.folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(li)["step"] for li in metrics if '"loss"' in li] == list(range(1, 13))


def test_a_restart_throws_the_interrupted_run_away(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        tuned(tmp_path, watch=stop_after(2))
    steps: list[int] = []
    tuned(tmp_path, watch=Watch(report=lambda p: steps.append(p.step)), flags=["restart"], rank=2)
    assert steps[0] == 1


def test_the_best_weights_are_kept_and_a_run_that_gets_worse_ends_early(tmp_path: Path) -> None:
    tiny_plan(tmp_path)
    path = tmp_path / "datasets" / "house-1" / "validation.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["messages"][-1]["content"] = "w56"  # which no training row answers
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    adapter = tuned(tmp_path, validations=31, patience=3, max_steps=30)
    losses = {step: loss for step, loss in adapter.manifest["losses"]["validation"] if step}
    counts = adapter.manifest["counts"]
    assert losses[counts["step_kept"]] == min(losses.values())
    assert counts["step_kept"] == counts["steps"] - 3 < counts["steps_planned"] - 3
    tensors = load_file(adapter.folder / "adapter_model.safetensors")
    assert all(name.startswith("base_model.model.model.layers.") for name in tensors)


def test_full_tuning_makes_a_model_of_its_own(tmp_path: Path) -> None:
    write_base(tmp_path)
    adapter = tuned(tmp_path, method="full", dropout=0, learning_rate=1e-2)
    assert adapter.manifest["kind"] == "model"
    assert (
        adapter.manifest["estimate"]["trained_parameters"]
        == adapter.manifest["estimate"]["parameters"]
    )
    assert not (adapter.folder / "lora.gguf").exists()
    reader = gguf.GGUFReader(adapter.folder / "model.gguf")
    found = {t.name: gguf.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    before = {t.name: t.data for t in gguf.GGUFReader(tmp_path / "base.gguf").tensors}
    assert found.keys() == before.keys()
    moved = {name: float(abs(found[name] - before[name]).mean()) for name in before}
    assert min(moved.values()) > 1e-4
    assert max(moved.values()) < 0.2  # in its place, and in the order of llama.cpp
    assert "whole model" in (adapter.folder / "README.md").read_text(encoding="utf-8")


def write_base(home: Path) -> None:
    """Write the tiny model as llama.cpp stores it, in float32."""
    tiny_plan(home)
    model = LlamaForCausalLM.from_pretrained(home / "model").state_dict()
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    writer = gguf.GGUFWriter(home / "base.gguf", "llama")
    writer.add_uint32("llama.block_count", 2)
    for name, tensor in model.items():
        matrix = tensor.numpy()
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            matrix = permute(matrix, 4 if "q_proj" in name else 2)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), matrix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_full_disk_leaves_the_checkpoint_before_and_the_run_goes_on_from_it(
    tmp_path: Path,
) -> None:
    whole = weights(tuned(tmp_path / "whole"))
    home = tmp_path / "full"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(progress: Progress) -> None:
        if progress.step == 5:  # the checkpoint of step 3 is there, that of step 6 has no room
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))

    try:
        with pytest.raises(DiskFullError, match=r"(?s)could not be written.*Make room.*--resume"):
            tuned(home, watch=Watch(report=fill))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert AdapterStore(home / "adapters").list() == []
    left = {path.name for path in (home / "adapters" / "house" / ".run").iterdir()}
    assert not [name for name in left if name.endswith(".part")]
    assert weights(tuned(home, flags=["resume"])) == whole


def test_a_run_that_does_not_fit_is_refused_before_it_starts(tmp_path: Path) -> None:
    huge = tiny_plan(tmp_path)
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    wide = {"hidden_size": 131072, "intermediate_size": 524288}
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, **wide}))
    store = AdapterStore(tmp_path / "adapters")
    with pytest.raises(OutOfMemoryError, match=r"(?s)MB are free.*micro_batch.*--ignore-memory"):
        tune(huge, store, Processes("cpu"), now=NOW)
    found = foresee(huge, store, Processes("cpu"), ignore_memory=True)
    assert found.parameters > 200e9
    assert not found.fits("cpu")
    assert not (tmp_path / "adapters").exists()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "MemoryError"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "CUDA out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "can't allocate"),
    ],
)
def test_a_lack_of_memory_says_what_to_lower(error: Exception, words: str) -> None:
    recipe = TrainRecipe(micro_batch_tokens=4096, window=1024)
    with (
        pytest.raises(OutOfMemoryError, match=f"(?s){words}.*micro_batch_tokens .now 4096.*window"),
        explain_memory(recipe),
    ):
        raise error
    with pytest.raises(RuntimeError, match="shapes"), explain_memory(recipe):
        raise RuntimeError("shapes do not match")


def test_a_layer_that_does_not_exist_is_answered_with_the_nearest(tmp_path: Path) -> None:
    planned = tiny_plan(tmp_path, targets=("q_prj", "lm_head"))
    with pytest.raises(UsageError, match=r"(?s)'q_prj' .nearest: q_proj.*'lm_head' .*all-linear"):
        foresee(planned, AdapterStore(tmp_path), Processes("cpu"), ignore_memory=False)


def test_an_architecture_that_no_adapter_can_be_exported_for_is_refused(tmp_path: Path) -> None:
    tiny_plan(tmp_path)
    path = tmp_path / "model" / "config.json"
    changed = {**json.loads(path.read_text(encoding="utf-8")), "model_type": "opt"}
    path.write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(UsageError, match=r"architecture is 'opt'.*exported for: llama"):
        tiny_plan(tmp_path)


@pytest.mark.parametrize("rank_stabilised", [False, True])
def test_the_scale_of_an_adapter_is_the_one_it_was_trained_with(
    tmp_path: Path, rank_stabilised: bool
) -> None:
    method = "rslora" if rank_stabilised else "lora"
    adapter = tuned(tmp_path, method=method, max_steps=1, validations=1, samples=0)
    (pair, *_) = read_pairs(adapter.folder / "lora.gguf", architecture="llama").values()
    assert pair.scale == pytest.approx(32 / 2 if rank_stabilised else 32 / 4)


def test_learning_prompts_as_well_reaches_every_token_but_the_first() -> None:
    row = answers_and_prompts(Row((5, 6, 7), (8, 2)))
    assert row == Row((5,), (6, 7, 8, 2))


def test_recomputing_activations_trains_the_same(tmp_path: Path) -> None:
    plain, recomputed = (
        tuned(tmp_path / name, gradient_checkpointing=name == "yes", dropout=0, compute="float32")
        for name in ("no", "yes")
    )
    losses = [[loss for _, loss in a.manifest["losses"]["validation"]] for a in (plain, recomputed)]
    assert losses[1] == pytest.approx(losses[0], abs=2e-3)
    needs = [
        foresee(
            tiny_plan(tmp_path / "no", gradient_checkpointing=recompute),
            AdapterStore(tmp_path),
            Processes("cpu"),
            ignore_memory=False,
        ).activations
        for recompute in (False, True)
    ]
    assert needs[1] < 0.7 * needs[0]


def test_a_model_that_cannot_be_trained_says_why(tmp_path: Path) -> None:
    planned = tiny_plan(tmp_path)
    absent = planned.recipe.model_copy(update={"weights": "hf:nobody/nothing"})
    with pytest.raises(MissingModelError, match=r"(?s)not on this machine.*hf download nobody/no"):
        plan(absent, planned.dataset, planned.base)
    for file in (tmp_path / "model").glob("chat_template*"):
        file.unlink()
    with pytest.raises(UsageError, match="no chat template"):
        tiny_plan(tmp_path)
    path = tmp_path / "model" / "config.json"
    changed = {**json.loads(path.read_text(encoding="utf-8")), "model_type": "nonesuch"}
    path.write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(UsageError, match="cannot be fine-tuned.*nonesuch"):
        tiny_plan(tmp_path)


def test_tensorboard_gets_the_losses_where_it_is_installed(tmp_path: Path) -> None:
    adapter = tuned(tmp_path, tracking=("tensorboard",), max_steps=2, validations=1, samples=0)
    (events,) = (adapter.folder / "tensorboard").glob("events.*")
    content = events.read_bytes()
    for name in (b"train/loss", b"train/learning_rate", b"validation/loss"):
        assert name in content
