"""What evaluations keep of a document can be removed, down to the bytes."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval.cache import Cache
from eval.command import render, run
from eval.evaluate import evaluate
from eval.recipe import Recipe
from ingest.errors import NotFoundError, StoreError
from tests.rig import NOW, Rig

WORDS = b"clamp screws of the Osprey 77 are tightened"


def quoting(home: Path) -> list[str]:
    """Return the files of evaluations that hold words of a document."""
    folders = (home / "cache", home / "reports")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return sorted(path.name for path in files if WORDS in path.read_bytes())


def test_nothing_of_a_document_is_left_in_the_cache_and_in_removed_reports(
    rig: Rig, recipe: Callable[..., Recipe], parse: Callable[..., Any]
) -> None:
    first = Path(evaluate(recipe(), rig, now=NOW)["report"]).name
    second = Path(evaluate(recipe(), rig, now=NOW.replace(year=2027))["report"]).name
    assert {"report.html"} < {*quoting(rig.home)}
    said = render(run(parse("forget", first), rig.settings))
    assert f"Reports removed: {first}." in said
    assert f"Reports that are still there, and quote documents: {second}." in said
    assert quoting(rig.home) == ["report.html"]
    result = run(parse("forget", "all"), rig.settings)
    assert (result["forgotten"], result["removed"], result["kept"]) == (0, [second], [])
    assert quoting(rig.home) == []
    evaluate(recipe(), rig, now=NOW)  # it can be computed again


def test_an_unknown_report_is_named_and_nothing_is_removed(
    rig: Rig, recipe: Callable[..., Recipe], parse: Callable[..., Any]
) -> None:
    evaluate(recipe(), rig, now=NOW)
    before = quoting(rig.home)
    for name in ("nothing", "..", "../reports"):
        with pytest.raises(NotFoundError, match="There is no report"):
            run(parse("forget", name), rig.settings)
    assert quoting(rig.home) == before


def test_a_workspace_without_evaluations_has_nothing_to_forget(
    rig: Rig, parse: Callable[..., Any]
) -> None:
    assert "Forgotten: 0" in render(run(parse("forget"), rig.settings))
    assert not (rig.home / "cache" / "evaluation.sqlite").exists()


def test_a_cache_that_an_evaluation_reads_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    with Cache(path) as cache:
        cache.put({"a": 1, "b": 2})
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN")
        other.execute("SELECT * FROM cache").fetchone()
        cache._db.execute("PRAGMA busy_timeout=10")
        with pytest.raises(StoreError, match="is in use"):
            cache.empty()
        other.close()
