import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from assistant.commands import serve
from assistant.config import Settings
from assistant.keys import Keys
from assistant.ownership import NOTE, Owner, own
from assistant.workspace import open_workspace
from ingest.errors import ConflictError, MissingModelError, UsageError
from ingest.model_file import fetch
from tests import chroma_server

PATIENCE_S = 300
"""For what takes seconds where nothing else runs."""
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
        assert httpx.get(f"{url}/readyz", timeout=PATIENCE_S).status_code == 200
        body = {"question": "Say hello.", "mode": "base"}
        assert httpx.post(f"{url}/api/ask", json=body, timeout=PATIENCE_S).json()["answer"]
        with pytest.raises(ConflictError, match="served already"):
            run(Settings(home=tmp_path))
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert json.loads(out) == {"url": url, "stopped": True}
    assert "Traceback" not in err
    assert not (tmp_path / NOTE).exists()


@pytest.mark.parametrize("vectors", ["chroma", "qdrant"])
def test_several_workers_on_vectors_that_are_for_one_process_are_refused(
    tmp_path: Path, vectors: str
) -> None:
    settings = on_disk(tmp_path)
    store = settings.store.model_copy(update={"vectors": vectors})
    with pytest.raises(UsageError, match="for one process") as caught:
        run(settings.model_copy(update={"store": store}), "--workers", "2")
    assert f"index copy {vectors} chroma:http" in caught.value.hint


def test_a_number_of_workers_or_a_grace_that_is_none_is_refused(tmp_path: Path) -> None:
    for arguments in (("--workers", "0"), ("--workers", "65"), ("--grace", "-1")):
        with pytest.raises(UsageError, match=arguments[0]):
            run(on_disk(tmp_path), *arguments)


PER_MINUTE = 10


@pytest.mark.model
def test_several_workers_do_each_job_once_and_one_that_dies_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(Settings().engine.model)
    monkeypatch.setenv("GROUNDTUNE_SECURITY__REQUESTS_PER_MINUTE", str(PER_MINUTE))
    with open_workspace(Settings(home=tmp_path / "home")) as workspace:
        keys = Keys(workspace.registry.engine)
        _, key = keys.create("anna", roles=["ask"], collections=None)
    with (
        chroma_server.started(tmp_path / "chroma") as chroma,
        serving(tmp_path / "home", f"chroma:{chroma}", "--workers", "2") as (process, url),
    ):
        with ThreadPoolExecutor(8) as pool:
            jobs = list(pool.map(lambda n: uploaded(url, n), range(8)))
        children = psutil.Process(process.pid).children()
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        assert len(workers) == 2
        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:  # each request has a connection of its own
            codes = list(pool.map(lambda _: asked(url, key), range(6 * PER_MINUTE)))
        passed, minutes = codes.count(200), (time.monotonic() - began) / 60
        assert PER_MINUTE <= passed <= PER_MINUTE * (1 + minutes)
        assert codes.count(429) == len(codes) - passed
        workers[0].kill()
        # A connection that the dead one had accepted is lost; the one that lives answers.
        transport = httpx.HTTPTransport(retries=3)
        with httpx.Client(base_url=url, transport=transport, timeout=PATIENCE_S) as client:
            ends = [followed(client, job) for job in jobs]
            listed = client.get("/api/documents").json()["documents"]
    assert [end["result"]["added"] + end["result"]["unchanged"] for end in ends] == [1] * 8
    assert sorted(document["source"] for document in listed) == [f"{n}.md" for n in range(8)]
    assert process.returncode == 0


def asked(url: str, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.get(f"{url}/api/documents", headers=headers, timeout=PATIENCE_S).status_code


def uploaded(url: str, number: int) -> str:
    text = f"# Part {number}\n\nThe part {number} is tightened to {number}.5 N.m.\n"
    files = {"files": (f"{number}.md", text.encode())}
    answer = httpx.post(f"{url}/api/documents", files=files, timeout=PATIENCE_S)
    return str(answer.json()["job_id"])


def followed(client: httpx.Client, job: str) -> dict[str, Any]:
    client.get(f"/api/jobs/{job}/events")
    body: dict[str, Any] = client.get(f"/api/jobs/{job}").json()
    return body


@contextmanager
def serving(
    home: Path, vectors: str, *arguments: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command; yields it and its address once it is ready, and stops it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "assistant.cli", "--json", "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "GROUNDTUNE_HOME": str(home),
            "GROUNDTUNE_STORE__VECTORS": vectors,
        },
    )
    assert process.stderr is not None
    told = []
    try:
        for line in process.stderr:
            told.append(line)
            if found := re.search(r"is ready at (http://\S+)", line):
                yield process, found[1]
                break
        else:
            raise AssertionError("".join(told))
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in err, err
