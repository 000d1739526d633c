"""A file that is too much costs itself, and nobody else."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from ingest.document import Document
from ingest.errors import DocumentError, OverLimitError
from ingest.read import read_document
from ingest.readers.job import Limits
from ingest.sandbox import Reader
from tests.ingest.samples import MARKDOWN, pdf, samples, workbook, zipped

# Takes a minute to parse.
SLOW = b"\n".join([b"[" * 200 + b"x](" * 200] * 4000)


def read(reader: Reader, content: bytes, source: str = "a.md") -> Document:
    return reader.read(content, source=source, collection="c", path=None, document_id="d")


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader(workers=2, timeout_s=120, memory_mb=400) as reader:
        yield reader


@pytest.mark.parametrize("name", samples())
def test_a_worker_reads_what_is_read_without_one(name: str, reader: Reader) -> None:
    content = samples()[name]
    assert read(reader, content, name) == read_document(
        content, source=name, collection="c", path=None, document_id="d"
    )


def test_a_bad_file_has_the_same_error_and_the_next_one_is_read(reader: Reader) -> None:
    with pytest.raises(DocumentError, match="it is encrypted") as caught:
        read(reader, pdf("x", password="y"), "a.pdf")
    assert caught.value.hint == "Save it without a password."
    assert read(reader, MARKDOWN).title == "Pump"


def test_a_name_that_is_not_utf8_is_refused(reader: Reader) -> None:
    with pytest.raises(DocumentError, match="not UTF-8"):
        read(reader, MARKDOWN, "caf\udce9.md")


def test_a_file_that_takes_too_long_is_given_up() -> None:
    with Reader(workers=1, timeout_s=4) as reader:
        started = time.monotonic()
        with pytest.raises(OverLimitError, match=r"longer than 4 s to read"):
            read(reader, SLOW)
        assert time.monotonic() - started < 45
        assert read(reader, MARKDOWN).title == "Pump"


def test_a_file_that_needs_too_much_memory_is_refused() -> None:
    with Reader(workers=1, memory_mb=100) as reader:
        with pytest.raises(OverLimitError, match="more than 100 MB to read"):
            read(reader, b"word " * 8_000_000, "a.txt")  # before it is sent
        with pytest.raises(OverLimitError, match="more than 100 MB to read"):
            read(reader, b"<p>x" * 300_000, "a.html")  # while it is parsed
        assert read(reader, MARKDOWN).title == "Pump"


def test_a_worker_that_died_is_replaced(reader: Reader) -> None:
    with Reader(workers=1) as lone:
        read(lone, MARKDOWN)
        [worker] = lone._idle
        os.kill(worker._process.pid, signal.SIGKILL)
        worker._process.wait()
        assert read(lone, MARKDOWN).title == "Pump"


def test_a_worker_that_dies_over_a_file_is_that_files_error() -> None:
    with Reader(workers=1) as lone:
        read(lone, MARKDOWN)
        [worker] = lone._idle
        killer = threading.Thread(target=kill_at_work, args=[worker._process.pid])
        killer.start()
        with pytest.raises(DocumentError, match="parser crashed"):
            read(lone, SLOW)
        killer.join()
        assert read(lone, MARKDOWN).title == "Pump"


def kill_at_work(pid: int) -> None:
    """Kill a process in the middle of its work: once it has computed for a fifth of a second."""
    process = psutil.Process(pid)
    before = sum(process.cpu_times()[:2])
    while sum(process.cpu_times()[:2]) < before + 0.2:
        time.sleep(0.01)
    os.kill(pid, signal.SIGSEGV)


def test_files_are_read_from_several_threads_each_its_own(reader: Reader) -> None:
    with ThreadPoolExecutor(6) as threads:
        texts = [f"# T{n}\n\nText {n}." for n in range(60)]
        documents = list(threads.map(lambda text: read(reader, text.encode()), texts))
    assert [document.text for document in documents] == [f"Text {n}." for n in range(60)]


def test_a_second_process_starts_once_reading_has_fallen_behind() -> None:
    rows = [["Part", "Price"], *([f"Seal {n}", n] for n in range(3000))]
    large = workbook({"S": rows})
    with Reader(workers=2) as reader, ThreadPoolExecutor(2) as threads:
        read(reader, MARKDOWN)
        list(threads.map(lambda _: read(reader, MARKDOWN), range(20)))
        assert len(reader._idle) == 1
        list(threads.map(lambda _: read(reader, large, "a.xlsx"), range(20)))
        assert len(reader._idle) == 2


def test_readers_that_wait_are_refused_when_it_closes() -> None:
    reader = Reader(workers=1, timeout_s=3)
    read(reader, MARKDOWN)
    with ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(read, reader, SLOW) for _ in range(3)]
        soon = time.monotonic() + 60
        while reader._idle:  # until one of them reads
            assert time.monotonic() < soon
            time.sleep(0.01)
        reader.close()
        errors = {type(one.exception()) for one in waiting}
    assert errors == {OverLimitError, RuntimeError}


def test_a_pdf_of_too_many_pages_and_a_bomb_are_refused_within_their_limits() -> None:
    with Reader(workers=1, limits=Limits(pages=10)) as reader:
        with pytest.raises(OverLimitError, match="It has 11 pages; at most 10"):
            read(reader, pdf("x", pages=11), "a.pdf")
        with pytest.raises(OverLimitError, match="times its size"):
            read(reader, zipped({"a.txt": b"0" * 30_000_000}), "a.zip")


def test_a_sheet_that_claims_a_million_empty_rows_is_read_quickly(reader: Reader) -> None:
    rows: list[list[object]] = [["Part", "Price"], ["Seal", 4]]
    content = workbook({"S": rows})
    assert read(reader, content, "a.xlsx").text == "Part: Seal; Price: 4"


def test_a_closed_reader_has_no_processes_left() -> None:
    reader = Reader(workers=1)
    read(reader, MARKDOWN)
    [worker] = reader._idle
    reader.close()
    assert not worker.alive()
    with pytest.raises(RuntimeError, match="closed"):
        read(reader, MARKDOWN)
