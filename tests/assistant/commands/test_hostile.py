"""Hostile command lines: each is one clear line and an exit code, and never a traceback."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from assistant import cli

HERE = Path(__file__).parents[3]
DEAD = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["ask", ""], 2, "The question is empty"),
        (["ask", "  \n"], 2, "The question is empty"),
        (["search", ""], 2, "The question is empty"),
        (["ask", "Why?", "--mode", "nope"], 2, "no mode 'nope'"),
        (["ask", "Why?", "-k", "0"], 2, "-k 0: it starts at 1"),
        (["ask", "Why?", "--filter", "kind"], 2, "not KEY=VALUE"),
        (["search", "x", "--filter"], 2, "expected one argument"),
        (["ask", "Why?", "--schema", "nothing.json"], 2, "nothing.json cannot be read"),
        (["ingest", "nothing.md"], 2, "nothing.md"),
        (["--config", "nothing.toml", "search", "x"], 2, "nothing.toml"),
        (["--config", "/", "search", "x"], 2, "cannot be read"),
        (["--config", "torn.toml", "search", "x"], 2, "torn.toml"),
        (["restore", "nothing.tar.gz"], 2, "nothing.tar.gz cannot be read"),
        (["restore", "torn.toml"], 2, "torn.toml is damaged"),
        (["backup", "torn.toml"], 2, "is there already"),
        (["backup", "/nowhere/x"], 1, "cannot be written"),
        (["serve", "--port", "http"], 2, "invalid int value"),
        (["serve", "--host", "nowhere"], 2, "not an address"),
        (["frobnicate"], 2, "no command"),
    ],
)
def test_a_hostile_command_line_is_told_in_a_line(
    arguments: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GROUNDTUNE_HOME", str(tmp_path / "home"))
    (tmp_path / "torn.toml").write_bytes(b"\xff[torn")
    assert exit_code(arguments) == code
    told = capsys.readouterr().err
    assert says in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("STORE__VECTORS", "faiss", "store.vectors = 'faiss'"),
        ("STORE__STATE", "mysql://x", "store.state = 'mysql://x'"),
        ("STORE__STATE", "postgresql://127.0.0.1:9/x", "127.0.0.1:9/x"),
    ],
)
def test_a_store_that_is_unknown_or_dead_is_named(
    variable: str,
    value: str,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GROUNDTUNE_HOME", str(tmp_path))
    monkeypatch.setenv(f"GROUNDTUNE_{variable}", value)
    assert exit_code(["documents", "list"]) in (1, 2)
    told = capsys.readouterr().err
    assert says in told
    assert "Traceback" not in told


def exit_code(arguments: list[str]) -> int:
    try:
        return cli.main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


def test_a_full_disk_is_no_fault_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    monkeypatch.chdir(tmp_path)

    def run(args: object, settings: object) -> dict[str, object]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "reports/x.html")

    monkeypatch.setattr("assistant.commands.config.run", run)
    assert cli.main(["config", "show"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: reports/x.html: No space left on device")
    assert "Traceback" not in told


INTERRUPTED = """
import os, signal, sys, threading, time
from assistant import cli

def at_work():
    frame = sys._current_frames()[threading.main_thread().ident]
    stack = []
    while frame is not None:
        stack.append(frame.f_code)
        frame = frame.f_back
    # While modules are loaded, there is C code that swallows the interruption.
    return cli._run.__code__ in stack and not any("importlib" in c.co_filename for c in stack)

def strike():
    seen = 0
    while seen < 5:
        time.sleep(0.02)
        seen = seen + 1 if at_work() else 0
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=strike, daemon=True).start()
raise SystemExit(cli.main())
"""


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["ingest", "."]])
def test_ctrl_c_ends_a_command_in_a_line(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "a.md").write_text("# A\n\nThe pump is red.\n", encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HERE), "GROUNDTUNE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode in (0, 128 + signal.SIGINT), ended.stderr
    assert "Traceback" not in ended.stderr
