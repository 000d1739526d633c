from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from finetune.merge import WeightType, merge
from ingest.errors import UsageError

RNG = np.random.default_rng(0)
SHAPES = {
    "token_embd.weight": (10, 64),
    "blk.0.attn_q.weight": (32, 64),
    "blk.0.attn_v.weight": (16, 64),
    "blk.0.attn_norm.weight": (64,),
}
TOLERANCE = {"f32": 1e-5, "f16": 2e-2, "q8_0": 2e-1}
"""Largest rounding of one weight; the weights are around 1 and the adapter adds around 20."""


def write_base(path: Path, *, kind: Any = gguf.GGMLQuantizationType.Q8_0) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("tokenizer.chat_template", "{{ messages }}")
    writer.add_token_list(["a", "b<|im_end|>"])
    writer.add_uint32("llama.block_count", 1)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    for name, shape in SHAPES.items():
        matrix = RNG.normal(size=shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(name, matrix)
        else:
            writer.add_tensor(name, gguf.quantize(matrix, kind), raw_dtype=kind)
    finish(writer)


def write_lora(path: Path, *, alpha: float = 6.0, **shapes: tuple[int, int]) -> dict[str, Any]:
    """Write a LoRA of rank 2 for `name=(out, in)` and return what it adds to each matrix."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    added = {}
    for short, (out, inner) in shapes.items():
        a = RNG.normal(size=(2, inner)).astype(np.float32)
        b = RNG.normal(size=(out, 2)).astype(np.float32)
        writer.add_tensor(f"blk.0.{short}.weight.lora_a", a)
        writer.add_tensor(f"blk.0.{short}.weight.lora_b", b)
        added[f"blk.0.{short}.weight"] = alpha / 2 * b @ a
    finish(writer)
    return added


def finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def matrices(path: Path) -> dict[str, Any]:
    return {t.name: gguf.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    write_base(tmp_path / "base.gguf")
    return tmp_path / "base.gguf"


@pytest.mark.parametrize("weights", ["f32", "f16", "q8_0"])
def test_the_adapter_is_added_and_everything_else_stays(
    base: Path, tmp_path: Path, weights: WeightType
) -> None:
    added = write_lora(tmp_path / "lora.gguf", attn_q=(32, 64), attn_v=(16, 64))
    merge(base, tmp_path / "lora.gguf", tmp_path / "full.gguf", weights=weights)
    before, after = matrices(base), matrices(tmp_path / "full.gguf")
    assert list(before) == list(after)
    for name, matrix in before.items():
        expected = matrix + added.get(name, 0)
        np.testing.assert_allclose(after[name], expected, atol=TOLERANCE[weights])
    np.testing.assert_array_equal(after["blk.0.attn_norm.weight"], before["blk.0.attn_norm.weight"])


def test_tokenizer_and_chat_template_are_carried_over(base: Path, tmp_path: Path) -> None:
    write_lora(tmp_path / "lora.gguf", attn_q=(32, 64))
    merge(base, tmp_path / "lora.gguf", tmp_path / "full.gguf", weights="f16")
    fields = gguf.GGUFReader(tmp_path / "full.gguf").fields
    assert fields["tokenizer.chat_template"].contents() == "{{ messages }}"
    assert fields["tokenizer.ggml.tokens"].contents() == ["a", "b<|im_end|>"]
    assert fields["general.file_type"].contents() == gguf.LlamaFileType.MOSTLY_F16
    assert fields["llama.block_count"].contents() == 1


def test_merging_again_gives_the_same_bytes(base: Path, tmp_path: Path) -> None:
    write_lora(tmp_path / "lora.gguf", attn_q=(32, 64))
    for name in ("one", "two"):
        merge(base, tmp_path / "lora.gguf", tmp_path / name, weights="q8_0")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_an_adapter_for_another_shape_is_refused_and_all_of_it_named(
    base: Path, tmp_path: Path
) -> None:
    write_lora(tmp_path / "lora.gguf", attn_q=(16, 64), ffn_up=(32, 64))
    with pytest.raises(UsageError, match=r"attn_q.*\(32, 64\), expected \(16, 64\).*ffn_up.*miss"):
        merge(base, tmp_path / "lora.gguf", tmp_path / "full.gguf", weights="q8_0")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base.gguf", "lora.gguf"]


def test_a_file_that_is_no_adapter_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a LoRA"):
        merge(base, base, tmp_path / "full.gguf", weights="q8_0")
