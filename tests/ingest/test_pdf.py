import io
from pathlib import Path

import pypdfium2
import pytest
from fpdf import FPDF

from ingest.document import Document
from ingest.errors import DocumentError, OverLimitError
from ingest.read import read_document
from ingest.readers import ocr
from ingest.readers.job import Limits
from tests.ingest.samples import LEFT, PROSE, RIGHT, pdf, scan, table_pdf, two_columns

SAMPLES = Path(__file__).parents[2] / "examples" / "tarnfell" / "documents"
needs_tesseract = pytest.mark.skipif(
    not ocr.is_installed(), reason="Tesseract is not installed: apt-get install tesseract-ocr"
)


def read(content: bytes, limits: Limits | None = None) -> Document:
    return read_document(
        content, source="a.pdf", collection="c", path=None, document_id="d", limits=limits
    )


def test_pages_and_headings_reach_the_blocks() -> None:
    document = read((SAMPLES / "manuals" / "ground-anvil-240-manual.pdf").read_bytes())
    assert document.pages == 2
    assert document.title == "Anvil 240 Percussion Drill: Operator Manual"
    assert {block.page for block in document.blocks} == {1, 2}
    rods = next(block for block in document.blocks if block.headings == ("Rods and joints",))
    assert "tighten each joint to 118 N·m" in rods.text


def test_a_column_is_read_to_its_end_before_the_next() -> None:
    document = read(two_columns())
    assert document.title == "A title across both columns of this page"
    assert " ".join(document.text.split()) == " ".join([*LEFT, *RIGHT])


@pytest.mark.parametrize("ruled", [True, False])
def test_a_table_has_its_header_in_every_row(ruled: bool) -> None:
    document = read(table_pdf(ruled=ruled))
    assert (
        "Part: Seal ring; Number: TF-1; Price: EUR 4.00\n"
        "Part: Impeller; Number: TF-2; Price: EUR 19.50\n"
        "Part: Guide bush; Number: TF-3; Price: EUR 7.25\n\nAfter the table."
    ) in document.text


@pytest.mark.parametrize("bold", [True, False])
def test_a_table_that_goes_on_overleaf_keeps_its_header(bold: bool) -> None:
    text = read(long_table(headers=1, bold=bold)).text
    rows = [line for line in text.splitlines() if line.startswith("Part: ")]
    assert rows == [f"Part: Seal {n}; Made of: rubber {n}" for n in range(120)]


def test_a_header_that_is_printed_on_every_page_is_no_row() -> None:
    text = read(long_table(headers=3, bold=True)).text
    assert text.count("Part: Seal") == 120
    assert "Part: Part" not in text


def test_a_table_below_another_one_overleaf_keeps_its_own_header() -> None:
    """Bold, though its columns are as wide."""
    file = FPDF()
    for names in (("Part", "Made of"), ("Code", "Meaning")):
        file.add_page()
        rows(file, [names], bold=True)
        rows(file, [(f"{names[0]} {n}", f"what {n} is") for n in range(40)])
    text = read(bytes(file.output())).text
    assert "Part: Part 39; Made of: what 39 is" in text
    assert "Code: Code 0; Meaning: what 0 is" in text


def rows(file: FPDF, cells: list[tuple[str, str]], *, bold: bool = False) -> None:
    file.set_font("helvetica", "B" if bold else "", 10)
    for row in cells:
        for cell in row:
            file.cell(60, 6, cell, border=1)
        file.ln()


def long_table(*, headers: int, bold: bool) -> bytes:
    """Return a PDF of three pages with a table, whose header the first `headers` of them have."""
    file = Running()
    for page in range(3):
        file.add_page()
        if page < headers:
            rows(file, [("Part", "Made of")], bold=bold)
        rows(file, [(f"Seal {n}", f"rubber {n}") for n in range(page * 40, page * 40 + 40)])
    return bytes(file.output())


def test_a_cell_of_several_lines_is_one_cell() -> None:
    file = FPDF()
    file.add_page()
    file.set_font("helvetica", size=10)
    with file.table(line_height=5, col_widths=(20, 60, 60)) as table:
        for cells in (
            ("Code", "Meaning", "What to do"),
            ("E-131", "Current above 18 A for longer than five seconds, impeller blocked", "Clean"),
            ("E-133", "No water", "Lower the pump into the water, wait for a minute, then restart"),
        ):
            row = table.row()
            for cell in cells:
                row.cell(cell)
    assert read(bytes(file.output())).text.splitlines() == [
        "Code: E-131; Meaning: Current above 18 A for longer than five seconds, impeller blocked; "
        "What to do: Clean",
        "Code: E-133; Meaning: No water; What to do: Lower the pump into the water, wait for a "
        "minute, then restart",
    ]


class Running(FPDF):
    def header(self) -> None:
        self.set_font("helvetica", size=8)
        self.cell(text="Burbot 20 manual", new_x="LMARGIN", new_y="NEXT")

    def footer(self) -> None:
        self.set_y(-15)
        self.cell(text=f"Page {self.page_no()} of {{nb}}")


def test_running_heads_and_page_numbers_are_kept_once() -> None:
    file = Running()
    for _ in range(6):
        file.add_page()
        file.set_font("helvetica", size=11)
        file.multi_cell(0, 6, f"Unit {file.page_no() * 7}: {PROSE}")
    text = read(bytes(file.output())).text
    assert text.count("Burbot 20 manual") == 1
    assert text.count("Page ") == 1
    assert [text.count(f"Unit {n * 7}:") for n in range(1, 7)] == [1] * 6


def test_a_bold_line_by_itself_is_a_heading() -> None:
    file = FPDF()
    file.add_page()
    for heading in ("Torque", "Storage"):
        file.set_font("helvetica", "B", 11)
        file.cell(text=heading, new_x="LMARGIN", new_y="NEXT")
        file.set_font("helvetica", size=11)
        file.ln(3)
        file.multi_cell(0, 6, PROSE, new_x="LMARGIN", new_y="NEXT")
        file.ln(3)
    assert [block.headings for block in read(bytes(file.output())).blocks] == [
        ("Torque",),
        ("Storage",),
    ]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_text_that_is_drawn_turned_is_read_as_it_is_meant(degrees: int) -> None:
    file = FPDF()
    file.add_page()
    file.set_font("helvetica", size=10)
    with file.rotation(degrees, 105, 148):
        for number, line in enumerate(LEFT):
            file.text(20, 60 + number * 5, line)
    content = bytes(file.output())
    assert read(content).text.split() == " ".join(LEFT).split()
    turned = pypdfium2.PdfDocument(content)
    turned[0].set_rotation(degrees)
    saved = io.BytesIO()
    turned.save(saved)
    assert read(saved.getvalue()).text.split() == " ".join(LEFT).split()


def test_a_pdf_of_too_many_pages_is_refused() -> None:
    with pytest.raises(OverLimitError, match="It has 4 pages; at most 3 are read"):
        read(pdf("x", pages=4), Limits(pages=3))


@needs_tesseract
def test_scanned_pages_are_recognised_beside_those_that_have_text() -> None:
    content = scan("Tighten the collar to 38 Nm\nwith a torque wrench.", "", "Store it dry.")
    document = read(content)
    assert [(block.page, block.text) for block in document.blocks] == [
        (1, "Tighten the collar to 38 Nm with a torque wrench."),
        (2, "This page has a text layer of its own."),
        (3, "Store it dry."),
    ]
    assert "skipped" not in document.metadata


@needs_tesseract
def test_no_more_pages_are_recognised_than_allowed() -> None:
    document = read(scan("First page of words.", "Second page."), Limits(ocr_pages=1))
    assert document.text == "First page of words."
    assert document.metadata["skipped"] == "scanned pages: 2"


@pytest.fixture
def _no_tesseract(monkeypatch: pytest.MonkeyPatch) -> object:
    import pytesseract

    monkeypatch.setattr(pytesseract.pytesseract, "tesseract_cmd", "/nowhere/tesseract")
    ocr.is_installed.cache_clear()
    yield
    ocr.is_installed.cache_clear()


@pytest.mark.usefixtures("_no_tesseract")
def test_a_scan_without_tesseract_says_what_to_install() -> None:
    with pytest.raises(DocumentError, match="only pictures.*apt-get install tesseract-ocr"):
        read(scan("A page of words."))
    document = read(scan("A page of words.", ""))
    assert document.text == "This page has a text layer of its own."
    assert document.metadata["skipped"].startswith("scanned pages: 1. Install Tesseract")
