import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.config import Settings
from eval.command import add_arguments, render, run
from ingest.errors import ConfigError, NotFoundError, UsageError

TARNFELL = "examples/tarnfell/eval.toml"


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_a_limit_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--limit 0: it starts at 1"):
        run(parse("run", TARNFELL, "--limit", "0"), Settings(home=tmp_path))


def test_an_unknown_arm_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No arm called 'best'"):
        run(parse("run", TARNFELL, "--arms", "base,best"), Settings(home=tmp_path))


def test_a_missing_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No configuration file"):
        run(parse("run", str(tmp_path / "none.toml")), Settings(home=tmp_path))


def test_opening_a_report_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    report = tmp_path / "reports" / "20260101T000000Z-abc"
    report.mkdir(parents=True)
    (report / "report.html").write_text("<!doctype html>")
    with pytest.raises(NotFoundError, match="Reports: 20260101T000000Z-abc"):
        run(parse("open", "other"), Settings(home=tmp_path))


def test_the_result_is_the_three_sentences_and_where_the_report_is() -> None:
    words = render({"sentences": ["A.", "B.", "C."], "html": "report.html", "report": "."})
    assert words.splitlines() == ["1. A.", "2. B.", "3. C.", "", "Report: report.html"]


def test_adding_the_command_loads_nothing_heavy() -> None:
    code = (
        "import argparse, json, sys; from eval.command import add_arguments;"
        "add_arguments(argparse.ArgumentParser());"
        "heavy = ('torch', 'ragas', 'scipy', 'rich', 'numpy', 'sqlalchemy');"
        "print(json.dumps([m for m in heavy if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout) == []
