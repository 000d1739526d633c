"""Base models by the names of others: of a real Ollama server, and of a small hub on a socket."""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from assistant.commands import models as command
from assistant.config import EngineSettings, Settings
from assistant.engines.engine import Message, Request
from assistant.engines.ollama_models import OllamaModels
from assistant.engines.tokenizer import shell_of
from assistant.gguf_file import fetch_gguf, hub_file, installed_file, resolve_gguf
from assistant.workspace import open_workspace
from ingest.errors import EngineError, GroundtuneError, MissingModelError, UsageError
from ingest.model_file import fetch, sha256_of
from tests.faulty_server import Socket
from tests.ollama_server import PREFIX, OllamaServer

NAME = f"{PREFIX}installed:latest"


def install(server: OllamaServer, gguf: Path) -> None:
    """Make `gguf` a model of the server, as `ollama pull` or `ollama create` does."""
    sha256 = sha256_of(gguf)
    with OllamaModels(server.url) as models:
        if not models.has_blob(sha256):
            models.upload(gguf, sha256)
        models.create(NAME, base=(gguf.name, sha256), template="{{ .Prompt }}", stop=())


@pytest.mark.model
def test_a_model_that_ollama_has_is_the_base_model_of_both_engines_without_a_copy(
    ollama_server: OllamaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ollama_server.process is None:
        pytest.skip("the files of a server that is not ours may be out of reach")
    gguf = fetch(EngineSettings().model)
    install(ollama_server, gguf)
    monkeypatch.setenv("GROUNDTUNE_CACHE", str(tmp_path / "cache"))
    name = f"ollama:{NAME}"
    engine = {"kind": "ollama", "url": ollama_server.url, "model": name, "context_tokens": 512}
    settings = Settings.model_validate({"home": tmp_path / "home", "engine": engine})
    with pytest.raises(MissingModelError, match=f"models fetch '{name}'"):
        resolve_gguf(name)
    there = command.run(argparse.Namespace(name=None), settings)["models"]
    assert Path(there[name]).samefile(installed_file(NAME, ollama_server.url))
    assert sha256_of(Path(there[name])) == sha256_of(gguf)
    for kind in ("ollama", "embedded"):
        changed = settings.engine.model_copy(update={"kind": kind})
        with open_workspace(settings.model_copy(update={"engine": changed})) as workspace:
            assert asyncio.run(two_tokens(workspace.engine)) == 2
    with OllamaModels(ollama_server.url) as models:
        models.delete(there[f"{name} on the server"].split(": ")[1])


async def two_tokens(engine: Any) -> int:
    """Return how many tokens the engine says it has written."""
    request = Request((Message("user", "Name the days of the week."),), max_tokens=2)
    *_, last = [piece async for piece in engine.stream(request)]
    return int(last.usage.completion_tokens)


@pytest.mark.model
def test_a_name_stands_for_the_same_bytes_until_it_is_fetched_again(
    ollama_server: OllamaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ollama_server.process is None:
        pytest.skip("the files of a server that is not ours may be out of reach")
    first = fetch(EngineSettings().model)
    second = shell_of(first)
    monkeypatch.setenv("GROUNDTUNE_CACHE", str(tmp_path))
    install(ollama_server, first)
    path = fetch_gguf(f"ollama:{NAME}", ollama_url=ollama_server.url)
    (path.parent / "old.Q8_0.gguf").touch()
    install(ollama_server, second)
    assert sha256_of(resolve_gguf(f"ollama:{NAME}")) == sha256_of(first)
    assert fetch_gguf(f"ollama:{NAME}", ollama_url=ollama_server.url) == path
    assert sha256_of(path) == sha256_of(second)
    assert list(path.parent.iterdir()) == [path]  # what was made of the first is gone


@pytest.mark.model
def test_a_model_that_ollama_does_not_have_is_to_be_pulled(ollama_server: OllamaServer) -> None:
    with pytest.raises(MissingModelError, match=r"not found(.|\n)*ollama pull nobody-has-this"):
        installed_file("nobody-has-this", ollama_server.url)


@pytest.mark.parametrize(
    ("modelfile", "kind", "message"),
    [
        ("# made by\nFROM /nowhere/sha256-1", MissingModelError, r"/nowhere(.|\n)*file:model.gguf"),
        ("FROM llama3", MissingModelError, "cannot be read from here"),
        ("FROM /base\nADAPTER /lora", UsageError, "with an adapter on top"),
    ],
)
def test_a_file_that_is_out_of_reach_is_named_with_a_way_to_it(
    modelfile: str, kind: type[GroundtuneError], message: str
) -> None:
    async def scenario() -> Path:
        shown = json.dumps({"modelfile": modelfile, "model_info": {}}).encode()
        async with Socket(facts={b"/api/show": shown}).listening() as url:
            return await asyncio.to_thread(installed_file, "some", url)

    with pytest.raises(kind, match=message):
        asyncio.run(scenario())


class Hub(BaseHTTPRequestHandler):
    """Says what a repository holds, and gives its files."""

    repositories: dict[str, list[str]]
    content: bytes

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        api = self.path.removeprefix("/api/models/").partition("/revision/")[0]
        repo, _, file = self.path.strip("/").partition("/resolve/main/")
        if files := self.repositories.get(api):
            siblings = [{"rfilename": name} for name in files]
            self._reply(json.dumps({"id": api, "siblings": siblings}).encode())
        elif file in self.repositories.get(repo, []):
            self._reply(self.content, {"ETag": '"1"', "X-Repo-Commit": "0" * 40})
        elif "org/closed" in self.path:
            self._reply(b"", status=403)
        else:
            code = "EntryNotFound" if repo in self.repositories else "RepoNotFound"
            self._reply(b"", {"X-Error-Code": code}, status=404)

    def _reply(self, body: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@contextmanager
def hub(content: bytes = b"", **repositories: list[str]) -> Iterator[str]:
    """Run a hub with `org/NAME` for each name, and yield its address."""
    known = {f"org/{name}": files for name, files in repositories.items()}
    handler = type("Handler", (Hub,), {"repositories": known, "content": content})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.model
def test_the_only_gguf_file_of_a_repository_is_fetched(tmp_path: Path) -> None:
    content = shell_of(fetch(EngineSettings().model)).read_bytes()
    with hub(content, small=["README.md", "small.gguf"]) as url:
        environment = os.environ | {
            "HF_ENDPOINT": url,
            "HF_HOME": str(tmp_path / "hub"),
            "GROUNDTUNE_CACHE": str(tmp_path / "cache"),
        }
        done = subprocess.run(
            [sys.executable, "-m", "assistant.cli", "--json", "models", "fetch", "hf:org/small"],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert Path(json.loads(done.stdout)["models"]["hf:org/small"]).read_bytes() == content


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("org/plain", UsageError, r"no GGUF file(.|\n)*-GGUF"),
        ("org/many", UsageError, r"2 GGUF files: a.gguf, b.gguf(.|\n)*hf:org/many/a.gguf"),
        ("org/absent", MissingModelError, "no repository org/absent"),
        ("org/many/c.gguf", MissingModelError, "org/many has no file c.gguf"),
        ("org/closed", EngineError, r"did not give org/closed: 403(.|\n)*file:PATH"),
        ("org/closed/c.gguf", EngineError, r"did not give(.|\n)*file:PATH"),
        ("org", UsageError, "write hf:org/repo"),
        ("org/many/c.txt", UsageError, "write hf:org/repo"),
    ],
)
def test_a_repository_without_the_one_file_says_what_it_has(
    name: str, kind: type[GroundtuneError], message: str
) -> None:
    with (
        hub(plain=["model.safetensors"], many=["b.gguf", "a.gguf"]) as url,
        pytest.raises(kind, match=message),
    ):
        hub_file(name, endpoint=url)
