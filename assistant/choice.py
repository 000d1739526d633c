"""Which adapter a question is for: the one whose training questions are nearest to it."""

import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assistant.adapter import Adapter, AdapterStore
from assistant.prompt import question_of
from ingest.embed import Embedder
from ingest.errors import DataError, MismatchError, NotFoundError

FILE = "questions.safetensors"
TENSOR = "questions"
NEAREST = 3
"""Training questions that speak for an adapter: one alone may be near by chance."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which adapter was chosen, and why."""

    adapter: str | None
    """`name:version`; None where none is near enough."""
    threshold: float
    scores: Mapping[str, float]
    """`name:version` -> similarity to its training questions, the best first."""
    left_out: Mapping[str, str]
    """`name:version` -> why it could not be chosen."""

    def body(self) -> dict[str, Any]:
        """Return it as JSON, with a sentence for people in `text`."""
        return {
            "adapter": self.adapter,
            "threshold": self.threshold,
            "scores": {name: round(score, 4) for name, score in self.scores.items()},
            "left_out": dict(self.left_out),
            "text": self._text(),
        }

    def _text(self) -> str:
        if not self.scores:
            return "No adapter answers: there is none to choose from."
        name, score = next(iter(self.scores.items()))
        if self.adapter is None:
            return (
                f"No adapter answers: the nearest, {name}, has a similarity of {score:.2f} to the "
                f"question, and {self.threshold:.2f} is needed."
            )
        return f"{name} answers: its training questions are nearest (similarity {score:.2f})."


class Chooser:
    """Chooses between the adapters of a workspace."""

    def __init__(
        self,
        adapters: AdapterStore,
        datasets: Path,
        embedder: Embedder,
        *,
        embedding: Callable[[], str],
        threshold: float,
    ) -> None:
        """Choose by the training questions in the data sets below `datasets`.

        `embedding` returns the fingerprint of the embedding model. Below `threshold`, a cosine, no
        adapter is chosen.
        """
        self._adapters = adapters
        self._datasets = datasets
        self._embedder = embedder
        self._embedding = embedding
        self._threshold = threshold
        self._known: dict[str, NDArray[np.float32]] = {}

    def choose(self, question: str, check: Callable[[Adapter], None]) -> Choice:
        """Return the adapter whose training questions are nearest to `question`.

        Of each name, the version that would answer without `:version` is considered. `check` raises
        MismatchError where an adapter cannot serve here; it is then left out, and so is one whose
        data set is gone.
        """
        scores: dict[str, float] = {}
        left_out: dict[str, str] = {}
        vector = None
        for name in dict.fromkeys(adapter.name for adapter in self._adapters.list()):
            adapter = self._adapters.get(name)
            try:
                check(adapter)
                rows = self._questions(adapter)
            except (MismatchError, NotFoundError, DataError) as error:
                left_out[adapter.reference] = error.message
                continue
            if vector is None:
                vector = self._embedder.embed([question])[0]
            scores[adapter.reference] = similarity(vector, rows)
        ranked = dict(sorted(scores.items(), key=lambda item: (-item[1], item[0])))
        best = next(iter(ranked), None)
        if best is not None and ranked[best] < self._threshold:
            best = None
        return Choice(best, self._threshold, ranked, left_out)

    def _questions(self, adapter: Adapter) -> NDArray[np.float32]:
        """Return a vector for each training question of `adapter`: (questions, dimension)."""
        dataset = adapter.manifest.get("dataset") or {}
        key = f"{dataset.get('sha256')} {self._embedding()}"
        if key not in self._known:
            path = adapter.folder / FILE
            rows = _read(path, key)
            if rows is None:
                train = self._datasets / str(dataset.get("name")) / "train.jsonl"
                questions = trained_questions(train)
                rows = self._embedder.embed(questions)
                _write(path, key, rows)
            self._known[key] = rows
        return self._known[key]


def similarity(vector: NDArray[np.float32], rows: NDArray[np.float32]) -> float:
    """Return how near `vector` (dimension,) is to `rows` (questions, dimension), -1 to 1.

    The mean of its cosine to their centroid, which knows the subject, and of its mean cosine to the
    three nearest, which know the kind of question: `docs/adapters.md` has figures for each alone.
    All have L2 norm 1.
    """
    centroid = rows.mean(axis=0)
    subject = float(centroid @ vector / np.linalg.norm(centroid))
    kind = float(np.sort(rows @ vector)[-NEAREST:].mean())
    return (subject + kind) / 2


def trained_questions(train: Path) -> list[str]:
    """Return what the rows of a data set ask, each question once, in their order.

    Raises:
        NotFoundError: the data set is gone.
        DataError: the file is no data set, or an empty one.
    """
    try:
        lines = train.read_text(encoding="utf-8").splitlines()
    except OSError:
        raise NotFoundError(
            f"Its data set is gone: there is no {train}.",
            hint="Build it again: groundtune dataset build CONFIG.toml",
        ) from None
    found: dict[str, None] = {}
    try:
        for line in lines:
            asked = [m["content"] for m in json.loads(line)["messages"] if m["role"] == "user"]
            found[question_of(asked[-1])] = None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{train} is not a data set: {error!r}.") from None
    if not found:
        raise DataError(f"{train} holds no rows.")
    return list(found)


def _read(path: Path, key: str) -> NDArray[np.float32] | None:
    """Return the vectors kept in `path`, if they are those that `key` names."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("key") != key:
                return None
            rows: NDArray[np.float32] = file.get_tensor(TENSOR)
            return rows
    except (OSError, SafetensorError):
        return None


def _write(path: Path, key: str, rows: NDArray[np.float32]) -> None:
    """Keep the vectors beside the adapter, in one stroke."""
    from safetensors.numpy import save

    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{FILE}.", delete=False) as part:
            part.write(save({TENSOR: rows}, metadata={"key": key}))
        Path(part.name).replace(path)
    except OSError as error:
        log.warning("%s could not be kept, so it is computed at each start: %s", path, error)
