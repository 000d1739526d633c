"""Runs the project's own commands on the sample company, as a person would."""

import json
import subprocess
import sys
from pathlib import Path
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


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
