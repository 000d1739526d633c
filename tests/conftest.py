"""What tests of every folder share."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from tests.ollama_server import OllamaServer, find_binary, remove_test_models, running, started

WHERE = pytest.StashKey[str]()
LONGEST = "test_story.py"
"""Minutes of one process: begun last, all others would wait for it."""
SHARED = ("ollama_server", "ray.cluster_utils")
"""Words of the files whose tests start servers that a machine has one of."""

if "PYTEST_XDIST_WORKER" in os.environ:
    # There are as many processes as cores; threads beside them would wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_THREAD_LIMIT", "1")  # llama.cpp counts the cores itself


# The same examples each time, however long a busy machine takes for one of them.
# `--hypothesis-profile=default` looks for others.
settings.register_profile(
    "suite",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")


class Files(LoadFileScheduling):
    """A file's tests run in one process, and so do those of files that share a server."""

    def _split_scope(self, nodeid: str) -> str:
        name = super()._split_scope(nodeid)
        text = (self.config.rootpath / name).read_text(encoding="utf-8")
        return next((word for word in SHARED if word in text), name)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Files | None:
    """Divide the files among the processes."""
    return Files(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest file where several processes share the work."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.path.name != LONGEST)


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


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let the process that reports know which server a worker used."""
    if hasattr(session.config, "workeroutput") and WHERE in session.config.stash:
        session.config.workeroutput["ollama"] = session.config.stash[WHERE]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Keep what a worker said of its server."""
    if where := getattr(node, "workeroutput", {}).get("ollama"):
        node.config.stash[WHERE] = where


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which Ollama server the tests ran against."""
    if WHERE in config.stash:
        terminalreporter.write_line(f"Ollama server: {config.stash[WHERE]}")
