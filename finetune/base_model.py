"""The base model in the form that training needs: the weights that are served, dequantised."""

import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from finetune.gguf_lora import Shape
from ingest.errors import UsageError
from ingest.extras import require
from ingest.model_file import cache_folder

Device = Literal["cpu", "cuda"]
Compute = Literal["float32", "bfloat16"]
"""Type of the frozen weights and of what passes through them."""
KERNELS = 64
"""How many compiled kernels a run keeps. A step uses more than 16, made for its number of tokens,
and the next has another number: the 1,024 that oneDNN and PyTorch keep by default take 2 GB more
and save no time (`docs/log.md`)."""
KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


def training_folder(model_file: Path, sha256: str) -> Path:
    """Return the transformers folder of a GGUF model; made once, then kept in the model cache.

    Training starts from the very weights that are served, dequantised, so the adapter learns to
    correct these and not the ones they were rounded from. `sha256` names the file's bytes.

    Raises:
        UsageError: the file is no model that transformers can read.
    """
    folder = cache_folder() / "training" / sha256[:16]
    if folder.exists():
        return folder
    if model_file.suffix != ".gguf":
        raise UsageError(
            f"{model_file} cannot be fine-tuned: expected a GGUF file.",
            hint='Set engine.model = "file:path/to/model.gguf".',
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _unpack(model_file, part)
        part.rename(folder)
    except OSError:
        if not folder.exists():  # else another process was quicker
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _unpack(model_file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"gguf_file": model_file.name, "local_files_only": True}
    with quiet():
        try:
            loaded = AutoModelForCausalLM.from_pretrained(
                model_file.parent, dtype=torch.float32, **where
            )
            tokenizer = AutoTokenizer.from_pretrained(model_file.parent, **where)
        except ValueError as error:
            raise UsageError(f"{model_file} cannot be fine-tuned: {error}") from error
        if not tokenizer.chat_template:
            raise UsageError(
                f"{model_file} has no chat template, so it cannot answer questions.",
                hint="Use an instruction-tuned model.",
            )
        # transformers refuses to save a model that came from GGUF; a fresh one of the same
        # shape with the same weights has no such past.
        config = loaded.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        from_config: Any = AutoModelForCausalLM.from_config
        plain = from_config(config)
        plain.load_state_dict(loaded.state_dict())
        plain.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a training folder."""
    from transformers import AutoTokenizer

    with quiet():
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def torch_type(compute: Compute) -> Any:
    """Return torch's type of that name."""
    import torch

    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[compute]


def load_model(
    folder: Path,
    *,
    quantisation: Literal["nf4", "none"],
    device: Device,
    compute: Compute,
    double: bool = True,
    placed: bool = True,
) -> Any:
    """Return the causal language model of a training folder, its weights in the type `compute`.

    `nf4` rounds the frozen weights to 4 bits (`double`: their scales to 8); a CPU then holds what
    they stand for in the type `compute`, because it would unpack them twice a step. Without
    `placed`, the weights stay where they are read to, for accelerate to spread them.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    for cache in KERNEL_CACHES:  # read at the first computation
        os.environ.setdefault(cache, str(KERNELS))

    dtype = torch_type(compute)
    options: dict[str, Any] = {}
    if quantisation == "nf4":
        # It warns of an optional kernel for inference, which training does not use.
        logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
        require("bitsandbytes", extra="finetune")
        nf4: Any = BitsAndBytesConfig
        options["quantization_config"] = nf4(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=dtype,
            bnb_4bit_use_double_quant=double,
            bnb_4bit_quant_storage=dtype if device == "cuda" else torch.uint8,
        )
    with quiet():
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            device_map={"": device} if placed else None,
            local_files_only=True,
            **options,
        )
        if quantisation == "nf4" and device == "cpu":
            model = model.dequantize(dtype)
    return model


def best_device() -> Device:
    """Return where training runs: a CUDA GPU if there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def best_compute(device: Device) -> Compute:
    """Return the type that `device` multiplies fastest.

    A processor with instructions for bfloat16 products does twice as many of them a second (382
    against 182 GFLOP/s on two cores); one without is slower than in float32 (137 against 238). It
    is asked what it can do and not timed, so that the same machine always answers the same.
    """
    import torch

    if device == "cuda":
        return "bfloat16"
    can = torch.cpu.get_capabilities()
    return "bfloat16" if can.get("avx512_bf16") or can.get("amx_bf16") else "float32"


def shape_of(config: Any) -> Shape:
    """Return what a transformers `config` says of the attention."""
    return Shape(config.model_type, config.num_attention_heads, config.num_key_value_heads)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' loading bars and advice off the terminal; errors still come through."""
    from transformers.utils import logging as untyped

    transformers_logging: Any = untyped
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # transformers asks itself by a name that it has deprecated.
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
