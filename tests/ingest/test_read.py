import json
from pathlib import Path

import pytest

from ingest.document import Document
from ingest.errors import DocumentError
from ingest.read import READERS, read_document
from ingest.suffixes import SUFFIXES
from tests.ingest.samples import HTML, MARKDOWN, pdf, samples, word, zipped

SAMPLES = Path(__file__).parents[2] / "examples" / "tarnfell" / "documents"


def read(content: bytes, source: str) -> Document:
    return read_document(content, source=source, collection="c", path=None, document_id="d")


def test_markdown_keeps_title_headings_and_table_rows() -> None:
    document = read(MARKDOWN, "pump.md")
    assert document.title == "Pump"
    assert [block.headings for block in document.blocks] == [(), ("Torque",), ("Torque", "Notes")]
    assert "Tighten to 38 N·m." in document.text
    assert "Part: Seal; Price: EUR 4.00\nPart: Ring; Price: EUR 2.50" in document.text
    assert "- first" in document.text


@pytest.mark.parametrize("name", samples())
def test_every_format_is_told_from_its_bytes_and_read_whole(name: str) -> None:
    content = samples()[name]
    document = read(content, name)
    assert document.kind in READERS
    if document.kind not in ("rst", "csv", "tsv", "code"):  # of which the name alone tells
        assert read(content, "file").kind == document.kind
    for block, span in zip(document.blocks, document.spans, strict=True):
        assert document.text[span.start : span.end] == block.text


def test_every_suffix_that_a_folder_is_searched_for_is_lower_case_and_there_once() -> None:
    assert sorted(set(SUFFIXES)) == sorted(SUFFIXES)
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)


@pytest.mark.parametrize(
    ("content", "source", "kind"),
    [
        (pdf("hello"), "a.md", "pdf"),
        (word("hello"), "a.pdf", "docx"),
        (HTML, "a.pdf", "html"),  # what a failed download leaves behind
        (b"just words", "a.docx", "txt"),
        (b"# Title\n\nWords.", "a.pdf", "md"),
        (b'{"a": 1', "a.json", "txt"),
    ],
)
def test_a_wrong_name_does_not_hinder_reading(content: bytes, source: str, kind: str) -> None:
    assert read(content, source).kind == kind


@pytest.mark.parametrize("path", sorted(SAMPLES.rglob("*.*")), ids=lambda path: path.name)
def test_every_sample_document_has_a_title_and_sections(path: Path) -> None:
    document = read(path.read_bytes(), path.name)
    assert len(document.blocks) >= 7
    assert document.title != path.stem.replace("-", " ")
    assert sum(bool(block.headings) for block in document.blocks) >= 6


@pytest.mark.parametrize(
    ("source", "content", "reason"),
    [
        ("a.md", b"", "The file is empty"),
        ("a.md", b" \n\x00\n", "The file holds no text"),
        ("a.md", b"<!-- -->", "holds no text"),
        ("a.txt", "\u00a0\u2003\u2028".encode(), "holds no text"),
        ("a.txt", b"abc\x00def", "binary"),
        ("a.txt", b"\xff\xfe\x00", "binary"),
        ("a.txt", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "binary .Portable Network Graphics"),
        ("a.pdf", b"%PDF-1.7\ngarbage", "damaged or not a PDF"),
        ("a.pdf", pdf("secret", password="x"), "encrypted"),
        ("a.pdf", pdf(), "has no text"),
        ("a.docx", b"PK\x03\x04 broken", "damaged ZIP"),
        ("a.docx", word("hello")[:-300], "damaged ZIP"),
        ("a.docx", b"\xd0\xcf\x11\xe0 old", "encrypted or an old binary Office"),
        (
            "a.docx",
            b"\xd0\xcf\x11\xe0" + "EncryptedPackage".encode("utf-16-le"),
            "encrypted Office file",
        ),
        ("a.7z", b"7z\xbc\xaf\x27\x1c\x00\x04", "7-Zip archive"),
        ("caf\udce9.md", b"# Name", r"not UTF-8: caf\\xe9.md"),
    ],
)
def test_a_bad_file_is_refused_with_a_reason(source: str, content: bytes, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        read(content, source)


def test_an_archive_that_breaks_where_it_says_what_it_is_is_refused() -> None:
    content = zipped({"mimetype": b"application/epub+zip, and more of this", "a.md": b"text"})
    at = content.index(b"mimetype") + len("mimetype")  # where the packed bytes begin
    broken = content[:at] + b"\xff" * 12 + content[at + 12 :]
    with pytest.raises(DocumentError, match="damaged ZIP archive"):
        read(broken, "a.epub")


SENTENCES = {
    "cp1252": "Die Grüße kämen für Österreich schön über die Straße. Müller trägt größere Rohre.",
    "cp1251": "Подтяните хомут до тридцати восьми ньютон-метров. Затем проверьте давление воды.",
    "koi8_r": "Подтяните хомут до тридцати восьми ньютон-метров. Затем проверьте давление воды.",
    "shift_jis": "ポンプのシールは毎季節交換してください。圧力が高い場合は直ちに停止します。",
    "gb18030": "水泵的密封圈每季更换一次。压力过高时请立即停机并检查阀门的状态。",
    "euc_kr": "펌프의 씰은 계절마다 교체하십시오. 압력이 높으면 즉시 정지하십시오.",
    "cp1253": "Σφίξτε το κολάρο στα τριάντα οκτώ νιουτόμετρα και ελέγξτε την πίεση του νερού.",
    "utf-16": "Wide text with a seal ring 38 N·m",
    "utf-16-le": "Wide text without a mark at its start, but with zeros",
    "utf-16-be": "Wide text without a mark at its start, but with zeros",
    "utf-32": "Wider text with 😀",
    "utf-8-sig": "Marked text: 38 N·m",
}


@pytest.mark.parametrize("encoding", SENTENCES)
def test_text_is_read_in_its_encoding(encoding: str) -> None:
    text = (SENTENCES[encoding] + "\n") * 4
    assert read(text.encode(encoding), "a.txt").text == text.strip()


def test_right_to_left_astral_and_combining_text_stays_as_it_is() -> None:
    text = "שלום עולם\n\nيجب شد الطوق\n\n𝔘𝔫𝔦 😀 👩‍🔧\n\ne\u0301 a\u0327\u0301"
    assert read(text.encode(), "a.txt").text == text


def test_windows_line_ends_become_newlines_and_stray_nuls_go() -> None:
    lines = b"\r\n".join(b"line %d of the text" % n for n in range(20)) + b"\x00"
    document = read(lines, "a.txt")
    assert document.text.splitlines() == [f"line {n} of the text" for n in range(20)]
    assert "\r" not in document.text


def test_a_few_bad_bytes_do_not_make_another_encoding_of_utf8() -> None:
    content = ("Grüße, 38 N·m, für größere Rohre. " * 30).encode() + b"\xc3"
    text = read(content, "a.txt").text
    assert text.count("Grüße") == 30
    assert text.endswith("�")


def test_halves_of_characters_never_reach_a_store() -> None:
    content = b'{"text": "broken \\ud83d pair", "\\udc00key": "and \\u0000 more"}'
    document = read(content, "a.json")
    document.text.encode()
    json.dumps(dict(document.metadata)).encode()
    assert "broken  pair" in document.text
    assert "\x00" not in document.text
