"""A folder's vectors in a process of their own; what all stores promise is in `test_vectors.py`."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from assistant.stores import open_vectors
from ingest.document import Chunk
from ingest.errors import StoreError
from ingest.stores.apart import ApartVectors, held
from ingest.stores.chroma import MARK, ChromaVectors

ROOT = Path(__file__).parents[3]
MANY = 512
DIMENSION = 384
ROWS = np.random.default_rng(0).standard_normal((MANY, DIMENSION)).astype(np.float32)
CHUNKS = [
    Chunk(f"{n:032x}", "d", "default", "s.md", "T", (), None, 0, 1, "x", n) for n in range(MANY)
]
SERVE = """
import sys, time
from pathlib import Path
from ingest.stores.apart import ApartVectors
vectors = ApartVectors(Path(sys.argv[1]))
print(vectors.count("default"), flush=True)
time.sleep(600)
"""


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[ApartVectors]:
    vectors = ApartVectors(tmp_path / "vectors")
    yield vectors
    vectors.close()


def keeper() -> psutil.Process:
    """Return the process that keeps vectors for this one."""
    children = psutil.Process().children()
    [found] = [child for child in children if "stores.apart" in " ".join(child.cmdline())]
    return found


def test_whoever_waits_for_a_write_holds_up_no_other_thread(apart: ApartVectors) -> None:
    written = threading.Thread(target=apart.add, args=(CHUNKS, ROWS))
    before = time.thread_time()
    written.start()
    beats = 0
    while written.is_alive():
        beats += 1
        time.sleep(0.001)
    # Chroma lets no other thread of its process begin before it has stored the vectors.
    assert beats > 20
    assert time.thread_time() - before < 1
    assert apart.count("default") == MANY


def test_it_is_closed_with_its_service_and_a_direct_opener_sees_all(tmp_path: Path) -> None:
    vectors = ApartVectors(tmp_path / "vectors")
    process = keeper()
    vectors.add(CHUNKS[:3], ROWS[:3])
    vectors.close()
    vectors.close()
    assert not process.is_running()
    with pytest.raises(StoreError, match="closed"):
        vectors.count("default")
    direct = open_vectors("chroma", tmp_path, index="index", model="model")
    assert direct.ids() == {chunk.id for chunk in CHUNKS[:3]}
    direct.close()


def test_one_that_died_is_replaced_and_keeps_what_it_wrote(apart: ApartVectors) -> None:
    apart.add(CHUNKS[:3], ROWS[:3])
    process = keeper()
    process.kill()
    process.wait()
    assert apart.count("default") == 3
    assert not apart.torn
    assert keeper().pid != process.pid


def test_a_bug_ends_it_and_nobody_waits_for_ever(apart: ApartVectors) -> None:
    apart.add(CHUNKS[:3], ROWS[:3])
    with pytest.raises(StoreError, match=r"has ended \(exit code 1\)"):
        apart.count(["default"])  # type: ignore[arg-type]
    assert apart.count("default") == 3


def test_what_it_was_writing_when_it_died_is_torn_and_made_anew(
    apart: ApartVectors, tmp_path: Path
) -> None:
    apart.add(CHUNKS, ROWS)
    process = keeper()
    mark = tmp_path / "vectors" / MARK
    mark.touch()
    os.utime(mark, ns=(1, 1))  # as if the write had begun before the graph was touched
    process.kill()
    process.wait()
    assert apart.torn
    with apart.renewed():
        assert apart.torn
        apart.add(CHUNKS[:3], ROWS[:3])
    assert not apart.torn
    assert apart.ids() == {chunk.id for chunk in CHUNKS[:3]}


def test_it_ends_with_a_service_that_is_killed(tmp_path: Path) -> None:
    service = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path / "vectors")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert service.stdout is not None
    assert service.stdout.readline() == b"0\n"
    [child] = psutil.Process(service.pid).children()
    service.send_signal(signal.SIGKILL)
    service.wait()
    service.stdout.close()
    child.wait(120)
    with held(tmp_path / "vectors"):  # it has let go of the folder
        assert not child.is_running()


def test_a_folder_that_cannot_be_used_is_told_where_it_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "vectors").write_text("no folder", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be used") as caught:
        ApartVectors(tmp_path / "vectors")
    assert caught.value.hint


def test_several_threads_are_served_at_the_same_time(apart: ApartVectors) -> None:
    apart.add(CHUNKS, ROWS)
    found: list[str] = []

    def search(number: int) -> None:
        for _ in range(5):
            near = apart.search(ROWS[number], collection="default", limit=1)
            found.append(near[0].chunk_id)

    crew = [threading.Thread(target=search, args=(number,)) for number in range(12)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    assert sorted(found) == sorted(chunk.id for chunk in CHUNKS[:12] for _ in range(5))


def test_a_workspace_that_is_not_served_keeps_its_vectors_itself(tmp_path: Path) -> None:
    vectors = open_vectors("chroma", tmp_path, index="index", model="model")
    assert isinstance(vectors, ChromaVectors)
    vectors.close()
