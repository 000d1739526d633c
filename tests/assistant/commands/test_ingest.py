import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from assistant.commands import documents, ingest
from assistant.config import Settings
from assistant.ownership import own
from ingest.errors import ConflictError, UsageError

pytestmark = pytest.mark.model
ROOT = Path(__file__).parents[3]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "cat.md").write_text("# Cat\n\nThe cat sat on the mat.", encoding="utf-8")
    (docs / "empty.md").write_bytes(b"")
    return docs


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def run(command: Any, settings: Settings, *arguments: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    args = parser.parse_args(arguments)
    args.json = False
    result: dict[str, Any] = command.run(args, settings)
    return result


def test_each_file_is_told_of_and_the_unchanged_are_counted(
    docs: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    first = ingest.render(run(ingest, settings, str(docs))).splitlines()
    assert first[0].startswith("1 added, 0 updated, 0 unchanged, 0 deleted; 1 new passages in ")
    assert first[1:] == [
        "  added    cat.md (1 passages)",
        "  failed   empty.md: The file is empty.",
    ]
    said = capsys.readouterr().err
    assert "files/s" in said
    assert "ETA" in said
    assert "Passed over" not in said
    (docs / "cat.md").rename(docs / "kitten.md")
    (docs / "empty.md").unlink()
    again = ingest.render(run(ingest, settings, str(docs), "--prune")).splitlines()
    assert again[0].startswith("0 added, 0 updated, 1 moved, 0 unchanged, 1 deleted; ")
    assert again[1:] == ["  moved    kitten.md (1 passages)"]
    third = ingest.render(run(ingest, settings, str(docs))).splitlines()
    assert len(third) == 1
    assert third[0].startswith("0 added, 0 updated, 1 unchanged, 0 deleted; 0 new passages in ")


def test_what_a_folder_is_not_searched_for_is_named(
    docs: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(7):
        (docs / f"{number}.png").write_bytes(b"x")
    run(ingest, settings, str(docs))
    said = " ".join(capsys.readouterr().err.split())
    assert "Passed over, by their names or because they are links to folders: 0.png" in said
    assert "and 2 more." in said


def test_documents_are_listed_with_status_passages_and_error(
    docs: Path, settings: Settings
) -> None:
    run(ingest, settings, str(docs))
    cat, empty, error = documents.render(run(documents, settings, "list")).splitlines()
    assert cat.split()[1:] == ["done", "1", "passages", "cat.md", "(Cat)"]
    assert empty.split()[1:] == ["failed", "0", "passages", "empty.md", "(empty.md)"]
    assert error.strip() == "The file is empty."


def test_what_needs_the_workspace_alone_is_refused_before_anything_is_sent(
    docs: Path, settings: Settings
) -> None:
    with (
        own(settings.home, "serve", "http://127.0.0.1:1"),
        pytest.raises(ConflictError, match="--ray needs the workspace to itself") as caught,
    ):
        run(ingest, settings, str(docs), "--ray", "auto")
    assert "Stop the server first" in caught.value.hint


def test_flags_that_do_not_go_together_are_refused(docs: Path, settings: Settings) -> None:
    with pytest.raises(UsageError, match="do not go together"):
        run(ingest, settings, str(docs), "--watch", "--ray", "auto")


def start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "assistant.cli", "ingest", "--json", *arguments],
        cwd=ROOT,
        env={**os.environ, "GROUNDTUNE_HOME": str(home), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(process: subprocess.Popen[str], words: str) -> str:
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if words in line:
            return said
    raise AssertionError(f"{words!r} was not said: {said}")


@contextmanager
def saved_again_and_again(path: Path, text: str) -> Iterator[None]:
    """Write a file time after time: until the watch is in place, changes go unseen."""
    ended = threading.Event()
    whole = path.parents[1] / path.name  # or the watch might read a file of which half is written

    def save() -> None:
        while not ended.wait(0.2):
            whole.write_text(text, encoding="utf-8")
            whole.replace(path)

    thread = threading.Thread(target=save)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_folder_is_watched_until_ctrl_c(docs: Path, settings: Settings) -> None:
    pytest.importorskip("watchfiles")
    process = start(settings.home, str(docs), "--watch", "--prune")
    read_until(process, "Watching.")
    with saved_again_and_again(docs / "dog.md", "# Dog\n\nThe dog left."):
        read_until(process, "added    dog.md")
    (docs.parent / "birds").mkdir()
    (docs.parent / "birds" / "owl.md").write_text("# Owl\n\nThe owl slept.", encoding="utf-8")
    (docs.parent / "birds").rename(docs / "birds")
    read_until(process, "added    birds/owl.md")
    with own(settings.home, "search", wait_s=120):
        pass  # between two rounds the workspace is free
    (docs / "cat.md").unlink()
    read_until(process, "1 deleted")
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=120)
    assert "Traceback" not in said
    result = json.loads(out)
    assert (result["added"], result["deleted"]) == (3, 1)
    assert process.returncode == 1  # a file had failed


def test_a_second_ingestion_waits_for_the_first_and_says_so(docs: Path, settings: Settings) -> None:
    with own(settings.home, "finetune"):
        process = start(settings.home, str(docs))
        said = read_until(process, "waiting for it to finish")
        assert f"`groundtune finetune` (process {os.getpid()})" in said
    out, _ = process.communicate(timeout=120)
    assert json.loads(out)["added"] == 1
