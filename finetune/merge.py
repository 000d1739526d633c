"""A base model and an adapter as one whole GGUF, for servers that refuse LoRA."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from finetune.gguf_lora import Shape, permute
from ingest.errors import UsageError
from ingest.extras import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WeightType = Literal["q8_0", "f16", "f32"]
WEIGHT_TYPES: tuple[WeightType, ...] = get_args(WeightType)
ROUND = 32
"""Columns of a q8_0 matrix come in blocks of this many."""


class Pair(NamedTuple):
    """The two matrices that an adapter adds to one of the base: `scale * b @ a`."""

    a: "NDArray[np.float32]"  # (rank, in)
    b: "NDArray[np.float32]"  # (out, rank)
    scale: float


def merge(
    base: Path,
    lora: Path,
    destination: Path,
    *,
    weights: WeightType,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write `base` with `lora` worked into its matrices, which are stored as `weights`.

    The sum is formed in float32 from the dequantised base and rounded once. Vectors stay float32;
    metadata (tokenizer, chat template, shape) are the base's own. The same input gives the same
    bytes. `report` is called with the tensors done and their number.

    Raises:
        UsageError: the adapter is no GGUF LoRA, or belongs to a model of another shape; names all
            that does not fit. Nothing is written.
    """
    gguf = require("gguf", extra="finetune")
    reader = gguf.GGUFReader(base)
    pairs = read_pairs(lora, architecture=_field(reader, "general.architecture"))
    _refuse_misfits(reader, pairs, lora)
    part = destination.with_name(f".{destination.name}.part")
    writer = gguf.GGUFWriter(part, _field(reader, "general.architecture"))
    try:
        _copy_metadata(reader, writer, weights)
        for done, tensor in enumerate(reader.tensors, start=1):
            _add(writer, tensor, pairs.get(tensor.name), weights)
            report(done, len(reader.tensors))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        part.replace(destination)
    finally:
        part.unlink(missing_ok=True)


def write_tuned(
    base: Path,
    tuned: Mapping[str, Any],
    shape: Shape,
    destination: Path,
    *,
    weights: WeightType,
) -> None:
    """Write `base` with the weights `tuned`, which are named as transformers names them.

    What `tuned` does not hold is the base's own; a head that shares the embedding's weights is
    written as that.
    """
    gguf = require("gguf", extra="finetune")
    reader = gguf.GGUFReader(base)
    architecture = _field(reader, "general.architecture")
    blocks = int(_field(reader, f"{architecture}.block_count"))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, blocks)
    matrices = {}
    for name, tensor in tuned.items():
        matrix = tensor.float().numpy()
        if name.endswith("q_proj.weight"):
            matrix = permute(matrix, shape.heads)
        if name.endswith("k_proj.weight"):
            matrix = permute(matrix, shape.kv_heads)
        matrices[names.get_name(name, try_suffixes=(".weight",))] = matrix
    if "output.weight" not in matrices:
        matrices["output.weight"] = matrices["token_embd.weight"]
    writer = gguf.GGUFWriter(destination, architecture)
    _copy_metadata(reader, writer, weights)
    for tensor in reader.tensors:
        old = gguf.dequantize(tensor.data, tensor.tensor_type)
        matrix = matrices.get(tensor.name, old)
        _store(writer, tensor, matrix, weights, changed=matrix.ndim == 2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_pairs(lora: Path, *, architecture: str) -> dict[str, Pair]:
    """Return the matrices of a GGUF LoRA by the name of the base's matrix they are added to.

    Raises:
        UsageError: not a LoRA for `architecture`, or a matrix without its partner.
    """
    gguf = require("gguf", extra="finetune")
    reader = gguf.GGUFReader(lora)
    kind = (_field(reader, "general.type"), _field(reader, "adapter.type"))
    if kind != ("adapter", "lora") or _field(reader, "general.architecture") != architecture:
        raise UsageError(
            f"{lora} is not a LoRA for the architecture {architecture!r}: found {kind} "
            f"for {_field(reader, 'general.architecture')!r}."
        )
    alpha = float(_field(reader, "adapter.lora.alpha"))
    sides: dict[str, dict[str, Any]] = {}
    for tensor in reader.tensors:
        name, _, side = tensor.name.rpartition(".lora_")
        sides.setdefault(name, {})[side] = gguf.dequantize(tensor.data, tensor.tensor_type)
    alone = sorted(name for name, found in sides.items() if set(found) != {"a", "b"})
    if alone:
        raise UsageError(f"{lora} lacks one of the two matrices of: {', '.join(alone)}.")
    return {
        name: Pair(found["a"], found["b"], alpha / len(found["a"])) for name, found in sides.items()
    }


def _refuse_misfits(reader: Any, pairs: Mapping[str, Pair], lora: Path) -> None:
    # GGUF lists a shape from the innermost dimension: (in, out).
    shapes = {t.name: tuple(int(n) for n in reversed(t.shape)) for t in reader.tensors}
    problems = []
    for name, pair in sorted(pairs.items()):
        wanted = (pair.b.shape[0], pair.a.shape[1])
        if shapes.get(name) != wanted:
            problems.append(f"{name} is {shapes.get(name, 'missing')}, expected {wanted}")
    if problems:
        raise UsageError(f"{lora} is for another base model: {'; '.join(problems)}.")


def _copy_metadata(reader: Any, writer: Any, weights: WeightType) -> None:
    import gguf

    file_types = {
        "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
        "f16": gguf.LlamaFileType.MOSTLY_F16,
        "f32": gguf.LlamaFileType.ALL_F32,
    }
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        if field.name == "general.file_type":
            continue
        inner = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    writer.add_file_type(file_types[weights])


def _add(writer: Any, tensor: Any, pair: Pair | None, weights: WeightType) -> None:
    import gguf
    import numpy as np

    matrix = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
    if pair is not None:
        matrix = matrix + np.float32(pair.scale) * (pair.b @ pair.a)
    _store(writer, tensor, matrix, weights, changed=pair is not None)


def _store(
    writer: Any, tensor: Any, matrix: Any, weights: WeightType, *, changed: bool = False
) -> None:
    """Add `matrix` in place of the base's `tensor`; vectors stay float32."""
    import gguf
    import numpy as np

    types = {
        "q8_0": gguf.GGMLQuantizationType.Q8_0,
        "f16": gguf.GGMLQuantizationType.F16,
        "f32": gguf.GGMLQuantizationType.F32,
    }
    kept = tensor.tensor_type == gguf.GGMLQuantizationType.F32 and not changed
    uneven = weights == "q8_0" and matrix.shape[-1] % ROUND != 0
    if kept or uneven or weights == "f32":
        writer.add_tensor(tensor.name, matrix.astype(np.float32))
    else:
        data = gguf.quantize(matrix, types[weights])
        writer.add_tensor(tensor.name, data, raw_dtype=types[weights])


def _field(reader: Any, name: str) -> Any:
    field = reader.fields.get(name)
    return None if field is None else field.contents()
