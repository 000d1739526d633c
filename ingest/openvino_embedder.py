"""Texts become vectors through OpenVINO: on a CPU the same vectors in half the time.

The model is converted once and kept in the model cache. After that neither PyTorch nor transformers
is loaded, so a search begins in a second.
"""

import hashlib
import json
import logging
import os
import queue
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.embed import Embedder, SentenceTransformerEmbedder, apart, load_sentence_transformer
from ingest.errors import ConfigError
from ingest.model_file import cache_folder

log = logging.getLogger(__name__)
BATCH_TOKENS = {"f32": 384, "bf16": 1024}
"""By precision, padding included: three chunks of 128 tokens, or 48 questions of 8. What a layer
hands on stays in the cache of its processor then (`docs/log.md`); bf16 has half the bytes, and was
not measured."""
STEP = 8
"""Lengths are padded to multiples of this, so that kernels made for one shape serve many."""
Choice = Literal["auto", "torch", "openvino"]


def choose_embedder(name: str, path: Path, backend: Choice) -> Embedder:
    """Return the embedder for a model: `auto` takes what is quickest on this machine.

    That is PyTorch where there is a GPU, and else OpenVINO, in bfloat16 if the processor has
    instructions for it and in float32 if not.
    """
    if backend == "torch" or (backend == "auto" and (_has_gpu() or find_spec("openvino") is None)):
        return SentenceTransformerEmbedder(name, path)
    embedder = OpenVinoEmbedder(name, path)
    try:
        embedder.convert()
    except ConversionError as error:
        if backend == "openvino":
            raise ConfigError(
                f"{name} cannot be converted for OpenVINO: {error}",
                hint='Set backend = "torch" in [embedding].',
            ) from None
        log.warning("%s cannot be converted for OpenVINO (%s); PyTorch runs it.", name, error)
        return SentenceTransformerEmbedder(name, path)
    return embedder


class ConversionError(Exception):
    """The model is not one that OpenVINO takes."""


class Loaded(NamedTuple):
    """What turns texts into the inputs of a converted model."""

    inputs: Sequence[str]
    tokenizer: Any
    """Cuts at `max_tokens`."""
    counter: Any
    """Does not cut."""
    max_tokens: int
    pad_id: int


class OpenVinoEmbedder:
    """A sentence-transformers model, converted for OpenVINO, on the CPU."""

    def __init__(self, name: str, path: Path, *, precision: str | None = None) -> None:
        """Take the model `name` from `path`; it is loaded when it is first needed.

        `precision` is `f32` or `bf16`; None takes bf16 where the processor computes in it.
        """
        self.name = name
        self._path = path
        self._precision = precision or _best_precision()
        self.backend = f"openvino-{self._precision}"
        self._loading = threading.Lock()
        self._loaded: Loaded | None = None
        self._compiled: dict[str, Any] = {}

    @property
    def max_tokens(self) -> int:
        """Longer texts would be cut."""
        return self._model.max_tokens

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one row a text: shape (len(texts), dimension), float32, L2 norm 1."""
        if not texts:
            return np.empty((0, 0), dtype=np.float32)
        model = self._model
        encoded = model.tokenizer.encode_batch_fast(list(texts))
        batches = list(_batches([len(one.ids) for one in encoded], BATCH_TOKENS[self._precision]))
        # One question is soonest done by all threads, many batches by one or two threads each.
        compiled = self._compiled_for("LATENCY" if len(batches) == 1 else "THROUGHPUT")
        outs = _side_by_side(
            compiled, batches, lambda places: _padded([encoded[n] for n in places], model)
        )
        rows = np.empty((len(texts), outs[0].shape[1]), dtype=np.float32)
        for places, out in zip(batches, outs, strict=True):
            rows[places] = out
        unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def tokenize(self, text: str) -> list[str]:
        """Return the model's tokens of `text`, special tokens left out."""
        tokens: list[str] = self._model.counter.encode(text, add_special_tokens=False).tokens
        return tokens

    def convert(self) -> Path:
        """Return the folder of the converted model, after converting it if need be.

        Raises:
            ConversionError: OpenVINO cannot run it.
        """
        folder = self._path if self._path.exists() else _snapshot(self._path)
        target = cache_folder() / "openvino" / _key(folder)
        if not target.exists():
            part = target.with_suffix(f".{os.getpid()}")
            part.mkdir(parents=True, exist_ok=True)
            try:
                apart(lambda: _convert(folder, part))
                part.rename(target)
            except OSError:
                if not target.exists():  # else another process was quicker
                    raise
            finally:
                shutil.rmtree(part, ignore_errors=True)
        return target

    @property
    def _model(self) -> Loaded:
        with self._loading:
            if self._loaded is None:
                self._loaded = _load(self.convert())
            return self._loaded

    def _compiled_for(self, hint: str) -> Any:
        """Return the model as OpenVINO runs it, made at the first need of each `hint`."""
        with self._loading:
            if hint not in self._compiled:
                self._compiled[hint] = _compile(self.convert(), self._precision, hint)
            return self._compiled[hint]


def _load(folder: Path) -> Loaded:
    import tokenizers

    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    tokenizer, counter = (
        tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")) for _ in range(2)
    )
    for one in (tokenizer, counter):
        one.no_padding()
        one.no_truncation()
    tokenizer.enable_truncation(facts["max_tokens"])
    return Loaded(facts["inputs"], tokenizer, counter, facts["max_tokens"], facts["pad_id"])


def _compile(folder: Path, precision: str, hint: str) -> Any:
    import openvino

    core = openvino.Core()
    model = core.read_model(folder / "model.xml")
    if precision == "f32" and _ends_at_avx2():
        write_out_gelu(model)
    return core.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": hint,
            # A thread bound to its processor waits for whatever else runs there, the others for it.
            "ENABLE_CPU_PINNING": False,
        },
    )


def write_out_gelu(model: Any) -> None:
    """Replace GELU(x) = x (1 + erf(x / sqrt 2)) / 2 by the same in single steps.

    OpenVINO computes a GELU that it recognises together with the matrix product before it, and on
    AVX2 the kernel that can do both is slower than its other one and the steps (`docs/log.md`).
    """
    import openvino.opset13 as op

    for gelu in model.get_ordered_ops():
        if gelu.get_type_name() != "Gelu" or gelu.get_attributes()["approximation_mode"] != "ERF":
            continue
        x = gelu.input_value(0)
        half, root = (op.constant(one, x.get_element_type()) for one in (0.5, 0.5**0.5))
        targets = list(gelu.output(0).get_target_inputs())
        # Not x times a sum: that would be recognised again.
        written = op.multiply(op.add(x, op.multiply(op.erf(op.multiply(x, root)), x)), half)
        for target in targets:
            target.replace_source_output(written.output(0))
    model.validate_nodes_and_infer_types()


def _ends_at_avx2() -> bool:
    """Return whether there is AVX2 and no AVX-512, as NumPy calls them from 2.4 on and before."""
    found: set[str] = set(np.show_config(mode="dicts")["SIMD Extensions"]["found"])
    return bool(found & {"X86_V3", "AVX2"}) and not found & {"X86_V4", "AVX512F"}


def _side_by_side(
    compiled: Any,
    batches: Sequence[list[int]],
    feed: Callable[[list[int]], dict[str, NDArray[np.int64]]],
) -> list[Any]:
    """Return what the model makes of each batch, as many at once as it has streams.

    In threads of ours: OpenVINO's own queue calls back into Python, and a model that is let go
    while its thread still waits for Python's lock waits for that thread, for ever.
    """
    streams = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
    idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
    crew = min(streams, len(batches))
    for _ in range(crew):
        idle.put(compiled.create_infer_request())

    def infer(places: list[int]) -> Any:
        request = idle.get()
        try:
            return request.infer(feed(places))[0]
        finally:
            idle.put(request)

    if crew == 1:
        return [infer(places) for places in batches]
    with ThreadPoolExecutor(crew) as pool:
        return list(pool.map(infer, batches))


def _convert(source: Path, target: Path) -> None:
    import openvino
    import torch

    model = load_sentence_transformer(source).eval().requires_grad_(requires_grad=False)
    tokenizer: Any = getattr(model, "tokenizer", None)
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise ConversionError("it has no fast tokenizer")
    example = dict(tokenizer(["An example.", "Another one."], return_tensors="pt", padding=True))
    inputs = list(example)

    class Whole(torch.nn.Module):
        """Tokens to vectors, pooling included."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> Any:
            features = self.model(dict(zip(inputs, tensors, strict=True)))
            return features["sentence_embedding"]

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer's notes are for those who trace
            converted = _traced(Whole(), tuple(example[name] for name in inputs))
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise ConversionError(f"{error!r:.200}") from error
    for place, port in zip(inputs, converted.inputs, strict=True):
        port.get_node().set_partial_shape(openvino.PartialShape([-1, -1]))
        port.get_node().set_element_type(openvino.Type.i64)
        port.get_tensor().set_names({place})
    converted.validate_nodes_and_infer_types()
    openvino.save_model(converted, target / "model.xml", compress_to_fp16=False)
    tokenizer.backend_tokenizer.save(str(target / "tokenizer.json"))
    facts = {
        "inputs": inputs,
        "max_tokens": int(model.max_seq_length or 512),
        "pad_id": int(tokenizer.pad_token_id or 0),
    }
    (target / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def _traced(module: Any, example: tuple[Any, ...]) -> Any:
    """Return OpenVINO's model of a PyTorch module.

    `openvino.convert_model` would do the same and tell its maker of it, without asking.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    pytorch = FrontEndManager().load_by_framework("pytorch")
    # OpenVINO refers to the decoder and does not keep it: it must outlive the conversion.
    decoder = TorchScriptPythonDecoder(module, example_input=example)
    loaded = pytorch.load(decoder)
    return pytorch.convert(loaded)


def _batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Yield places of texts that are run together, about `most` tokens: longest texts first.

    All batches are about as large, since a small one at the end would take more than its share.
    """
    order = sorted(range(len(lengths)), key=lambda n: -lengths[n])
    total = sum(map(_padded_length, lengths))
    tokens = total / max(1, round(total / most))
    batch: list[int] = []
    for place in order:
        batch.append(place)
        if (len(batch) + 0.5) * _padded_length(lengths[batch[0]]) > tokens:
            yield batch
            batch = []
    if batch:
        yield batch


def _padded_length(length: int) -> int:
    return -(-length // STEP) * STEP


def _padded(encoded: Sequence[Any], model: Loaded) -> dict[str, NDArray[np.int64]]:
    """Return the model's inputs, each of shape (len(encoded), longest)."""
    width = min(_padded_length(max(len(one.ids) for one in encoded)), model.max_tokens)
    ids = np.full((len(encoded), width), model.pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, one in enumerate(encoded):
        ids[row, : len(one.ids)] = one.ids
        mask[row, : len(one.ids)] = 1
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return {name: given[name] for name in model.inputs}


def _key(folder: Path) -> str:
    """Name a model folder and the version that converts it, without reading its weights."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    state = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    what = (str(folder.resolve()), state, version("openvino"), "2")
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


def _snapshot(repository: Path) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(str(repository)))


def _best_precision() -> str:
    import openvino

    core = openvino.Core()
    return "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


def _has_gpu() -> bool:
    """Return whether PyTorch may find a GPU; asking it would take seconds."""
    return any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg"))
