"""A run that is killed, and a run in two processes, against the same run undisturbed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

Runs = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    command = [sys.executable, "-m", "tests.finetune.interruptions", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # it forks
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    expected = {"whole": [0], "killed": [-9], "resumed": [0], "alone": [0], "pair": [0, 0]}
    assert found["codes"] == expected, done.stderr[-3000:]
    return folder, found


def adapter(folder: Path, name: str) -> Path:
    return folder / name / "adapters" / "house" / "v1"


def test_a_killed_run_shows_nothing_and_ends_with_the_same_bytes_once_resumed(runs: Runs) -> None:
    folder, found = runs
    assert found["seen"] == []
    for file in ("adapter_model.safetensors", "lora.gguf"):
        whole, killed = (adapter(folder, name) / file for name in ("whole", "killed"))
        assert killed.read_bytes() == whole.read_bytes()
    losses = [
        json.loads((adapter(folder, name) / "manifest.json").read_text())["losses"]
        for name in ("whole", "killed")
    ]
    assert losses[0] == losses[1]


def test_two_processes_train_what_one_trains(runs: Runs) -> None:
    folder, _ = runs
    one, two = (
        load_file(adapter(folder, name) / "adapter_model.safetensors") for name in ("alone", "pair")
    )
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-2, atol=1e-3)
