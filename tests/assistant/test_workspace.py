"""A workspace opens without the models that its work does not need."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from assistant.config import Settings
from assistant.workspace import Workspace
from ingest.embed import Embedder
from ingest.errors import MismatchError
from ingest.files import find_files
from ingest.tally import Tally
from tests.fakes import HashEmbedder, NearReader


class Asleep(HashEmbedder):
    """Notes whether it was needed, as a model that is loaded by then."""

    def __init__(self) -> None:
        self.loaded = False

    @property
    def max_tokens(self) -> int:  # type: ignore[override]
        self.loaded = True
        return 256

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.loaded = True
        return super().embed(texts)

    def tokenize(self, text: str) -> list[str]:
        self.loaded = True
        return super().tokenize(text)


class Lazy(Workspace):
    """A workspace with all of its own parts, but an embedder that tells when it is loaded."""

    @cached_property
    def embedder(self) -> Embedder:
        return Asleep()

    @cached_property
    def reader(self) -> NearReader:  # type: ignore[override]
        return NearReader()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A model folder, and a folder with two documents."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "docs").mkdir()
    for name in ("pump", "valve"):
        (tmp_path / "docs" / f"{name}.md").write_text(f"# {name}\n\nBlue.", encoding="utf-8")
    model = {"model": f"file:{tmp_path / 'model'}"}
    return Settings.model_validate({"home": tmp_path / "home", "embedding": model})


def ingest(settings: Settings, folder: Path) -> tuple[Tally, bool]:
    """Ingest in a workspace opened anew; say whether the model was loaded."""
    with Lazy(settings) as workspace:
        tally = workspace.pipeline.run(find_files([str(folder)]), collection="default")
        assert isinstance(workspace.embedder, Asleep)
        return tally, workspace.embedder.loaded


def test_no_model_is_loaded_where_nothing_has_changed(settings: Settings, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    assert ingest(settings, docs)[1], "the first run needs it"
    tally, loaded = ingest(settings, docs)
    assert (tally.unchanged, loaded) == (2, False)
    (docs / "pump.md").write_text("# Pump\n\nGreen.", encoding="utf-8")
    tally, loaded = ingest(settings, docs)
    assert (tally.updated, tally.unchanged, loaded) == (1, 1, True)


def test_other_weights_under_the_same_name_are_refused(settings: Settings, tmp_path: Path) -> None:
    ingest(settings, tmp_path / "docs")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(MismatchError, match="another version of it"):
        ingest(settings, tmp_path / "docs")
