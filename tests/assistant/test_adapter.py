import json
from pathlib import Path

import pytest

from assistant.adapter import AdapterStore, check_fit, record_evaluation
from assistant.alias import promote, rollback
from assistant.garbage import collect, garbage
from ingest.errors import GateError, MismatchError, NotFoundError, UsageError


def make(folder: Path, name: str, version: str, **manifest: object) -> None:
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


def passed(engine: str = "embedded") -> dict[str, object]:
    return {engine: {"passed": True, "prompts": 40, "failures": []}}


@pytest.fixture
def store(tmp_path: Path) -> AdapterStore:
    for version in ("v1", "v2", "v3"):
        make(tmp_path, "a", version, parity=passed())
    return AdapterStore(tmp_path)


def test_a_name_means_the_version_in_production_once_there_is_one(store: AdapterStore) -> None:
    assert store.get("a").version == "v3"
    promote(store.get("a:v1"), engine="embedded")
    assert store.get("a").version == "v1"
    assert store.get("a@production").version == "v1"
    assert store.get("a:v3").version == "v3"
    assert store.newest("a").version == "v3"
    assert store.newest("a@production").version == "v1"


def test_no_name_prefers_what_is_in_production(store: AdapterStore) -> None:
    make(store.folder, "b", "v1", created="z")
    assert store.get(None).reference == "b:v1"
    promote(store.get("a:v2"), engine="embedded")
    assert store.get(None).reference == "a:v2"


def test_a_rollback_swaps_production_and_previous(store: AdapterStore) -> None:
    promote(store.get("a:v1"), engine="embedded")
    promote(store.get("a:v2"), engine="embedded")
    assert store.aliases("a") == ("v2", "v1")
    assert rollback(store, "a") == ("v1", "v2")
    assert store.get("a").version == "v1"
    assert store.get("a@previous").version == "v2"
    assert rollback(store, "a") == ("v2", "v1")


def test_promoting_twice_keeps_the_previous_version(store: AdapterStore) -> None:
    for version in ("v1", "v2", "v2"):
        promote(store.get(f"a:{version}"), engine="embedded")
    assert store.aliases("a") == ("v2", "v1")


def test_without_a_pass_on_the_engine_that_serves_nothing_is_promoted(store: AdapterStore) -> None:
    with pytest.raises(GateError, match="serves on ollama") as error:
        promote(store.get("a:v1"), engine="ollama")
    assert error.value.hint == "groundtune adapters parity a:v1 --engine ollama"
    failed = {"embedded": {"passed": False, "failures": ["only 41.0% agree"]}}
    make(store.folder, "a", "v4", parity=failed)
    with pytest.raises(GateError, match=r"only 41.0% agree"):
        promote(store.get("a:v4"), engine="embedded")
    few = {"embedded": {"passed": True, "prompts": 4, "failures": []}}
    make(store.folder, "a", "v5", parity=few)
    with pytest.raises(GateError, match=r"on 4 prompts; at least 20"):
        promote(store.get("a:v5"), engine="embedded")
    assert store.aliases("a") == ("", "")


def test_an_alias_that_stands_for_nothing_says_what_to_do(store: AdapterStore) -> None:
    with pytest.raises(NotFoundError, match="no production version") as error:
        store.get("a@production")
    assert "promote" in error.value.hint
    with pytest.raises(NotFoundError, match="production and previous"):
        store.get("a@staging")
    with pytest.raises(NotFoundError, match="no previous version"):
        rollback(store, "a")
    with pytest.raises(NotFoundError, match="No adapter called 'a:v2@production'"):
        store.get("a:v2@production")


def test_a_version_in_production_that_is_gone_is_not_replaced_in_silence(
    store: AdapterStore,
) -> None:
    promote(store.get("a:v1"), engine="embedded")
    promote(store.get("a:v3"), engine="embedded")
    (store.folder / "a" / "v3" / "manifest.json").unlink()
    with pytest.raises(NotFoundError, match="a@production"):
        store.get("a")
    assert rollback(store, "a").production == "v1"
    assert store.get("a").version == "v1"


@pytest.mark.parametrize("content", ["{", "[]", '{"staging": "v1"}', '{"production": "../x"}'])
def test_a_damaged_alias_file_is_named(store: AdapterStore, content: str) -> None:
    path = store.folder / "a" / "aliases.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=r"aliases\.json is damaged"):
        store.get("a")


def test_nothing_but_the_alias_file_is_left_behind(store: AdapterStore) -> None:
    promote(store.get("a:v1"), engine="embedded")
    assert sorted(p.name for p in (store.folder / "a").iterdir()) == [
        "aliases.json", "v1", "v2", "v3",
    ]  # fmt: skip


def test_a_gate_that_stopped_an_adapter_stops_its_promotion(store: AdapterStore) -> None:
    gate = {"a": "/x/reports/monday", "b": "/x/reports/friday", "questions": 40}
    record_evaluation(store.get("a:v2"), {"passed": False, **gate})
    with pytest.raises(GateError, match=r"a:v2 did not pass its gate: report friday") as error:
        promote(store.get("a:v2"), engine="embedded")
    assert "eval compare monday friday --gate" in error.value.hint
    assert store.aliases("a") == ("", "")
    record_evaluation(store.get("a:v2"), {"passed": True, **gate})
    assert promote(store.get("a:v2"), engine="embedded").production == "v2"


def test_what_is_collected_is_old_and_needed_by_nobody(store: AdapterStore) -> None:
    for version in ("v4", "v5", "v6"):
        make(store.folder, "a", version, parity=passed())
    make(store.folder, "b", "v1", deployed={"ollama": {"model": "b"}})
    make(store.folder, "b", "v2")
    for version in ("v1", "v3"):
        promote(store.get(f"a:{version}"), engine="embedded")
    expected = ["a:v2", "a:v4"]
    assert [a.reference for a in garbage(store, keep=2)] == expected
    assert [a.reference for a in garbage(store, keep=1)] == [*expected, "a:v5"]
    assert [a.reference for a in collect(store, keep=2)] == expected
    left = [a.reference for a in store.list()]
    assert left == ["a:v1", "a:v3", "a:v5", "a:v6", "b:v1", "b:v2"]
    assert sorted(p.name for p in (store.folder / "a").iterdir()) == [
        "aliases.json", "v1", "v3", "v5", "v6",
    ]  # fmt: skip
    assert collect(store, keep=2) == []
    assert rollback(store, "a") == ("v1", "v3")


def test_the_newest_version_is_never_collected(store: AdapterStore) -> None:
    with pytest.raises(UsageError, match="at least the newest version stays"):
        collect(store, keep=0)


def test_a_version_that_was_collected_meanwhile_is_not_promoted(store: AdapterStore) -> None:
    chosen = store.get("a:v1")
    collect(store, keep=1)
    with pytest.raises(NotFoundError, match="was removed meanwhile"):
        promote(chosen, engine="embedded")
    assert store.aliases("a") == ("", "")
