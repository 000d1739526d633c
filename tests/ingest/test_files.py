"""Files that are not there, not ours or not still, and files that are far too large."""

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PosixPath
from typing import Any

import pytest

from ingest.errors import DocumentError, OverLimitError
from ingest.files import Upload, find_files, read_file
from ingest.index import Index
from ingest.registry import Registry
from ingest.sandbox import Reader
from ingest.stores.chroma import ChromaVectors
from tests.fakes import HashEmbedder, small_pipeline

NOBODY = 65534


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    home = tmp_path / "home"
    index = Index(Registry(home / "s.sqlite"), ChromaVectors(home / "v"), HashEmbedder())
    yield index
    index.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("cat", "dog"):
        (folder / f"{name}.md").write_text(f"# {name}\n\nThe {name} sat.", encoding="utf-8")
    return folder


class Restless(PosixPath):
    """A file that somebody writes each time that it is opened, so many times."""

    times = 0

    def open(self, *args: Any, **rest: Any) -> Any:
        if self.times > 0:
            self.times -= 1
            Path(self).write_text(f"version {self.times}", encoding="utf-8")
            os.utime(self, ns=(0, self.times))
        return super().open(*args, **rest)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Run the block without the rights of root, which may read everything.

    Those of this thread alone are changed: others read and write meanwhile.
    """
    if os.geteuid() != 0:
        yield
        return
    system = ctypes.CDLL(None)
    system.setfsuid(NOBODY)
    try:
        yield
    finally:
        system.setfsuid(0)


def test_a_file_that_vanishes_before_its_turn_fails_alone(index: Index, folder: Path) -> None:
    uploads = find_files([str(folder)])
    (folder / "cat.md").unlink()
    tally = small_pipeline(index).run(uploads, collection="default")
    assert tally.added == 1
    assert [(f.source, f.error) for f in tally.failed] == [("cat.md", "No such file or directory")]


def test_a_file_that_may_not_be_read_fails_alone(index: Index, folder: Path) -> None:
    closed = folder / "cat.md"
    closed.chmod(0)

    def content() -> bytes:
        with as_nobody():
            return read_file(closed)

    uploads = [Upload("closed.md", None, content), *find_files([str(folder / "dog.md")])]
    tally = small_pipeline(index).run(uploads, collection="default")
    assert tally.added == 1
    assert [(f.source, f.error) for f in tally.failed] == [("closed.md", "Permission denied")]


def test_a_folder_that_may_not_be_searched_is_told_of_and_its_documents_stay(
    index: Index, folder: Path
) -> None:
    pipeline = small_pipeline(index)
    with tempfile.TemporaryDirectory() as place:  # which nobody may enter, unlike tmp_path
        open_, closed = Path(place), Path(place) / "closed"
        open_.chmod(0o755)
        shutil.copytree(folder, closed)
        shutil.copy(folder / "cat.md", open_)
        assert pipeline.run(find_files([place]), collection="default").added == 3
        closed.chmod(0)
        with as_nobody():
            uploads = [*find_files([place]), *find_files([str(closed / "dog.md")])]
            gone = pipeline.gone([open_], collection="default")
        tally = pipeline.run(uploads, collection="default")
        closed.chmod(0o755)
    assert {(f.source, f.error) for f in tally.failed} == {
        ("closed", "Permission denied"),
        ("dog.md", "Permission denied"),
    }
    assert (tally.unchanged, gone) == (1, [])


def test_what_a_folder_is_not_searched_for_is_handed_out(folder: Path) -> None:
    for name in ("README", "photo.png", ".hidden.png"):
        (folder / name).write_bytes(b"x")
    (folder / "again").symlink_to(folder, target_is_directory=True)
    others: list[Path] = []
    assert len(find_files([str(folder)], on_other=others.append)) == 2
    assert {path.name for path in others} == {"README", "photo.png", "again"}


def test_a_file_that_changes_while_it_is_read_is_read_again(folder: Path) -> None:
    path = Restless(folder / "cat.md")
    path.times = 1
    assert read_file(path) == b"version 0"


def test_a_file_that_never_holds_still_is_refused(folder: Path) -> None:
    path = Restless(folder / "cat.md")
    path.times = 99
    with pytest.raises(DocumentError, match="changed while it was read"):
        read_file(path)


def test_half_a_gigabyte_is_refused_without_being_read(index: Index, folder: Path) -> None:
    with (folder / "cat.md").open("wb") as file:
        file.truncate(500_000_000)

    def content() -> bytes:
        raise AssertionError("it was read")

    large = Upload("large.md", folder / "cat.md", content)
    tally = small_pipeline(index, max_file_mb=50).run([large], collection="default")
    assert [f.error for f in tally.failed] == ["The file is larger than 50 MB."]


def test_a_pdf_of_a_hundred_thousand_pages_is_refused_by_their_number() -> None:
    with (
        Reader(workers=1) as reader,
        pytest.raises(OverLimitError, match="It has 100000 pages; at most 10000 are read"),
    ):
        reader.read(pages(100_000), source="a.pdf", collection="c", path=None, document_id="d")


def pages(count: int) -> bytes:
    """Return a PDF of so many empty pages, written by hand: libraries take minutes."""
    kids = " ".join(f"{number + 3} 0 R" for number in range(count))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {count} /MediaBox [0 0 99 99] /Kids [{kids}] >>",
        *["<< /Type /Page /Parent 2 0 R >>"] * count,
    ]
    body = bytearray(b"%PDF-1.4\n")
    table = [f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n"]
    for number, said in enumerate(objects, start=1):
        table.append(f"{len(body):010} 00000 n \n")
        body += f"{number} 0 obj\n{said}\nendobj\n".encode()
    end = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return bytes(body) + "".join(table).encode() + end.encode()


def test_the_folder_one_stands_in_gives_the_same_files_as_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    for path in (tmp_path / "a.md", tmp_path / "inner" / "B.MD"):
        path.write_text("Some text.")
    monkeypatch.chdir(tmp_path)
    named = [(upload.source, upload.path) for upload in find_files([str(tmp_path)])]
    assert named == [("a.md", tmp_path / "a.md"), ("inner/B.MD", tmp_path / "inner" / "B.MD")]
    assert [(upload.source, upload.path) for upload in find_files(["."])] == named
