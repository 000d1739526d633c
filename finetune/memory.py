"""Memory: how much there is, how much was used, and what to lower where it does not suffice."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetune.base_model import Device
from finetune.recipe import TrainRecipe
from ingest.errors import OutOfMemoryError
from ingest.extras import require

CGROUPS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
WORDS = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")
"""What libraries say that raise a RuntimeError where they lack memory."""


def free_memory(device: Device) -> int:
    """Return how many bytes this process can still take: of the GPU, or of the machine's memory.

    The limit of a container counts where it is lower.
    """
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    psutil = require("psutil", extra="finetune")
    free = int(psutil.virtual_memory().available)
    for file in CGROUPS:
        if file.is_file() and (limit := file.read_text(encoding="ascii").strip()).isdigit():
            free = min(free, int(limit) - used_memory("cpu"))
    return free


def used_memory(device: Device) -> int:
    """Return how many bytes this process holds now."""
    if device == "cuda":
        import torch

        return int(torch.cuda.memory_allocated())
    return int(require("psutil", extra="finetune").Process().memory_info().rss)


def peak_memory(device: Device) -> int:
    """Return the most bytes that this process has held."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB elsewhere


def what_to_lower(recipe: TrainRecipe) -> str:
    """Return what saves memory, the cheapest first."""
    ways = []
    if recipe.micro_batch_tokens > recipe.window:
        ways.append(f"train.micro_batch_tokens (now {recipe.micro_batch_tokens})")
    if not recipe.gradient_checkpointing:
        ways.append("train.gradient_checkpointing = true")
    ways.append(f"train.window (now {recipe.window}) with train.micro_batch_tokens")
    if recipe.method == "full":
        ways.append('train.method = "lora"')
    elif recipe.quantisation == "none":
        ways.append('train.quantisation = "nf4" (on a GPU)')
    if recipe.method != "full" and recipe.rank > 8:
        ways.append(f"train.rank (now {recipe.rank})")
    return "In this order: " + ", ".join(ways) + "; or take a smaller base model."


@contextmanager
def explain_memory(recipe: TrainRecipe) -> Iterator[None]:
    """Turn a lack of memory into an error that says what to lower.

    Raises:
        OutOfMemoryError: the memory did not suffice.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch's own is a RuntimeError
        known = isinstance(error, MemoryError) or any(w in str(error).lower() for w in WORDS)
        if not known:
            raise
        said = (str(error).strip() or "MemoryError").splitlines()[0][:200]
        raise OutOfMemoryError(
            f"The memory did not suffice for the training: {said}", hint=what_to_lower(recipe)
        ) from error
