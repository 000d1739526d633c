"""Texts become vectors."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class Embedder(Protocol):
    """Turns texts into unit vectors."""

    name: str
    """Of the model; vectors of different models do not compare."""
    backend: str
    """What computes them, and how exactly. Vectors of one index come from like backends."""

    @property
    def max_tokens(self) -> int:
        """Longer texts would be cut."""
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one row a text: shape (len(texts), dimension), float32, L2 norm 1."""
        ...

    def tokenize(self, text: str) -> list[str]:
        """Return the model's tokens of `text`, special tokens left out."""
        ...


class CachedEmbedder:
    """An embedder that remembers: questions differ, the sentences they are compared with recur."""

    def __init__(self, embedder: Embedder, *, capacity: int = 8192) -> None:
        """Keep at most `capacity` vectors of `embedder`, those used last."""
        self.name = embedder.name
        self.backend = embedder.backend
        self._embedder = embedder
        self._capacity = capacity
        self._rows: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def max_tokens(self) -> int:
        """Longer texts would be cut."""
        return self._embedder.max_tokens

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one row a text: shape (len(texts), dimension), float32, L2 norm 1."""
        with self._lock:
            new = [text for text in dict.fromkeys(texts) if text not in self._rows]
            if new:
                self._rows.update(zip(new, self._embedder.embed(new), strict=True))
            for text in texts:
                self._rows.move_to_end(text)
            found = np.stack([self._rows[text] for text in texts])
            while len(self._rows) > self._capacity:
                self._rows.popitem(last=False)
            return found

    def tokenize(self, text: str) -> list[str]:
        """Return the model's tokens of `text`, special tokens left out."""
        return self._embedder.tokenize(text)


class SentenceTransformerEmbedder:
    """A sentence-transformers model on the CPU, or on the GPU where there is one."""

    backend = "torch-f32"

    def __init__(self, name: str, path: Path) -> None:
        """Take the model `name` from `path`, a folder or a Hugging Face repository.

        It is loaded when it is first needed.
        """
        self.name = name
        self._path = path
        self._loading = threading.Lock()
        self._loaded: Any = None

    @property
    def max_tokens(self) -> int:
        """Longer texts would be cut."""
        return int(self._model.max_seq_length or 512)

    @property
    def _model(self) -> Any:
        with self._loading:
            if self._loaded is None:
                self._loaded = apart(lambda: load_sentence_transformer(self._path))
            return self._loaded

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one row a text: shape (len(texts), dimension), float32, L2 norm 1."""
        model = self._model
        rows: NDArray[np.float32] = apart(
            lambda: model.encode(
                list(texts),
                normalize_embeddings=True,
                show_progress_bar=False,
                convert_to_numpy=True,
            )
        )
        return rows.astype(np.float32)

    def tokenize(self, text: str) -> list[str]:
        """Return the model's tokens of `text`, special tokens left out."""
        tokens: list[str] = self._model.tokenizer.tokenize(text)
        return tokens


def load_sentence_transformer(path: Path) -> Any:
    """Load a model from a folder, or from the Hugging Face repository of that name."""
    from sentence_transformers import SentenceTransformer

    # A path that exists is local, so no hub is asked; `hf:` names are for the library to find.
    return SentenceTransformer(str(path), local_files_only=path.exists())


def apart(work: Callable[[], T]) -> T:
    """Return what `work` returns, run in a thread that ends with it.

    PyTorch and llama.cpp share one OpenMP library. It keeps worker threads for each thread that
    ever computed, and while there are more of them than processors, all of them sleep where they
    would wait for each other for a microsecond: on two cores, the embedded engine writes 30 tokens
    a second instead of 77. The workers go with their thread.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()
