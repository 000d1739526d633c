"""What the page on evaluation shows is what works."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from assistant import cli
from eval.gate import read_gate
from eval.recipe import Recipe

PAGE = Path("docs/evaluation.md").read_text(encoding="utf-8")


def indented(start: str) -> str:
    """Return the indented block that holds `start`."""
    block = next(b for b in re.findall(r"(?:^    .*\n|^\n)+", PAGE, re.M) if start in b)
    return "\n".join(line[4:] for line in block.splitlines())


def test_the_recipe_and_the_gate_of_the_page_load(tmp_path: Path) -> None:
    recipe = Recipe.model_validate(tomllib.loads(indented("[[price]]")))
    assert [arm.name for arm in recipe.arm][:2] == ["rag", "rag_schema"]
    (tmp_path / "gate.toml").write_text(indented("[[rule]]"), encoding="utf-8")
    assert len(read_gate(tmp_path / "gate.toml").rule) == 2


def report(folder: Path, right: int) -> None:
    folder.mkdir()
    rows = [
        {
            "question_id": f"q{n}",
            "arm": "combined",
            "answer": "x",
            "error": "",
            "scores": {"grounded": {"value": float(n < right)}, "total_ms": {"value": 1.0 * n}},
        }
        for n in range(40)
    ]
    content: dict[str, Any] = {
        "questions": [
            {"id": f"q{n}", "question": "?", "reference": "", "cluster": f"q{n}"} for n in range(40)
        ],
        "summary": {"arms": ["combined"]},
        "manifest": {},
        "scores": rows,
    }
    (folder / "report.json").write_text(json.dumps(content), encoding="utf-8")


def workflow() -> list[list[str]]:
    """Return the commands of the page's GitHub Actions example, in words."""
    steps = yaml.safe_load(indented("runs-on:"))["jobs"]["gate"]["steps"]
    return [shlex.split(step["run"]) for step in steps if "run" in step]


def test_the_commands_of_the_github_actions_example_are_those_of_the_command_line() -> None:
    ours = [words[1:] for words in workflow() if words[0] == "groundtune"]
    assert [words[0] for words in ours] == ["ingest", "eval", "eval"]
    for words in ours:
        args, _ = cli._parse(words)
        assert args.command == words[0]


@pytest.mark.parametrize(("right", "code"), [(30, 0), (10, 3)])
def test_the_gate_of_the_github_actions_example_stops_a_regression(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: int, code: int
) -> None:
    report(tmp_path / "baseline", 30)
    report(tmp_path / "new", right)
    (tmp_path / "gate.toml").write_text(indented("[[rule]]"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    command = next(words for words in workflow() if "compare" in words)
    assert cli.main(command[1:]) == code
    suite = ElementTree.parse("gate.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", str(int(code == 3)))


@pytest.mark.parametrize(("right", "failed"), [(30, 0), (10, 1)])
def test_the_pytest_example_fails_where_the_gate_does(
    tmp_path: Path, right: int, failed: int
) -> None:
    conftest, test = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    (tmp_path / "conftest.py").write_text(conftest, encoding="utf-8")
    (tmp_path / "test_gate.py").write_text(test, encoding="utf-8")
    (tmp_path / "gate.toml").write_text(indented("[[rule]]"), encoding="utf-8")
    report(tmp_path / "baseline", 30)
    report(tmp_path / "new", right)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", "."]
    environment = {"PYTHONPATH": str(Path.cwd()), "PATH": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == failed, done.stdout + done.stderr
    assert ("combined-grounded" in done.stdout) == bool(failed)
