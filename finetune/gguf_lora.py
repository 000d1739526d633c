"""A PEFT adapter as the GGUF LoRA that llama.cpp and Ollama load."""

import difflib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ingest.errors import UsageError
from ingest.extras import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ARCHITECTURES = {"llama": "llama"}
"""transformers' `model_type` -> the architecture's name in GGUF."""

LAYERS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""A layer's name in transformers -> its name in GGUF."""


class Shape(NamedTuple):
    """What of a base model decides the layout of its attention."""

    architecture: str
    """transformers' `model_type`."""
    heads: int
    kv_heads: int


def permute(rows: "NDArray[np.float32]", heads: int) -> "NDArray[np.float32]":
    """Reorder the output rows of a q or k matrix from transformers' rotary layout to llama.cpp's.

    transformers rotates the two halves of a head against each other, llama.cpp neighbouring pairs.
    `rows` has the shape (heads * head size, n).
    """
    out, n = rows.shape
    return rows.reshape(heads, 2, out // heads // 2, n).swapaxes(1, 2).reshape(out, n)


def write_gguf_lora(adapter: Path, shape: Shape, destination: Path) -> None:
    """Write the PEFT adapter in folder `adapter` as a GGUF LoRA in float32.

    Raises:
        UsageError: the adapter or its base holds something that GGUF cannot carry; names all of it.
    """
    gguf = require("gguf", extra="finetune")
    safetensors = require("safetensors.numpy", extra="finetune")
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    tensors = safetensors.load_file(adapter / "adapter_model.safetensors")
    refuse_what_gguf_cannot_carry(config, shape, sorted(tensors))

    writer = gguf.GGUFWriter(destination, ARCHITECTURES[shape.architecture])
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", _alpha(config))
    for name, tensor in sorted(tensors.items()):
        writer.add_tensor(_gguf_name(name), _gguf_rows(name, tensor, shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def check_architecture(shape: Shape) -> None:
    """Refuse a base model that no adapter can be exported for.

    Raises:
        UsageError: names its architecture and those that are known.
    """
    if shape.architecture not in ARCHITECTURES:
        raise UsageError(
            f"The base model's architecture is {shape.architecture!r}, and an adapter can be "
            f"exported for: {', '.join(ARCHITECTURES)}.",
            hint="Set `base` in the recipe, or engine.model, to a model of a known architecture.",
        )


def check_targets(targets: Sequence[str], layers: Sequence[str]) -> None:
    """Refuse targets that are no layers of the model, or have no place in a GGUF LoRA.

    `layers` are the full names of the model's linear layers, as transformers calls them.

    Raises:
        UsageError: names them, and the nearest that there are.
    """
    carried = {layer.rpartition(".")[2] for layer in LAYERS}
    known = sorted({name.rpartition(".")[2] for name in layers} & carried)
    problems = []
    for target in targets:
        if target not in known:
            near = difflib.get_close_matches(target, known, n=3, cutoff=0.5)
            advice = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(known)}"
            problems.append(f"{target!r} ({advice})")
    if problems:
        raise UsageError(
            f"train.targets: the model has no such layers to adapt: {'; '.join(problems)}.",
            hint='Write targets = "all-linear" to take every one.',
        )


def refuse_what_gguf_cannot_carry(config: dict[str, Any], shape: Shape, tensors: list[str]) -> None:
    """Check that nothing of an adapter would be lost.

    Raises:
        UsageError: names everything that would be.
    """
    problems = []
    if shape.architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        problems.append(f"base architecture {shape.architecture!r}; known: {known}")
    if config.get("use_dora"):
        problems.append("use_dora = true")
    if config.get("bias", "none") != "none":
        problems.append(f"bias = {config['bias']!r}")
    for key in ("modules_to_save", "rank_pattern", "alpha_pattern"):
        if config.get(key):
            problems.append(f"{key} = {config[key]!r}")
    problems += [f"tensor {name}" for name in tensors if _parts(name) is None]
    if problems:
        raise UsageError(
            f"This adapter cannot be written as GGUF: {'; '.join(problems)}.",
            hint="Train plain LoRA matrices of the linear layers of a Llama model.",
        )


def _alpha(config: dict[str, Any]) -> float:
    # llama.cpp always divides by the rank; rank-stabilised LoRA divides by its square root.
    alpha, rank = float(config["lora_alpha"]), int(config["r"])
    return alpha * math.sqrt(rank) if config.get("use_rslora") else alpha


class _Parts(NamedTuple):
    block: int
    layer: str
    side: str


def _parts(name: str) -> _Parts | None:
    pieces = name.removeprefix("base_model.model.").split(".")
    if len(pieces) != 7 or pieces[:2] != ["model", "layers"] or not pieces[2].isdigit():
        return None
    layer, side, kind = ".".join(pieces[3:5]), pieces[5], pieces[6]
    if layer not in LAYERS or side not in ("lora_A", "lora_B") or kind != "weight":
        return None
    return _Parts(int(pieces[2]), layer, side)


def _gguf_name(name: str) -> str:
    parts = _parts(name)
    assert parts is not None  # refused before
    return f"blk.{parts.block}.{LAYERS[parts.layer]}.weight.{parts.side.lower()}"


def _gguf_rows(name: str, tensor: "NDArray[Any]", shape: Shape) -> "NDArray[np.float32]":
    rows = tensor.astype("float32")
    if name.endswith("q_proj.lora_B.weight"):
        return permute(rows, shape.heads)
    if name.endswith("k_proj.lora_B.weight"):
        return permute(rows, shape.kv_heads)
    return rows
