"""Whole runs of a tiny model, from a plan to a version in the store."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from assistant.adapter import Adapter, AdapterStore
from finetune.processes import Processes
from finetune.train import Watch
from finetune.tuning import tune
from ingest.errors import ConflictError, MismatchError, StoppedError
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
    adapter = tuned(
        tmp_path, learning_rate=0.3, validations=13, patience=3, schedule="constant_with_warmup"
    )
    losses = {step: loss for step, loss in adapter.manifest["losses"]["validation"] if step}
    counts = adapter.manifest["counts"]
    assert losses[counts["step_kept"]] == min(losses.values())
    assert counts["step_kept"] == counts["steps"] - 3 < counts["steps_planned"] - 3
    tensors = load_file(adapter.folder / "adapter_model.safetensors")
    assert all(name.startswith("base_model.model.model.layers.") for name in tensors)
