import json
from pathlib import Path

import pytest

from assistant.adapter import AdapterStore, check_fit
from ingest.errors import MismatchError, NotFoundError, UsageError


def make(folder: Path, name: str, version: str, **manifest: str) -> None:
    place = folder / name / version
    place.mkdir(parents=True)
    content = {"prompt_fingerprint": "p", "base_sha256": "b", "created": version, **manifest}
    (place / "manifest.json").write_text(json.dumps(content), encoding="utf-8")


def test_a_name_means_its_newest_version_and_nothing_means_the_newest_of_all(
    tmp_path: Path,
) -> None:
    make(tmp_path, "a", "v1", created="2026-01-03")
    make(tmp_path, "a", "v2", created="2026-01-01")
    make(tmp_path, "a", "v10", created="2026-01-02")
    store = AdapterStore(tmp_path)
    assert store.get("a").reference == "a:v10"
    assert store.get("a:v2").reference == "a:v2"
    assert store.get(None).reference == "a:v1"
    assert store.next_version("a") == "v11"


def test_an_unfinished_version_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a" / "v1").mkdir(parents=True)
    assert AdapterStore(tmp_path).list() == []


def test_an_unknown_adapter_names_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no tuned adapter in this workspace yet"):
        AdapterStore(tmp_path).get(None)
    make(tmp_path, "a", "v1")
    with pytest.raises(NotFoundError, match=r"No adapter called 'b'. There are: a:v1"):
        AdapterStore(tmp_path).get("b")


@pytest.mark.parametrize("name", ["../x", "", "A b", "a/b", ".hidden"])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name an adapter"):
        AdapterStore(tmp_path).next_version(name)


@pytest.mark.parametrize(
    ("prompt", "base", "what"), [("x", "b", "another prompt"), ("p", "x", "another base model")]
)
def test_an_adapter_for_another_prompt_or_model_is_refused(
    tmp_path: Path, prompt: str, base: str, what: str
) -> None:
    make(tmp_path, "a", "v1")
    adapter = AdapterStore(tmp_path).get("a")
    check_fit(adapter, prompt_fingerprint="p", base_sha256="b")
    with pytest.raises(MismatchError, match=what) as error:
        check_fit(adapter, prompt_fingerprint=prompt, base_sha256=base)
    assert "groundtune finetune" in error.value.hint
