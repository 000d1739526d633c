import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from assistant.commands import serve
from assistant.config import Settings
from assistant.keys import Keys
from assistant.ownership import NOTE, Owner, own
from assistant.workspace import open_workspace
from ingest.errors import ConflictError, MissingModelError, UsageError
from ingest.model_file import fetch

RUN = """
import argparse, json, sys
from assistant.commands import serve
from assistant.config import Settings

parser = argparse.ArgumentParser()
serve.add_arguments(parser)
print(json.dumps(serve.run(parser.parse_args(["--port", "0"]), Settings(home=sys.argv[1]))))
"""


def run(settings: Settings, *arguments: str) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    return serve.run(parser.parse_args(arguments), settings)


def on_disk(tmp_path: Path) -> Settings:
    """Return settings whose model is there, though it is none."""
    model = tmp_path / "model.gguf"
    model.touch()
    return Settings.model_validate({"home": tmp_path, "engine": {"model": f"file:{model}"}})


def test_without_a_key_nothing_is_served_to_others(tmp_path: Path) -> None:
    settings = on_disk(tmp_path)
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(UsageError, match="no access key yet") as caught:
            run(settings, "--host", host)
    assert "keys create" in caught.value.hint
    with pytest.raises(UsageError, match="not an address"):
        run(settings, "--host", "example.org")


def test_a_revoked_key_does_not_open_the_service_to_others(tmp_path: Path) -> None:
    settings = on_disk(tmp_path)
    with open_workspace(settings) as workspace:
        keys = Keys(workspace.registry.engine)
        key, _ = keys.create("anna", roles=["ask"], collections=None)
        keys.revoke(key.id)
    with pytest.raises(UsageError, match="no access key yet"):
        run(settings, "--host", "0.0.0.0")


def test_a_number_that_is_no_port_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="70000 is not a port"):
        run(Settings(home=tmp_path), "--port", "70000")


def test_a_missing_model_is_told_before_anything_is_opened(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {"home": tmp_path / "home", "engine": {"model": "file:/nowhere.gguf"}}
    )
    with pytest.raises(MissingModelError, match="nowhere.gguf"):
        run(settings)
    assert not (tmp_path / "home").exists()


def test_a_taken_port_is_told_with_another_one(tmp_path: Path) -> None:
    settings = on_disk(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConflictError, match=f"Port {port} is taken") as caught:
            run(settings, "--port", str(port))
    assert "serve --port" in caught.value.hint
    assert not (tmp_path / NOTE).exists()


@pytest.mark.model
def test_a_served_workspace_answers_and_ends_cleanly(tmp_path: Path) -> None:
    fetch(Settings().engine.model)
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert process.stderr is not None
    try:
        ready = next(line for line in process.stderr if "is ready at" in line)
        found = re.search(r"http://\S+", ready)
        assert found is not None
        url = found.group()
        with own(tmp_path, "ask") as owner:
            assert owner == Owner(process.pid, "serve", url)
        assert httpx.get(f"{url}/readyz").status_code == 200
        body = {"question": "Say hello.", "mode": "base"}
        assert httpx.post(f"{url}/api/ask", json=body, timeout=120).json()["answer"]
        with pytest.raises(ConflictError, match="served already"):
            run(Settings(home=tmp_path))
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out) == {"url": url, "stopped": True}
    assert "Traceback" not in err
    assert not (tmp_path / NOTE).exists()
