"""A real Ollama server for the tests: the one that runs here, or one of our own."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from assistant.engines.ollama_models import OllamaModels, base_url
from ingest.errors import EngineUnavailableError
from tests.ports import free_port

PREFIX = "groundtune-test-"
"""Of every model that a test makes on a server; what bears it may be deleted."""
START_S = 120.0


class OllamaServer(NamedTuple):
    """A server that answers."""

    url: str
    version: str
    process: subprocess.Popen[bytes] | None
    """None where it is not ours to stop."""
    log: Path | None


def find_binary() -> Path | None:
    """Return the program: from PATH, or where `.ci/ollama` puts it."""
    if found := shutil.which("ollama"):
        return Path(found)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "groundtune-ci"
    cache = Path(os.environ.get("GROUNDTUNE_CI_CACHE") or cache)
    built = sorted(cache.glob("ollama-*/ollama"))
    return built[-1] if built else None


def running() -> OllamaServer | None:
    """Return the server that `OLLAMA_HOST` names, if it names one."""
    host = os.environ.get("OLLAMA_HOST")
    if not host:
        return None
    url = host if "://" in host else f"http://{host}"
    with OllamaModels(url) as models:
        return OllamaServer(base_url(url), models.version(), None, None)


@contextmanager
def started(binary: Path, folder: Path) -> Iterator[OllamaServer]:
    """Run a server of our own, with home, models and log in `folder`, and stop it at the end."""
    for name in ("home", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if "OLLAMA" not in name} | {
        "HOME": str(folder / "home"),
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_MODELS": str(folder / "models"),
        "OLLAMA_NO_CLOUD": "1",
        "OLLAMA_KEEP_ALIVE": "-1",
    }
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(binary), "serve"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        yield OllamaServer(url, _wait(url, process, log), process, log)
    finally:
        process.terminate()  # it ends its runners with it
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with suppress(ProcessLookupError):  # what a test killed has left its runners behind
            os.killpg(process.pid, signal.SIGKILL)


def remove_test_models(url: str) -> None:
    """Take every model that a test made off the server at `url`."""
    with OllamaModels(url) as models:
        for name in models.names():
            if name.startswith(PREFIX):
                models.delete(name)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + START_S
    with OllamaModels(url, timeout=5) as models:
        while process.poll() is None and time.monotonic() < end:
            try:
                return models.version()
            except EngineUnavailableError:
                time.sleep(0.1)
    said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise RuntimeError(f"The Ollama server did not start:\n{said}")
