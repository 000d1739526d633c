import gzip
import io
import tarfile
import zipfile

import pytest

from ingest.document import Document
from ingest.errors import DocumentError, OverLimitError
from ingest.read import read_document
from ingest.readers.job import Limits
from tests.ingest.samples import MARKDOWN, pdf, tarred, zipped

FILES = {"inner/manual.md": MARKDOWN, "list.csv": b"Part,Price\nSeal,4\n", "a.pdf": pdf("Page.")}


def read(content: bytes, source: str = "a.zip", limits: Limits | None = None) -> Document:
    return read_document(
        content, source=source, collection="c", path=None, document_id="d", limits=limits
    )


@pytest.mark.parametrize(
    ("source", "content"),
    [
        ("a.zip", zipped(FILES)),
        ("a.tar", tarred(FILES, "w:")),
        ("a.tar.gz", tarred(FILES, "w:gz")),
        ("a.tar.bz2", tarred(FILES, "w:bz2")),
        ("a.tar.xz", tarred(FILES, "w:xz")),
    ],
)
def test_the_files_of_an_archive_are_its_outermost_headings(source: str, content: bytes) -> None:
    document = read(content, source)
    assert document.title == source
    assert [(block.headings, block.page) for block in document.blocks] == [
        (("inner/manual.md", "Pump"), None),
        (("inner/manual.md", "Pump", "Torque"), None),
        (("inner/manual.md", "Pump", "Torque", "Notes"), None),
        (("list.csv",), None),
        (("a.pdf",), 1),
    ]


def test_what_a_file_in_an_archive_supersedes_is_not_said_of_the_archive() -> None:
    assert "supersedes" not in read(zipped(FILES)).metadata


def test_a_single_packed_file_goes_by_its_name() -> None:
    document = read(gzip.compress(MARKDOWN), "pump.md.gz")
    assert document.blocks[1].headings == ("pump.md", "Pump", "Torque")


def test_a_file_that_no_reader_takes_is_named_and_the_rest_is_read() -> None:
    document = read(zipped({**FILES, "b.bin": bytes(range(256)) * 9, "c.md": b""}))
    assert "Page." in document.text
    assert "b.bin: It is binary" in document.metadata["skipped"]
    assert "c.md: The file is empty" in document.metadata["skipped"]


def test_an_archive_of_nothing_readable_says_why() -> None:
    with pytest.raises(DocumentError, match="Nothing in the archive can be read. b.bin: It is bin"):
        read(zipped({"b.bin": bytes(range(256))}))


@pytest.mark.parametrize("name", ["../../etc/x.md", "/etc/x.md", "a/../../x.md", "C:/x.md"])
def test_a_name_that_leads_out_of_the_archive_is_refused(name: str) -> None:
    for content in (zipped({name: b"text"}), tarred({name: b"text"})):
        with pytest.raises(DocumentError, match="leads out of it"):
            read(content)


def test_links_in_an_archive_are_not_followed() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        link = tarfile.TarInfo("passwd.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        text = tarfile.TarInfo("a.txt")
        text.size = 4
        archive.addfile(text, io.BytesIO(b"text"))
    assert read(file.getvalue(), "a.tar").text == "text"


def test_an_archive_within_an_archive_is_read_down_to_a_depth() -> None:
    content = zipped({"a.md": b"Deep text."})
    for level in range(3):
        content = zipped({f"level{level}.zip": content})
    with pytest.raises(OverLimitError, match="archives more than 3 deep"):
        read(content)
    document = read(content, limits=Limits(depth=4))
    assert document.blocks[0].headings == ("level2.zip", "level1.zip", "level0.zip", "a.md")


def test_too_many_files_are_refused() -> None:
    with pytest.raises(OverLimitError, match="more than 5 files"):
        read(zipped({f"{n}.md": b"text" for n in range(6)}), limits=Limits(members=5))


BOMB = b"0" * 30_000_000


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(zipped({"a.txt": BOMB}), id="zip"),
        pytest.param(gzip.compress(BOMB), id="gzip"),
        pytest.param(tarred({"a.txt": BOMB}), id="tar.gz"),
        pytest.param(zipped({"word/document.xml": BOMB}), id="docx"),
        pytest.param(zipped({"xl/workbook.xml": BOMB}), id="xlsx"),
        pytest.param(zipped({"ppt/presentation.xml": BOMB}), id="pptx"),
        pytest.param(zipped({"META-INF/container.xml": BOMB}), id="epub"),
        pytest.param(zipped({"inner.zip": zipped({"a.txt": BOMB})}), id="nested"),
    ],
)
def test_a_decompression_bomb_is_refused_before_it_unpacks(content: bytes) -> None:
    with pytest.raises(OverLimitError, match="times its size"):
        read(content, "a.bin")


def test_all_that_is_unpacked_counts_together() -> None:
    files = {f"{n}.txt": b"words and more " * 20_000 for n in range(8)}
    with pytest.raises(OverLimitError, match="more than 1 MB"):
        read(zipped(files), limits=Limits(unpacked_mb=1))


def test_an_encrypted_archive_is_refused() -> None:
    content = bytearray(zipped({"a.md": b"text"}))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # set the flag, in both heads
        content[content.index(mark) + place] |= 1
    with pytest.raises(DocumentError, match="archive is encrypted"):
        read(bytes(content))


def test_a_damaged_archive_is_refused() -> None:
    whole = tarred(FILES)
    with pytest.raises(DocumentError, match="archive is damaged"):
        read(whole[: len(whole) // 2], "a.tar.gz")
    file = io.BytesIO(zipped(FILES))
    with zipfile.ZipFile(file) as archive:
        at = archive.getinfo("list.csv").header_offset + 45
    broken = bytearray(file.getvalue())
    broken[at] ^= 255
    with pytest.raises(DocumentError, match="archive is damaged"):
        read(bytes(broken))
