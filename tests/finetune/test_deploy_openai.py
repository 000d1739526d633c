import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from assistant.adapter import Adapter
from assistant.engines.openai_models import OpenAIModels
from finetune.deploy_openai import WEIGHTS, load_adapter, unload_adapter
from ingest.errors import MissingModelError, UsageError


class SmallVllm(ThreadingHTTPServer):
    """Lists, loads and unloads adapters as vLLM does, and answers nothing."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.base = "base"
        self.adapters: dict[str, str] = {}
        self.loads = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: SmallVllm

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        cards: list[dict[str, Any]] = [{"id": self.server.base, "parent": None, "root": "/model"}]
        if not self.server.base:
            cards = []
        for name, root in self.server.adapters.items():
            cards.append({"id": name, "parent": self.server.base, "root": root})
        self._reply(200, {"object": "list", "data": cards})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = body["lora_name"]
        there = name in self.server.adapters
        if self.path == "/v1/load_lora_adapter":
            if there:
                self._reply(400, {"error": {"message": "has already been loaded"}})
                return
            self.server.loads += 1
            self.server.adapters[name] = body["lora_path"]
        elif not there:
            self._reply(404, {"error": {"message": "cannot be found"}})
            return
        else:
            del self.server.adapters[name]
        self._reply(200, {})

    def _reply(self, status: int, body: dict[str, Any]) -> None:
        said = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)


@pytest.fixture
def server() -> Iterator[SmallVllm]:
    with SmallVllm() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def models(server: SmallVllm) -> Iterator[OpenAIModels]:
    with OpenAIModels(server.url) as models:
        yield models


def adapter(folder: Path) -> Adapter:
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(b"weights")
    return Adapter("tickets", "v1", folder, {})


def test_an_adapter_is_loaded_once_and_unloaded_once(
    server: SmallVllm, models: OpenAIModels, tmp_path: Path
) -> None:
    tuned = adapter(tmp_path / "v1")
    entry = load_adapter(models, tuned)
    assert (entry["model"], entry["base"]) == ("groundtune-tickets:v1", "base")
    assert server.adapters == {"groundtune-tickets:v1": str(tmp_path / "v1")}
    assert load_adapter(models, tuned) == entry
    assert server.loads == 1
    assert unload_adapter(models, tuned)
    assert not unload_adapter(models, tuned)
    assert server.adapters == {}


def test_another_folder_under_the_same_name_takes_its_place(
    server: SmallVllm, models: OpenAIModels, tmp_path: Path
) -> None:
    load_adapter(models, adapter(tmp_path / "old"))
    load_adapter(models, adapter(tmp_path / "new"))
    assert server.adapters == {"groundtune-tickets:v1": str(tmp_path / "new")}


def test_nothing_is_loaded_without_its_files_or_its_base(
    server: SmallVllm, models: OpenAIModels, tmp_path: Path
) -> None:
    tuned = adapter(tmp_path / "v1")
    server.base = ""
    with pytest.raises(MissingModelError, match="lists no base model"):
        load_adapter(models, tuned)
    (tmp_path / "v1" / WEIGHTS).unlink()
    with pytest.raises(UsageError, match=WEIGHTS):
        load_adapter(models, tuned)
    assert server.loads == 0
