import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue

import pytest

from ingest.watch import changes

pytest.importorskip("watchfiles")
SECONDS = 120.0  # to wait for what takes a tenth of a second, on a machine that is busy


@pytest.fixture
def seen(tmp_path: Path) -> Iterator["Queue[set[Path]]"]:
    """What is handed out while `tmp_path` is followed."""
    queue: Queue[set[Path]] = Queue()
    stop, begun = threading.Event(), threading.Event()

    def follow() -> None:
        for found in changes([str(tmp_path)], stop=stop):
            begun.set()
            queue.put(found)

    thread = threading.Thread(target=follow)
    thread.start()
    while not begun.wait(0.1):  # until the watch is in place, changes go unseen
        (tmp_path / ".begin").touch()
        (tmp_path / ".begin").unlink()
    yield queue
    stop.set()
    thread.join(SECONDS)
    assert not thread.is_alive(), "to stop must end it"


def until(queue: "Queue[set[Path]]", path: Path) -> set[Path]:
    """Return everything handed out up to `path`."""
    found: set[Path] = set()
    while path not in found:
        found |= queue.get(timeout=SECONDS)
    return found


def test_new_changed_and_deleted_files_are_handed_out(
    seen: "Queue[set[Path]]", tmp_path: Path
) -> None:
    path = tmp_path / "a.md"
    path.write_text("one", encoding="utf-8")
    assert path in until(seen, path)
    path.write_text("two", encoding="utf-8")
    assert path in until(seen, path)
    path.unlink()
    assert path in until(seen, path)


def test_a_folder_that_comes_later_is_followed_too(
    seen: "Queue[set[Path]]", tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    until(seen, tmp_path / "new")
    path = tmp_path / "new" / "b.md"
    end = time.monotonic() + SECONDS
    found: set[Path] = set()
    while path not in found and time.monotonic() < end:  # until it is followed, changes go unseen
        path.write_text("one", encoding="utf-8")
        with suppress(Empty):
            found |= seen.get(timeout=2)
    assert path in found
