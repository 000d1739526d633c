from io import BytesIO
from pathlib import Path

import docx
import pytest
from fpdf import FPDF

from ingest.document import Document
from ingest.errors import DocumentError
from ingest.read import read_document

SAMPLES = Path(__file__).parents[2] / "examples" / "tarnfell" / "documents"


def read(content: bytes, source: str) -> Document:
    return read_document(content, source=source, collection="c", path=None, document_id="d")


def pdf(*lines: str, password: str = "") -> bytes:
    page = FPDF()
    page.add_page()
    page.set_font("helvetica", size=11)
    for line in lines:
        page.cell(text=line, new_x="LMARGIN", new_y="NEXT")
    if password:
        page.set_encryption(owner_password=password, user_password=password)
    return bytes(page.output())


def word(*paragraphs: str) -> bytes:
    document = docx.Document()
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    file = BytesIO()
    document.save(file)
    return file.getvalue()


MARKDOWN = b"""# Pump

Intro with a [link](http://x.example) and `code`.

## Torque

Tighten to **38 N\xc2\xb7m**.

| Part | Price |
| --- | --- |
| Seal | EUR 4.00 |
| Ring | EUR 2.50 |

### Notes

- first
- second
"""


def test_markdown_keeps_title_headings_and_table_rows() -> None:
    document = read(MARKDOWN, "pump.md")
    assert document.title == "Pump"
    assert [block.headings for block in document.blocks] == [(), ("Torque",), ("Torque", "Notes")]
    assert "Tighten to 38 N·m." in document.text
    assert "Part: Seal; Price: EUR 4.00\nPart: Ring; Price: EUR 2.50" in document.text
    assert "- first" in document.text


def test_every_block_stands_where_its_span_says() -> None:
    document = read(MARKDOWN, "pump.md")
    for block, span in zip(document.blocks, document.spans, strict=True):
        assert document.text[span.start : span.end] == block.text


def test_html_drops_furniture_and_keeps_tables() -> None:
    page = (
        b"<html><head><title>T</title><style>x{}</style></head><body><nav>Home</nav>"
        b"<h1>Bulletin</h1><div>Loose <b>words</b></div><h2>Limit</h2><p>At most 9 bar.</p>"
        b"<table><tr><th>Code</th><th>Means</th></tr><tr><td>E-1</td><td>Hot</td></tr></table>"
        b"<script>evil()</script><!-- hidden --><footer>(c)</footer></body></html>"
    )
    document = read(page, "b.html")
    assert document.title == "Bulletin"
    assert document.text == "Loose words\n\nAt most 9 bar.\n\nCode: E-1; Means: Hot"
    assert document.blocks[1].headings == ("Limit",)


def test_pdf_pages_reach_the_blocks() -> None:
    path = SAMPLES / "manuals" / "ground-anvil-240-manual.pdf"
    document = read(path.read_bytes(), path.name)
    assert document.pages == 2
    assert document.title == "Anvil 240 Percussion Drill: Operator Manual"
    assert {block.page for block in document.blocks} == {1, 2}
    rods = next(block for block in document.blocks if block.headings == ("Rods and joints",))
    assert "tighten each joint to 118 N·m" in rods.text


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
        ("a.md", b" \n\x00\n", "The file is empty"),
        ("a.md", b"<!-- -->", "holds no text"),
        ("a.txt", b"abc\x00def", "binary"),
        ("a.pdf", b"%PDF-1.7\ngarbage", "damaged or not a PDF"),
        ("a.pdf", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "binary"),
        ("a.docx", b"PK\x03\x04 broken", "damaged ZIP"),
        ("a.docx", b"\xd0\xcf\x11\xe0 old", "encrypted or an old binary Office"),
        ("a.pdf", pdf("secret", password="x"), "encrypted"),
        ("a.pdf", pdf(), "only pictures"),
    ],
)
def test_a_bad_file_is_refused_with_a_reason(source: str, content: bytes, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        read(content, source)


def test_a_word_document_is_read_in_order() -> None:
    document = read(word("First.", "Second."), "letter.docx")
    assert document.text == "First.\n\nSecond."
    assert document.title == "letter"
