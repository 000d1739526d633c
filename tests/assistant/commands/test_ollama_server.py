"""`models fetch` and `doctor` with an Ollama server as the engine."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from assistant.commands import doctor, models
from assistant.config import EngineSettings, Settings
from assistant.engines.ollama_models import OllamaModels, base_name
from ingest.model_file import fetch, sha256_of
from tests.ollama_server import find_binary, started
from tests.ports import free_port


def findings(settings: Settings) -> list[dict[str, Any]]:
    result = doctor.run(argparse.Namespace(), settings)
    return [f for f in result["findings"] if "server" in f["check"]]


def settings_of(home: Path, url: str) -> Settings:
    return Settings.model_validate({"home": home, "engine": {"kind": "ollama", "url": url}})


def test_doctor_does_not_look_for_a_server_that_is_not_used(tmp_path: Path) -> None:
    assert findings(Settings(home=tmp_path)) == []


def test_doctor_says_that_the_server_is_absent_and_what_starts_it(tmp_path: Path) -> None:
    [finding] = findings(settings_of(tmp_path, f"http://127.0.0.1:{free_port()}"))
    assert not finding["ok"]
    assert "No Ollama server answers" in finding["detail"]
    assert "ollama serve" in finding["fix"]


@pytest.mark.model
def test_fetching_puts_the_base_model_onto_the_server_once(tmp_path: Path) -> None:
    binary = find_binary()
    if binary is None:
        pytest.skip("no Ollama program here to start a server of our own")
    with started(binary, tmp_path) as server:  # its names carry no test prefix
        settings = settings_of(tmp_path, server.url)
        version, base = findings(settings)
        assert version["ok"]
        assert server.version in version["detail"]
        assert not base["ok"]
        assert base["fix"] == "groundtune models fetch"
        for _ in range(2):
            fetched = models.run(argparse.Namespace(name=None), settings)["models"]
            name = base_name(sha256_of(fetch(EngineSettings().model)))
            assert name in fetched[f"{settings.engine.model} on the server"]
        with OllamaModels(server.url) as there:
            assert there.names() == [name]
        assert [finding["ok"] for finding in findings(settings)] == [True, True]
