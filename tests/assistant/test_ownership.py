import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from assistant.ownership import LOCK, NOTE, Claim, Owner, own
from ingest.errors import ConflictError

HOLD = """
import sys, time
from pathlib import Path
from assistant.ownership import Claim, own

home, url, seconds = Path(sys.argv[1]), sys.argv[2] or None, float(sys.argv[3])
with own(home, "serve", url) as claim:
    assert isinstance(claim, Claim)
    print("held", flush=True)
    time.sleep(seconds)
"""
Hold = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    """Let another process own the workspace."""
    processes: list[subprocess.Popen[str]] = []

    def start(url: str = "", seconds: float = 60.0) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(tmp_path), url, str(seconds)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_free_workspace_is_ours_and_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with own(tmp_path / "new", "ingest") as claim:
            assert isinstance(claim, Claim)
            assert json.loads((tmp_path / "new" / NOTE).read_text())["command"] == "ingest"
        assert not (tmp_path / "new" / NOTE).exists()


def test_a_server_that_owns_it_is_named_with_its_address(tmp_path: Path, hold: Hold) -> None:
    server = hold("http://127.0.0.1:8000")
    with own(tmp_path, "ask") as owner:
        assert owner == Owner(server.pid, "serve", "http://127.0.0.1:8000")
    with own(tmp_path, "ask") as owner:
        assert isinstance(owner, Owner), "working through the server must not take it over"


def test_a_command_that_owns_it_is_named_in_the_error(tmp_path: Path, hold: Hold) -> None:
    other = hold()
    named = rf"`groundtune serve` \(process {other.pid}\)"
    with pytest.raises(ConflictError, match=named), own(tmp_path, "ask"):
        pass


def test_who_waits_long_enough_gets_it(tmp_path: Path, hold: Hold) -> None:
    hold(seconds=0.5)
    with own(tmp_path, "ask", wait_s=30) as claim:
        assert isinstance(claim, Claim)


def test_an_address_announced_while_waiting_is_taken(tmp_path: Path, hold: Hold) -> None:
    server = hold()
    started = time.monotonic()
    note = json.dumps({"pid": server.pid, "command": "serve", "url": "http://127.0.0.1:1"})
    (tmp_path / NOTE).write_text(note)
    with own(tmp_path, "ask", wait_s=300) as owner:
        assert isinstance(owner, Owner)
    assert time.monotonic() - started < 100


def test_what_a_killed_process_left_is_ignored(tmp_path: Path, hold: Hold) -> None:
    killed = hold("http://127.0.0.1:8000")
    killed.kill()
    killed.wait()
    assert (tmp_path / NOTE).exists()
    assert (tmp_path / LOCK).exists()
    with own(tmp_path, "ask") as claim:
        assert isinstance(claim, Claim)


def test_a_note_of_a_dead_process_does_not_speak_for_the_one_that_holds_the_lock(
    tmp_path: Path, hold: Hold
) -> None:
    dead = hold("http://127.0.0.1:8000")
    dead.kill()
    dead.wait()
    stale = (tmp_path / NOTE).read_text()
    hold()
    (tmp_path / NOTE).write_text(stale)
    with pytest.raises(ConflictError, match="Another process works"), own(tmp_path, "ask"):
        pass


def test_an_error_inside_gives_it_back(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="boom"), own(tmp_path, "ask"):
        raise ValueError("boom")
    with own(tmp_path, "ask") as claim:
        assert isinstance(claim, Claim)
