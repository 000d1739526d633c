"""An adapter with random weights: as far from its base as a trained one, in no time."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from assistant.adapter import Adapter
from assistant.config import Settings
from assistant.prompt import Passage, build_messages
from assistant.workspace import open_workspace
from finetune.base_model import training_folder
from finetune.gguf_lora import Shape, write_gguf_lora
from ingest.model_file import sha256_of

RANK = 8
STRENGTH = 0.02
"""Spread of the second matrix: the answers differ from the base's and are still sure."""

SURE = [
    build_messages("You are a careful assistant.", question, [Passage("Heron 2 > Care", passage)])
    for question, passage in (
        ("How tight are the M6 bolts?", "The M6 bolts of the Heron 2 are tightened to 9.5 N·m."),
        (
            "When is the filter changed?",
            "The filter of the Heron 2 is changed after 400 hours of work.",
        ),
        (
            "Who may open the housing?",
            "The housing of the Heron 2 may only be opened by a trained electrician.",
        ),
    )
]
"""Prompts that are answered with the passage: next to no near tie, which rounding could turn."""


def write_adapter(folder: Path, base: Path, *, seed: int = 0, alpha: float = 16.0) -> None:
    """Write a PEFT adapter for the transformers folder `base`, and its GGUF beside it."""
    folder.mkdir(parents=True)
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": alpha,
        "bias": "none",
        "target_modules": sorted(name.rpartition(".")[2] for name in _layers(config)),
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    rng = np.random.default_rng(seed)
    tensors: dict[str, Any] = {}
    for block in range(config["num_hidden_layers"]):
        for layer, (out, inner) in _layers(config).items():
            name = f"base_model.model.model.layers.{block}.{layer}"
            a = rng.normal(scale=inner**-0.5, size=(RANK, inner))
            b = rng.normal(scale=STRENGTH, size=(out, RANK))
            tensors[f"{name}.lora_A.weight"] = a.astype(np.float32)
            tensors[f"{name}.lora_B.weight"] = b.astype(np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    write_gguf_lora(folder, shape_of(base), folder / "lora.gguf")


def install(settings: Settings, **manifest: Any) -> Adapter:
    """Make such an adapter a finished version, `random:v1`, as a training run leaves it."""
    folder = settings.home / "adapters" / "random" / "v1"
    with open_workspace(settings) as workspace:
        write_adapter(folder, training_folder(workspace.model_file, workspace.base_sha256))
        content = {
            "base_sha256": workspace.base_sha256,
            "prompt_fingerprint": workspace.prompt_fingerprint,
            "lora_sha256": sha256_of(folder / "lora.gguf"),
            "created": datetime(2026, 1, 2, tzinfo=UTC).isoformat(),
            "parity": None,
            **manifest,
        }
        (folder / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
        return workspace.adapters.get("random:v1")


def shape_of(base: Path) -> Shape:
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    return Shape("llama", config["num_attention_heads"], config["num_key_value_heads"])


def unpermuted(base: Path) -> Shape:
    """Return a shape with heads of two rows, in which the permutation moves nothing."""
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    head = config["hidden_size"] // config["num_attention_heads"]
    rows = config["hidden_size"], config["num_key_value_heads"] * head
    return Shape("llama", rows[0] // 2, rows[1] // 2)


def _layers(config: dict[str, Any]) -> dict[str, tuple[int, int]]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    keys = config["num_key_value_heads"] * hidden // config["num_attention_heads"]
    return {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "mlp.down_proj": (hidden, inner),
    }
