"""What tests of every folder share."""

import os
from collections.abc import Iterator

import pytest

from tests.ollama_server import OllamaServer, find_binary, remove_test_models, running, started

WHERE = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def ollama_server(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OllamaServer]:
    """A real server: that of `OLLAMA_HOST`, or one started for this run."""
    if (server := running()) is not None:
        pytestconfig.stash[WHERE] = f"{server.version} at {server.url} (OLLAMA_HOST)"
        remove_test_models(server.url)
        yield server
        remove_test_models(server.url)
        return
    binary = find_binary()
    if binary is None:
        reason = "no Ollama server: set OLLAMA_HOST, install ollama, or run .ci/ollama"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with started(binary, tmp_path_factory.mktemp("ollama")) as server:
        pytestconfig.stash[WHERE] = f"{server.version} from {binary}"
        yield server


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which Ollama server the tests ran against."""
    if WHERE in config.stash:
        terminalreporter.write_line(f"Ollama server: {config.stash[WHERE]}")
