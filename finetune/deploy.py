"""A tuned adapter becomes a model of an Ollama server: base and LoRA, or both merged."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from assistant.adapter import Adapter
from assistant.engines.ollama_models import OllamaModels, base_name
from assistant.engines.tokenizer import GgufTokenizer
from assistant.gguf_header import open_header
from finetune.go_template import RAW, differences, go_template
from finetune.merge import WeightType, merge
from ingest.errors import UsageError
from ingest.model_file import sha256_of

REFUSES_LORA = frozenset({"qwen3", "qwen3moe", "gemma3", "gemma3n", "mistral3"})
"""Architectures that Ollama runs on its own engine, which takes no LoRA."""

Report = Callable[[str, int, int], None]
"""Called with what is done, how much of it (bytes or matrices), and of how much."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What stands on the server for an adapter."""

    model: str
    """The adapter's model: `groundtune-name:version`."""
    base: str
    """The model without the adapter."""
    weights: str
    """`lora` beside the base as it is, or the type that the merged weights are stored in."""
    sha256: str
    """Of the adapter's file, or of the merged model's."""
    template: Literal["chat", "raw"]
    """`chat`: the server renders messages as training did. `raw`: it renders none."""

    def entry(self) -> dict[str, str]:
        """Return what the adapter's manifest remembers."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class BaseFile:
    """The base model that adapters stand on."""

    gguf: Path
    sha256: str


class Deployer:
    """Puts adapters of one base model onto one Ollama server."""

    def __init__(
        self,
        models: OllamaModels,
        base: BaseFile,
        *,
        prefix: str,
        report: Report = lambda what, done, total: None,
    ) -> None:
        """Deploy to the server of `models`, under names that begin with `prefix`."""
        self.models = models
        self.base = base
        self.prefix = prefix
        self.uploaded = 0
        """Bytes sent to the server so far."""
        self._report = report
        self._tokenizer = GgufTokenizer(base.gguf)

    def deploy(
        self, adapter: Adapter, *, merged: WeightType | None = None, parameters: Mapping[str, Any]
    ) -> Deployment:
        """Make `adapter` a model of the server. What the server has is not sent again.

        Args:
            adapter: it must have been trained for this base.
            merged: writes base and adapter as one model with weights of this type, beside the
                adapter; None sends the LoRA.
            parameters: defaults of the model for people who call it directly.

        Raises:
            UsageError: the server cannot use a LoRA with this architecture.
            EngineError: the server refused a file or the model.
        """
        self.models.version()
        if merged is None:
            self._refuse_lora_where_the_server_does()
        base = base_name(self.base.sha256, self.prefix)
        self._send(self.base.gguf, self.base.sha256, "base model")
        template = go_template(self._tokenizer.render) or RAW
        template = self._create(base, template, parameters)
        name = model_name(adapter, self.prefix)
        file = adapter.folder / "lora.gguf" if merged is None else self._merged(adapter, merged)
        sha256 = sha256_of(file)
        self._send(file, sha256, "adapter" if merged is None else "merged model")
        self._create(name, template, parameters, file=file, sha256=sha256, whole=bool(merged))
        kind: Literal["chat", "raw"] = "raw" if template == RAW else "chat"
        return Deployment(name, base, merged or "lora", sha256, kind)

    def _create(
        self,
        name: str,
        template: str,
        parameters: Mapping[str, Any],
        *,
        file: Path | None = None,
        sha256: str = "",
        whole: bool = False,
    ) -> str:
        """Make a model and return its template: RAW where the server renders `template` wrong."""
        base = (self.base.gguf.name, self.base.sha256)
        beside = None if file is None else (file.name, sha256)
        for attempt in (template, RAW):
            self.models.create(
                name,
                base=beside if whole and beside else base,
                adapter=None if whole else beside,
                template=attempt,
                stop=self._tokenizer.end_tokens,
                parameters=parameters,
            )
            if attempt == RAW or not self._rendered_otherwise(name):
                return attempt
        return RAW

    def _rendered_otherwise(self, name: str) -> list[str]:
        return differences(
            self._tokenizer.render, lambda messages: self.models.render(name, messages)
        )

    def _merged(self, adapter: Adapter, weights: WeightType) -> Path:
        # The name holds what it is made of, so that it is made once.
        made_of = f"{self.base.sha256[:8]}-{adapter.manifest['lora_sha256'][:8]}"
        file = adapter.folder / f"merged-{made_of}-{weights}.gguf"
        if not file.exists():
            merge(
                self.base.gguf,
                adapter.folder / "lora.gguf",
                file,
                weights=weights,
                report=lambda done, total: self._report("merging", done, total),
            )
        return file

    def _send(self, file: Path, sha256: str, what: str) -> None:
        if self.models.has_blob(sha256):
            return
        total, sent = file.stat().st_size, 0

        def on_bytes(count: int) -> None:
            nonlocal sent
            sent += count
            self.uploaded += count
            self._report(f"sending the {what}", sent, total)

        self.models.upload(file, sha256, on_bytes)

    def _refuse_lora_where_the_server_does(self) -> None:
        with open_header(self.base.gguf) as header:
            architecture = header.text("general.architecture")
        if architecture in REFUSES_LORA:
            raise UsageError(
                f"Ollama takes no LoRA for models of the architecture {architecture}.",
                hint="Send one whole model: groundtune adapters deploy NAME --merge",
            )


def model_name(adapter: Adapter, prefix: str) -> str:
    """Return what the adapter's model is called on a server."""
    return f"{prefix}{adapter.reference}"


class Removal(NamedTuple):
    """What became of an adapter's models on a server."""

    removed: bool
    """The adapter's model was there, and is gone."""
    base: str
    """The model without the adapter."""
    base_stays_for: tuple[str, ...]
    """Who needs it; empty where it is gone as well."""


def undeploy(models: OllamaModels, adapter: Adapter, *, prefix: str, asked: bool = True) -> Removal:
    """Take the adapter's model off the server, and its base with it if nobody else needs that.

    The files of a merged model go too. `asked` says that an assistant asks the base by itself, as
    the arms without an adapter do.
    """
    for file in adapter.folder.glob("merged-*.gguf"):
        file.unlink()
    removed = models.delete(model_name(adapter, prefix))
    sha256 = adapter.manifest["base_sha256"]
    base = base_name(sha256, prefix)
    users: tuple[str, ...] = ("the arms without an adapter",) if asked else ()
    users += tuple(
        name
        for name in models.names()
        if name.startswith(prefix) and name != base and _stands_on(models, name, sha256)
    )
    if not users or not models.exists(base):
        models.delete(base)
        users = ()
    return Removal(removed, base, users)


def _stands_on(models: OllamaModels, name: str, sha256: str) -> bool:
    """Return whether the model called `name` is made of the base with this SHA-256."""
    return f"sha256-{sha256}" in str(models.show(name).get("modelfile"))
