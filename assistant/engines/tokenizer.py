"""A model's tokenizer and chat template, read from its GGUF file without loading its weights.

A server's prompt is rendered and counted here before it is sent. llama.cpp tokenizes, as it does
behind every engine, but it loads a whole model or nothing: so the vocabulary is written once,
beside the other cached models, into a model of one layer and no knowledge: a few megabytes.
"""

import hashlib
import json
import os
import struct
import threading
import urllib.request
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from assistant.engines.engine import Message
from assistant.gguf_header import STRING, Header, open_header
from ingest.errors import ConfigError, EngineError
from ingest.model_file import cache_folder

WIDTH = 32  # of the shell's only layer; one block of the Q8_0 type
CONTEXT_TOKENS = 32  # the shell generates nothing
ALIGNMENT = 32
F32, Q8_0 = 0, 8
UINT32, FLOAT32 = 4, 6
SHELL_NUMBERS = {
    "context_length": CONTEXT_TOKENS,
    "embedding_length": WIDTH,
    "block_count": 1,
    "feed_forward_length": WIDTH,
    "attention.head_count": 1,
    "attention.head_count_kv": 1,
    "rope.dimension_count": WIDTH,
}
SQUARES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
QUIET = -1


class Prompt(NamedTuple):
    """What a model reads."""

    text: str
    tokens: list[int]
    """Their ids."""


class GgufTokenizer:
    """Turns messages into the text and the token ids that the model in a GGUF file reads."""

    def __init__(self, model: Path) -> None:
        """Read the GGUF file `model`.

        Raises:
            ConfigError: it is not a GGUF model, or has no chat template.
        """
        self._model = model
        self._loading = threading.Lock()
        with open_header(model) as header:
            self._template = header.text("tokenizer.chat_template")
            self._bos = _token(header, "bos")
            self._eos = _token(header, "eos")
            ends = [self._eos, _token(header, "eot")]
            self._adds_bos = _adds_bos(header)
        if not self._template:
            raise ConfigError(
                f"{model.name} carries no chat template, so it cannot be asked with messages.",
                hint="Take an instruction-tuned model.",
            )
        self.end_tokens = tuple(dict.fromkeys(end for end in ends if end))
        """The texts of the tokens that end a turn."""

    def render(self, messages: Sequence[Message]) -> str:
        """Return the prompt text that `messages` become, ready for the model's next turn.

        Raises:
            EngineError: the model's chat template refuses the messages.
        """
        from jinja2 import TemplateError

        turns = [{"role": m.role, "content": m.content} for m in messages]
        try:
            text: str = self._compiled.render(
                messages=turns,
                add_generation_prompt=True,
                bos_token=self._bos,
                eos_token=self._eos,
            )
        except TemplateError as error:
            raise EngineError(f"The chat template of {self._model.name} says: {error}") from None
        # llama.cpp puts the first token there itself; twice would be another prompt.
        return text.removeprefix(self._bos) if self._adds_bos else text

    def prompt(self, messages: Sequence[Message]) -> Prompt:
        """Return the prompt that `messages` become."""
        text = self.render(messages)
        return Prompt(text, self.ids(text))

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a prompt; control tokens in it count as such."""
        found: list[int] = self._post(
            "/tokenize", {"content": text, "add_special": True, "parse_special": True}
        )["tokens"]
        return found

    @cached_property
    def end_ids(self) -> list[int]:
        """The ids of `end_tokens`."""
        return [self.ids(end)[-1] for end in self.end_tokens]

    def close(self) -> None:
        """Let go of the tokenizer; the next call loads it again."""
        self.__dict__.pop("_server", None)

    @cached_property
    def _compiled(self) -> Any:
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        # The same environment as that of transformers, which renders the rows of a training.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda style: datetime.now().strftime(style)
        return environment.from_string(self._template)

    @cached_property
    def _server(self) -> Any:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(shell_of(self._model))
        params.n_ctx = CONTEXT_TOKENS
        params.n_parallel = 1
        params.cpuparams.n_threads = 1
        params.cpuparams_batch.n_threads = 1
        params.warmup = False
        params.verbosity = QUIET
        try:
            return xllamacpp.Server(params)
        except RuntimeError as error:
            raise EngineError(
                f"The tokenizer of {self._model.name} cannot be loaded: {error}"
            ) from None

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        with self._loading:  # two threads must not load it twice
            address = self._server.listening_address
        call = urllib.request.Request(
            address + path,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(call, timeout=30) as response:
                return json.load(response)
        except OSError as error:
            raise EngineError(f"The tokenizer does not answer on its own port: {error}") from None


def shell_of(model: Path) -> Path:
    """Return a file with the vocabulary of `model` and no weights to speak of, written once."""
    with open_header(model) as header:
        names = sorted(key for key in header.entries if key.startswith("tokenizer."))
        vocabulary = b"".join(header.raw(name) for name in names)
        size = header.length("tokenizer.ggml.tokens")
    digest = hashlib.sha256(vocabulary).hexdigest()[:16]
    target = cache_folder() / "tokenizers" / f"{digest}.gguf"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{os.getpid()}.{threading.get_ident()}.part")
        part.write_bytes(_shell(vocabulary, len(names), size))
        part.replace(target)
    return target


def _shell(vocabulary: bytes, keys: int, size: int) -> bytes:
    """Return a GGUF model of one layer around the keys of a vocabulary of `size` tokens."""
    numbers = {f"llama.{name}": value for name, value in SHELL_NUMBERS.items()}
    numbers["llama.vocab_size"] = size
    head = [_text("general.architecture"), struct.pack("<I", STRING), _text("llama")]
    for name, value in numbers.items():
        head += [_text(name), struct.pack("<II", UINT32, value)]
    epsilon = "llama.attention.layer_norm_rms_epsilon"
    head += [_text(epsilon), struct.pack("<If", FLOAT32, 1e-5)]
    shapes = {"token_embd": (WIDTH, size), "output_norm": (WIDTH,)}
    shapes |= {f"blk.0.{name}": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
    shapes |= {f"blk.0.{name}": (WIDTH, WIDTH) for name in SQUARES}
    infos, offset = [], 0
    for name, shape in shapes.items():
        kind = Q8_0 if name == "token_embd" else F32
        count = WIDTH * (shape[1] if len(shape) > 1 else 1)
        length = count // WIDTH * 34 if kind == Q8_0 else count * 4  # 34 bytes a Q8_0 block of 32
        infos += [_text(f"{name}.weight"), struct.pack("<I", len(shape))]
        infos += [struct.pack(f"<{len(shape)}Q", *shape), struct.pack("<IQ", kind, offset)]
        offset += _aligned(length)
    start = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), keys + len(numbers) + 2)
    description = b"".join([start, *head, vocabulary, *infos])
    return description.ljust(_aligned(len(description)), b"\0") + bytes(offset)


def _aligned(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT


def _text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _token(header: Header, role: str) -> str:
    number = header.scalar(f"tokenizer.ggml.{role}_token_id")
    if number is None or number >= header.length("tokenizer.ggml.tokens"):
        return ""
    return header.item("tokenizer.ggml.tokens", int(number))


def _adds_bos(header: Header) -> bool:
    said = header.scalar("tokenizer.ggml.add_bos_token")
    if said is not None:
        return bool(said)
    return header.text("tokenizer.ggml.model") == "llama"  # llama.cpp's own default


def _refuse(message: str) -> None:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _to_json(value: Any, indent: int | None = None) -> str:
    # Jinja's own filter escapes what HTML needs escaped, and a prompt is not HTML.
    return json.dumps(value, ensure_ascii=False, indent=indent)
