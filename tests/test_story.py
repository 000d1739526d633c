"""The whole story with the real small models: ingest, ask, tune, evaluate, serve, ingest again."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ports import free_port

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "examples" / "tarnfell" / "groundtune.toml"
NOTE = """# Service note: Osprey 77 tide gauge

## Clamp screws

The clamp screws of the Osprey 77 tide gauge are tightened to 61 N·m with the long key.
"""
PATIENCE_S = 600.0
"""For what takes seconds where nothing else runs."""
QUESTION = "How tight do the clamp screws of the Osprey 77 tide gauge have to be?"


def run(home: Path, *arguments: str, code: int = 0) -> Any:
    """Run `groundtune` as a user does; return what `--json` prints."""
    done = subprocess.run(
        command(*arguments), env=environment(home), capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr[-3000:]
    return json.loads(done.stdout) if code == 0 else done.stderr


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "assistant.cli", "--config", str(CONFIG), "--json", *arguments]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "GROUNDTUNE_HOME": str(home)}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The workspace that `groundtune demo --fast` leaves, and what it printed."""
    home = tmp_path_factory.mktemp("story")
    return home / "demo", run(home, "demo", "--fast")


@pytest.fixture(scope="module")
def server(story: tuple[Path, dict[str, Any]]) -> Iterator[httpx.Client]:
    """`groundtune serve` on that workspace."""
    home, _ = story
    port = free_port()
    process = subprocess.Popen(command("serve", "--port", str(port)), env=environment(home))
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S, trust_env=False)
    try:
        wait_until_ready(client, process)
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait(timeout=120)


def wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        assert process.poll() is None, "the server ended"
        try:
            if client.get("/readyz").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    pytest.fail(f"the server was not ready in {PATIENCE_S:g} s")


def ask(client: httpx.Client, mode: str) -> Any:
    response = client.post("/api/ask", json={"question": QUESTION, "mode": mode})
    assert response.status_code == 200, response.text
    return response.json()


def test_the_demo_leaves_a_report_and_three_sentences(
    story: tuple[Path, dict[str, Any]],
) -> None:
    home, result = story
    assert len(result["sentences"]) == 3
    report = Path(result["report"])
    assert report.is_relative_to(home)
    numbers = json.loads((report / "report.json").read_text(encoding="utf-8"))
    assert {"base", "rag", "finetuned", "combined"} <= set(numbers["summary"]["arms"])
    html = (report / "report.html").read_text(encoding="utf-8")
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "https://" not in html


def test_an_adapter_names_its_data_set_and_the_data_set_its_sources(
    story: tuple[Path, dict[str, Any]],
) -> None:
    home, result = story
    adapter = run(home, "adapters", "show", result["adapter"])
    folder = next((home / "datasets").iterdir())
    assert folder.name in json.dumps(adapter["dataset"])
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert "tickets.jsonl" in json.dumps(manifest)
    assert (Path(adapter["folder"]) / "losses.png").stat().st_size > 1000


def test_ingesting_the_sample_again_changes_nothing(story: tuple[Path, dict[str, Any]]) -> None:
    home, _ = story
    tally = run(home, "ingest", str(CONFIG.parent / "documents"))
    assert (tally["added"], tally["updated"], tally["deleted"]) == (0, 0, 0)
    assert tally["unchanged"] == 40


def test_a_schema_holds_an_answer_of_the_command_line(
    story: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    home, _ = story
    schema = tmp_path / "schema.json"
    schema.write_text(
        '{"type": "object", "properties": {"torque": {"type": "string", "maxLength": 30}},'
        ' "required": ["torque"], "additionalProperties": false}',
        encoding="utf-8",
    )
    question = "How firmly should the point be screwed onto the Bodkin 260?"
    answer = run(home, "ask", question, "--mode", "rag", "--schema", str(schema))
    assert list(json.loads(answer["answer"])) == ["torque"]


def test_a_document_that_came_after_training_answers_the_next_request(
    server: httpx.Client,
) -> None:
    before = ask(server, "rag")
    assert "61" not in before["answer"]
    accepted = server.post("/api/documents", files=[("files", ("osprey.md", NOTE.encode()))])
    assert accepted.status_code == 202
    job: Any = {"status": "queued"}
    end = time.monotonic() + PATIENCE_S
    while job["status"] in ("queued", "running") and time.monotonic() < end:
        time.sleep(0.2)
        job = server.get(f"/api/jobs/{accepted.json()['job_id']}").json()
    assert job["status"] == "done"
    for mode in ("rag", "combined"):
        after = ask(server, mode)
        hits = server.post("/api/search", json={"query": QUESTION, "k": 1}).json()["hits"]
        assert hits[0]["source"] == "osprey.md"
        assert after["usage"]["prompt_tokens"] > 150
        for citation in after["citations"]:
            text = server.get(f"/api/documents/{citation['document_id']}").json()["text"]
            assert text[citation["start"] : citation["end"]] == citation["quote"]
    assert any("61" in c["quote"] for c in ask(server, "rag")["citations"])


def test_commands_work_through_the_server_while_it_owns_the_workspace(
    server: httpx.Client, story: tuple[Path, dict[str, Any]]
) -> None:
    home, _ = story
    listed = run(home, "documents", "list")["documents"]
    assert listed == server.get("/api/documents").json()["documents"]
    error = run(home, "finetune", str(CONFIG.parent / "finetune.toml"), code=2)
    assert "Stop the server" in error


def test_a_deleted_document_is_gone(server: httpx.Client) -> None:
    documents = server.get("/api/documents").json()["documents"]
    osprey = [d["id"] for d in documents if d["source"] == "osprey.md"]
    for document_id in osprey:
        assert server.delete(f"/api/documents/{document_id}").is_success
    hits = server.post("/api/search", json={"query": QUESTION, "k": 5}).json()["hits"]
    assert "osprey.md" not in {hit["source"] for hit in hits}


@pytest.mark.parametrize("words", [[], ["nope"], ["ask"], ["ask", "hi", "--mode", "magic"]])
def test_a_mistake_on_the_command_line_is_exit_code_2(words: Sequence[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "assistant.cli", *words],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
