"""Runs of the tiny model in processes that are really killed, or are several.

    python -m tests.finetune.interruptions FOLDER

Forks before anything is computed, so that the packages are imported once. Prints one JSON object.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Later imports, made before the forks.
import bitsandbytes  # noqa: F401
import gguf  # noqa: F401
import matplotlib.figure  # noqa: F401
import peft  # noqa: F401
import torch

from assistant.adapter import AdapterStore
from finetune.processes import Processes
from finetune.train import Progress, Watch
from finetune.tuning import tune
from tests.finetune.tiny import tiny_plan
from tests.ports import free_port

NOW = datetime(2026, 1, 2, tzinfo=UTC)
KILLED_AT = 7
"""Behind the checkpoint of step 6, in the middle of what comes before the next one."""


def run(home: Path, *, kill: bool = False, resume: bool = False, **train: Any) -> None:
    def report(progress: Progress) -> None:
        if kill and progress.step == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)

    store = AdapterStore(home / "adapters")
    planned = tiny_plan(home, **train)
    tune(planned, store, Processes("cpu"), now=NOW, resume=resume, watch=Watch(report=report))


def forked(work: Callable[[], None], **environment: str) -> int:
    """Start `work` in a process of its own; return its id."""
    child = os.fork()
    if child:
        return child
    os.environ.update(environment)
    # PyTorch makes its threads anew at the first call after a fork, and fails if two come at once.
    torch.set_num_threads(1)
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended(*children: int) -> list[int]:
    """Wait for processes; return their exit codes, negative where a signal ended them."""
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def together(work: Callable[[], None], **environment: str) -> list[int]:
    """Run `work` in two processes that know of each other, as `accelerate launch` starts them."""
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    shared |= environment
    return ended(*(forked(work, RANK=r, LOCAL_RANK=r, **shared) for r in ("0", "1")))


def main(folder: Path) -> dict[str, Any]:
    torch.set_num_threads(1)
    for name in ("whole", "killed", "alone", "pair"):
        tiny_plan(folder / name)
    codes = {
        "whole": ended(forked(lambda: run(folder / "whole"))),
        "killed": ended(forked(lambda: run(folder / "killed", kill=True))),
    }
    seen = [path.name for path in (folder / "killed" / "adapters" / "house").glob("v*")]
    codes["resumed"] = ended(forked(lambda: run(folder / "killed", resume=True)))
    codes["alone"] = ended(forked(lambda: run(folder / "alone", dropout=0)))
    codes["pair"] = together(lambda: run(folder / "pair", dropout=0))
    return {"codes": codes, "seen": seen}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))))
