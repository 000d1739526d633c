import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from safetensors.numpy import save_file

from finetune.gguf_lora import Shape, permute, refuse_what_gguf_cannot_carry, write_gguf_lora
from ingest.errors import UsageError

SHAPE = Shape("llama", heads=4, kv_heads=2)
CONFIG = {"r": 2, "lora_alpha": 6, "bias": "none"}


def write_adapter(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    sizes = {"q_proj": 32, "k_proj": 16, "v_proj": 16}
    tensors = {}
    for layer, out in sizes.items():
        name = f"base_model.model.model.layers.0.self_attn.{layer}"
        tensors[f"{name}.lora_A.weight"] = rng.normal(size=(2, 32)).astype(np.float32)
        tensors[f"{name}.lora_B.weight"] = rng.normal(size=(out, 2)).astype(np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return tensors


def undo(rows: Any, heads: int) -> Any:
    out, n = rows.shape
    return rows.reshape(heads, out // heads // 2, 2, n).swapaxes(1, 2).reshape(out, n)


def test_the_permutation_can_be_undone() -> None:
    rows = np.arange(96, dtype=np.float32).reshape(32, 3)
    np.testing.assert_array_equal(undo(permute(rows, 4), 4), rows)
    assert not np.array_equal(permute(rows, 4), rows)


def test_halves_of_a_head_become_neighbouring_pairs() -> None:
    one_head = np.arange(6, dtype=np.float32)[:, None]
    assert permute(one_head, 1).ravel().tolist() == [0, 3, 1, 4, 2, 5]


def test_the_written_file_holds_every_matrix_with_q_and_k_permuted(tmp_path: Path) -> None:
    tensors = write_adapter(tmp_path, CONFIG)
    write_gguf_lora(tmp_path, SHAPE, tmp_path / "lora.gguf")
    reader = gguf.GGUFReader(tmp_path / "lora.gguf")
    written = {t.name: t.data for t in reader.tensors}
    assert len(written) == len(tensors)
    prefix = "base_model.model.model.layers.0.self_attn"
    for layer, heads in (("q", 4), ("k", 2)):
        b = written[f"blk.0.attn_{layer}.weight.lora_b"]
        np.testing.assert_array_equal(
            undo(b, heads), tensors[f"{prefix}.{layer}_proj.lora_B.weight"]
        )
    for side in ("a", "b"):
        np.testing.assert_array_equal(
            written[f"blk.0.attn_v.weight.lora_{side}"],
            tensors[f"{prefix}.v_proj.lora_{side.upper()}.weight"],
        )
    field = reader.get_field("adapter.lora.alpha")
    assert field is not None
    assert field.contents() == 6


def test_rank_stabilised_scaling_is_written_into_alpha(tmp_path: Path) -> None:
    write_adapter(tmp_path, {**CONFIG, "use_rslora": True})
    write_gguf_lora(tmp_path, SHAPE, tmp_path / "lora.gguf")
    field = gguf.GGUFReader(tmp_path / "lora.gguf").get_field("adapter.lora.alpha")
    assert field is not None
    assert field.contents() / 2 == pytest.approx(6 / 2**0.5)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    ],
)
def test_what_gguf_cannot_carry_is_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        refuse_what_gguf_cannot_carry({**CONFIG, **change}, SHAPE, [])


def test_an_unknown_tensor_and_architecture_are_both_named() -> None:
    with pytest.raises(UsageError, match=r"'gpt2'.*lm_head"):
        refuse_what_gguf_cannot_carry(
            CONFIG, Shape("gpt2", 1, 1), ["base_model.model.lm_head.lora_A.weight"]
        )
