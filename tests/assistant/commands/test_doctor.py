"""`groundtune doctor` on the stores."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assistant.cli import main
from ingest.registry import Registry

Ask = Callable[[], dict[str, dict[str, Any]]]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Ask:
    """Return what the doctor found, by the name of the check."""
    monkeypatch.chdir(tmp_path)

    def findings() -> dict[str, dict[str, Any]]:
        main(["doctor", "--json"])
        return {found["check"]: found for found in json.loads(capfd.readouterr().out)["findings"]}

    return findings


def test_a_workspace_that_is_not_there_is_not_made(ask: Ask, tmp_path: Path) -> None:
    assert "is not there yet" in ask()["documents"]["detail"]
    assert list(tmp_path.iterdir()) == []


def test_what_a_workspace_holds_is_told(ask: Ask, tmp_path: Path) -> None:
    Registry(tmp_path / ".groundtune" / "state.sqlite").close()
    found = ask()
    assert found["documents"]["ok"]
    assert found["documents"]["detail"].startswith("0 passages in ")
    assert "vectors" not in found, "a folder may be in use by a server, so it is left alone"


def test_servers_that_are_down_are_named_with_what_starts_them(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDTUNE_STORE__VECTORS", "chroma:http://127.0.0.1:9")
    monkeypatch.setenv("GROUNDTUNE_STORE__STATE", "postgresql://me:hush@127.0.0.1:9/x")
    found = ask()
    assert not found["vectors"]["ok"]
    assert found["vectors"]["fix"] == "Is it running? chroma run --host 127.0.0.1 --port 9"
    assert not found["documents"]["ok"]
    assert "//me:***@127.0.0.1:9/x does not do its work" in found["documents"]["detail"]
    assert "hush" not in str(found)
