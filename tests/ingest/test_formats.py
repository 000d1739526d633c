"""What each format's reader keeps."""

import io

import docx
import pytest

from ingest.document import Document
from ingest.errors import DocumentError
from ingest.read import read_document
from tests.ingest.samples import (
    HTML,
    PARTS,
    RST,
    book,
    mail,
    outlook,
    slides,
    tracked,
    word,
    workbook,
)
from tests.ingest.samples import MARKDOWN as PUMP

PART_LINES = (
    "Part: Seal ring; Number: TF-1; Price: EUR 4.00\n"
    "Part: Impeller; Number: TF-2; Price: EUR 19.50\n"
    "Part: Guide bush; Number: TF-3; Price: EUR 7.25"
)


def read(content: bytes, source: str) -> Document:
    return read_document(content, source=source, collection="c", path=None, document_id="d")


def test_html_drops_furniture_and_keeps_tables() -> None:
    document = read(HTML, "b.html")
    assert document.title == "Bulletin"
    assert document.text == "Loose words\n\nAt most 9 bar.\n\nCode: E-1; Means: Hot"
    assert document.blocks[1].headings == ("Limit",)
    assert document.metadata["author"] == "Ada"


def test_html_is_read_in_the_encoding_that_it_declares() -> None:
    page = '<html><meta charset="windows-1252"><h1>Ü</h1><p>Größe 5 €</p></html>'
    assert read(page.encode("cp1252"), "a.html").text == "Größe 5 €"


def test_front_matter_is_metadata_and_no_text() -> None:
    document = read(PUMP, "pump.md")
    assert document.metadata == {"title": "Pump", "author": "Ada", "supersedes": "pump-2024.md"}
    assert "pump-2024" not in document.text


@pytest.mark.parametrize(
    "front",
    [
        b"---\ntitle: [broken\nauthor: Ada\n---\n",
        b"---\nauthor: Ada\nlist: &a [1, 2]\nbomb: *a\n---\n",
    ],
)
def test_front_matter_that_is_not_plain_yaml_is_read_line_by_line(front: bytes) -> None:
    document = read(front + b"Text.", "a.md")
    assert document.metadata["author"] == "Ada"
    assert document.text == "Text."


def test_a_rule_at_the_top_is_no_front_matter() -> None:
    assert "Words" in read(b"---\nWords between rules.\n\n---\nMore.", "a.md").text


def test_a_heading_with_nothing_below_it_is_text() -> None:
    document = read(b"# T\n\n## Empty\n\n## Full\n\nText.\n\n### Last", "a.md")
    assert [(b.headings, b.text) for b in document.blocks] == [
        ((), "Empty"),
        (("Full",), "Text."),
        (("Full",), "Last"),
    ]
    assert read(b"# Only a title", "a.md").text == "Only a title"


def test_restructured_text_keeps_sections_tables_and_unknown_directives() -> None:
    document = read(RST, "a.rst")
    assert document.title == "Pump"
    assert document.metadata["author"] == "Ada"
    assert document.metadata["supersedes"] == "pump-2024.rst"
    assert [block.headings for block in document.blocks] == [(), ("Torque",), ("Torque", "Parts")]
    assert "Part: Seal; Price: EUR 4.00\nPart: Ring; Price: EUR 2.50" in document.text
    assert "Held text." in document.text


def test_restructured_text_includes_no_file_of_this_machine() -> None:
    document = read(b"Title\n=====\n\n.. include:: /etc/passwd\n\nText.\n", "a.rst")
    assert "root:" not in document.text


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_row_of_a_csv_file_can_stand_alone(delimiter: str) -> None:
    rows = "\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in PARTS)
    assert read(rows.encode(), "a.csv").text == PART_LINES


def test_a_workbook_has_its_sheets_as_headings_and_values_as_they_are_seen() -> None:
    stock = [["Stock in spring"], [], ["Part", "Count", "Share"], ["Seal", 12, 0.5], ["Ring", 3.0]]
    document = read(workbook({"Parts": PARTS, "Stock": stock}), "a.xlsx")
    assert [block.headings for block in document.blocks] == [("Parts",), ("Stock",)]
    assert document.blocks[0].text == PART_LINES
    assert document.blocks[1].text == (
        "Stock in spring\n\nPart: Seal; Count: 12; Share: 0.5\nPart: Ring; Count: 3"
    )


def test_formulas_without_a_result_are_named() -> None:
    computed = read(workbook({"S": [["Part", "Price"], ["Seal", 4]]}), "a.xlsx")
    assert "skipped" not in computed.metadata
    document = read(workbook({"S": [["Part", "Price"], ["Seal", "=2+2"]]}), "a.xlsx")
    assert document.text == "Part: Seal"
    assert document.metadata["skipped"].startswith("formulas whose results are not in the file")


def test_slides_are_pages_with_their_titles_tables_and_notes() -> None:
    document = read(slides(), "a.pptx")
    assert document.pages == 2
    assert document.title == "Burbot 20"
    first, second = document.blocks
    assert (first.page, first.text) == (1, "Tighten the collar to 38 Nm.\n\nSay why.")
    assert (second.page, second.headings, second.text) == (2, ("Parts",), PART_LINES)


def test_a_word_document_is_read_in_order() -> None:
    document = read(word("First.", "Second.", headings=["Letter", "Torque"], table=True), "a.docx")
    assert document.title == "Letter"
    assert document.text == f"First.\n\nSecond.\n\n{PART_LINES}"
    assert document.blocks[0].headings == ("Torque",)


def test_what_word_tracks_or_puts_into_controls_is_read_as_it_is_shown() -> None:
    file = tracked(docx.Document())
    saved = io.BytesIO()
    file.save(saved)
    assert read(saved.getvalue(), "a.docx").text == "Tighten to 38 Nm"


def test_a_book_is_read_in_the_order_of_its_spine() -> None:
    document = read(book(("Two", "Second text."), ("One", "First text.")), "a.epub")
    assert document.title == "Field book"
    assert document.metadata["author"] == "A. Writer"
    assert [(block.headings, block.text) for block in document.blocks] == [
        (("One",), "First text."),
        (("Two",), "Second text."),
    ]


def test_an_email_and_its_attachments_are_one_document() -> None:
    content = mail("Collar cracked.", attachments={"list.csv": b"Part,Price\nSeal,4\n"})
    document = read(content, "a.eml")
    assert document.title == "Collar of the Burbot 20"
    assert document.metadata["date"] == "2026-03-30"
    assert document.metadata["author"] == "Ada <ada@example.com>"
    body, attachment = document.blocks
    assert body.text.endswith("Date: 2026-03-30\n\nCollar cracked.")
    assert (attachment.headings, attachment.text) == (("list.csv",), "Part: Seal; Price: 4")


def test_an_email_within_an_email_is_read_too() -> None:
    outer = mail("See below.", attachments={"inner.eml": mail("The inner text.")})
    document = read(outer, "a.eml")
    assert document.blocks[-1].headings == ("inner.eml", "Collar of the Burbot 20")
    assert "The inner text." in document.blocks[-1].text


def test_an_attachment_that_no_reader_takes_is_named() -> None:
    picture = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
    document = read(mail("Text.", attachments={"a.png": picture}), "a.eml")
    assert document.metadata["skipped"].startswith("a.png: It is binary")


def test_an_outlook_message_is_read_with_its_attachment() -> None:
    document = read(
        outlook("Collar", "It cracked.", ("list.csv", b"Part,Price\nSeal,4\n")), "m.msg"
    )
    assert document.title == "Collar"
    assert [block.text for block in document.blocks] == ["It cracked.", "Part: Seal; Price: 4"]


def test_json_becomes_lines_that_can_be_read() -> None:
    content = b'{"title": "Pump", "torque": 38, "parts": [{"id": 1, "size": {"h": 2}}, {"id": 2}]}'
    document = read(content, "a.json")
    assert document.title == "Pump"
    assert document.text == "title: Pump\ntorque: 38\n\nid: 1; size.h: 2\nid: 2"
    assert document.blocks[1].headings == ("parts",)


def test_json_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(DocumentError, match="nested too deeply"):
        read(b"[" * 100_000 + b"]" * 100_000, "a.json")


def test_source_code_stays_to_the_letter_under_what_it_defines() -> None:
    code = 'import os\n\n\n# Opens it.\ndef open_valve(n):\n    if n:\n        return "x"\n'
    document = read(code.encode(), "a.py")
    assert document.blocks[0].text == "import os"
    assert document.blocks[1].headings == ("open_valve",)
    assert document.blocks[1].text == code[code.index("# Opens") :].strip()
