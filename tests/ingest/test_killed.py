"""`kill -9` at any moment, then the same command again: the index is that of a clean run."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MOMENTS = 40
Order = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def order() -> Iterator[Order]:
    """Ingest in another process: `order(home, docs, last=moment, delay=seconds)`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ingest.killable"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def send(home: Path, docs: Path, **rest: Any) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        order = {"home": str(home), "docs": str(docs), "last": None, "delay": None, **rest}
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        return answer

    yield send
    process.communicate()


def write(docs: Path, number: int, version: int) -> None:
    """Write a document of three sections; the first one says the same in each version."""
    sections = ["All versions say this.", f"This is version {version}.", f"Part {number} is blue."]
    text = "\n\n".join(f"## Section {n}\n\n{said}" for n, said in enumerate(sections))
    path = docs / f"group-{number % 3}" / f"{number:02}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# Document {number}\n\n{text}", encoding="utf-8")


def change(docs: Path) -> None:
    """Change some, delete some, move some, break one, add some."""
    for number in range(0, 6):
        write(docs, number, version=2)
    for number in range(6, 10):
        (docs / f"group-{number % 3}" / f"{number:02}.md").unlink()
    for number in (10, 11):
        path = docs / f"group-{number % 3}" / f"{number:02}.md"
        path.rename(docs / path.name)
    (docs / "group-0" / "12.md").write_bytes(b"")
    for number in range(20, 30):
        write(docs, number, version=1)


def test_a_killed_ingestion_run_again_gives_the_index_of_a_clean_run(
    order: Order, tmp_path: Path
) -> None:
    docs, before, clean = tmp_path / "docs", tmp_path / "before", tmp_path / "clean"
    for number in range(20):
        write(docs, number, version=1)
    (docs / "group-0" / "broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    order(before, docs)
    change(docs)
    shutil.copytree(before, clean)
    expected = order(clean, docs)
    assert expected["held"]["pending"] == []
    assert len(expected["held"]["vectors"]) > 60
    rng = random.Random(20261124)
    by_write = by_clock = 0
    seconds = expected["seconds"]
    for number in range(MOMENTS):
        home = tmp_path / f"home-{number}"
        shutil.copytree(before, home)
        # Every other round is killed at a write, the others wherever the clock happens to strike.
        if number % 2:
            ending = {"last": rng.randrange(expected["ticks"])}
            by_write += order(home, docs, **ending)["killed"]
        else:
            ending = {"delay": rng.uniform(0, 1.2 * seconds)}
            run = order(home, docs, **ending)
            by_clock += run["killed"]
            seconds = run.get("seconds", seconds)  # the machine may have less to do by now
        if number % 4 == 3:  # the run that would mend it is killed as well
            by_write += order(home, docs, last=rng.randrange(expected["ticks"] // 2))["killed"]
        again = order(home, docs)
        assert again["held"] == expected["held"], f"round {number}, {ending}"
        shutil.rmtree(home)
    assert by_write >= MOMENTS // 2
    assert by_clock >= MOMENTS // 8
