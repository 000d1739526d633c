"""Runs the project's own commands on the sample company, as a person would."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[2]
TARNFELL = ROOT / "examples" / "tarnfell"


def groundtune(*words: str | Path) -> dict[str, Any]:
    """Run a command with the sample company's configuration and return what it prints as JSON."""
    command = [sys.executable, "-m", "assistant.cli", "--config", TARNFELL / "groundtune.toml"]
    done = subprocess.run(
        [*map(str, command), "--json", *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def train(adapter: str, changes: Mapping[str, object]) -> Path:
    """Return the folder of an adapter trained with the demo's recipe, which `changes` alter.

    One that is there is not trained again. A key that several tables have is changed in all; one
    that the recipe leaves out, like `seed`, is set in its data and its training.
    """
    home = Path(os.environ["GROUNDTUNE_HOME"])
    if not (made := list((home / "adapters" / adapter).glob("v*/manifest.json"))):
        text = (TARNFELL / "finetune.toml").read_text(encoding="utf-8")
        text = re.sub(r'"(\w+\.jsonl)"', rf'"{TARNFELL}/\1"', text)
        for key, value in {"name": json.dumps(adapter), **changes}.items():
            text, found = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
            if not found:
                text = re.sub(r"(?m)^\[.*\]$", rf"\g<0>\n{key} = {value}", text)
        with TemporaryDirectory() as folder:
            recipe = Path(folder) / f"{adapter}.toml"
            recipe.write_text(text, encoding="utf-8")
            groundtune("finetune", recipe, "--resume")
        made = list((home / "adapters" / adapter).glob("v*/manifest.json"))
    return made[0].parent


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
