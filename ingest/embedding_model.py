"""Which model made the vectors of an index: vectors of different models do not compare."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ingest.embed import Embedder
from ingest.errors import MismatchError
from ingest.model_file import sha256_of
from ingest.registry import Registry

FACT = "embedding"
"""Under which the registry keeps it."""
UNKNOWN = "unknown"
"""Stands for the fingerprint where an index was made before it remembered its model."""
REEMBED = "groundtune index reembed"


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """A model, whichever library computes it."""

    name: str
    """As the configuration writes it."""
    sha256: str
    """Of its weights and settings."""
    dimension: int
    """Numbers in a vector."""

    @property
    def fingerprint(self) -> str:
        """Tells models apart, by what they are and not by their names: 12 hex digits."""
        return hashlib.sha256(f"{self.sha256}\0{self.dimension}".encode()).hexdigest()[:12]


def identify(
    name: str, path: Path, *, known: EmbeddingModel | None, embedder: Embedder
) -> EmbeddingModel:
    """Return the model called `name` that lies at `path`, a file or a folder.

    A model that is not there, because the library that loads it fetches it (`hf:`), is known by
    its name alone. What other backends make of the weights does not count: it is the same model.
    Where the index remembers these very weights (`known`), `embedder` is not asked for anything,
    so that it need not load them.
    """
    total = hashlib.sha256()
    if path.is_dir():
        weights = sorted(path.rglob("*.safetensors")) or sorted(path.rglob("pytorch_model*.bin"))
        for file in (*weights, *sorted(path.rglob("*.json"))):
            total.update(f"{file.relative_to(path).as_posix()}\0{sha256_of(file)}\n".encode())
    else:
        total.update((sha256_of(path) if path.is_file() else name).encode())
    sha256 = total.hexdigest()
    if known is not None and known.sha256 == sha256:
        return EmbeddingModel(name, sha256, known.dimension)
    return EmbeddingModel(name, sha256, embedder.embed(["dimension"]).shape[1])


def remembered(registry: Registry) -> EmbeddingModel | None:
    """Return the model that the index was made with; None if it is new, or old and forgetful."""
    known = registry.fact(FACT)
    return None if known is None else EmbeddingModel(**json.loads(known))


def remember(registry: Registry, model: EmbeddingModel) -> None:
    """Note, in one step, that the vectors of `model` are the index's from now on."""
    registry.note(FACT, json.dumps(asdict(model)))


def check_model(registry: Registry, model: EmbeddingModel) -> None:
    """Remember the model of a new index; refuse to open one that another model made.

    Raises:
        MismatchError: the hint is the command that makes the vectors anew.
    """
    known = remembered(registry)
    if known is not None and known.fingerprint == model.fingerprint:
        return
    if known is not None and registry.sizes():
        other = "another version of it" if known.name == model.name else model.name
        raise MismatchError(
            f"The index was made with {known.name} ({known.dimension} dimensions), and the "
            f"configuration names {other} ({model.dimension}).",
            hint=f"{REEMBED}   (or set embedding.model back)",
        )
    remember(registry, model)
