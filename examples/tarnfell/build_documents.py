"""Build the PDF and DOCX files of the Tarnfell sample company from their Markdown sources.

Every ``sources/**/NAME.pdf.md`` becomes ``documents/**/NAME.pdf`` and every
``sources/**/NAME.docx.md`` becomes ``documents/**/NAME.docx``. The Markdown understood here
is a small subset: headings, paragraphs, ``Key: value`` lines, bulleted and numbered lists,
pipe tables, and bold text. With the same library versions the output is the same byte for
byte on every run: all dates inside the files are fixed.

Run it from anywhere::

    python examples/tarnfell/build_documents.py
"""

from __future__ import annotations

import io
import re
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from docx import Document
from docx.shared import Cm
from fpdf import FPDF
from fpdf.enums import XPos, YPos

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "sources"
DOCUMENTS = HERE / "documents"

AUTHOR = "Tarnfell Instruments"
FIXED_DATE = datetime(2025, 1, 1, 12, 0, 0, tzinfo=UTC)
FIXED_ZIP_TIME = (2025, 1, 1, 12, 0, 0)

HEADING = re.compile(r"^(#{1,4})\s+(.*?)\s*#*$")
BULLET = re.compile(r"^[-*+]\s+(.*)$")
NUMBERED = re.compile(r"^(\d+)[.)]\s+(.*)$")
TABLE_RULE = re.compile(r"^\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?$")
KEY_VALUE = re.compile(r"^(\*\*)?[A-Z][A-Za-z -]{1,30}:(\*\*)?\s+\S")
RULE = re.compile(r"^([-*_])(\s*\1){2,}$")
BOLD = re.compile(r"\*\*(.+?)\*\*")
LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")
EMPHASIS = re.compile(r"(?<![\w*])[*_](?![\s*_])(.+?)(?<![\s*_])[*_](?![\w*])")

# The core fonts of a PDF know Latin-1 only; these stand in for what lies outside it.
LATIN_1_STAND_INS = str.maketrans(
    {
        "\u2010": "-",
        "\u2011": "-",
        "\u2012": "-",
        "\u2013": "-",
        "\u2014": " - ",
        "\u2212": "-",
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u2026": "...",
        "\u2022": "\u00b7",
        "\u22c5": "\u00b7",
        "\u03bc": "\u00b5",
        "\u03a9": "ohm",
        "\u2126": "ohm",
        "\u2264": "at most ",
        "\u2265": "at least ",
        "\u20ac": "EUR ",
        "\u2192": "->",
        "\u2082": "2",
        "\u00a0": " ",
        "\u202f": " ",
        "\u2009": " ",
    }
)

Kind = Literal["heading", "paragraph", "bullet", "numbered", "table"]
Run = tuple[str, bool]


@dataclass
class Block:
    """One block of a source file: a heading, a paragraph, a list item or a table."""

    kind: Kind
    text: str = ""
    level: int = 0
    marker: str = ""
    rows: list[list[str]] = field(default_factory=list)


def plain(text: str) -> str:
    """Return the text without Markdown's inline marks, bold excepted."""
    text = LINK.sub(r"\1", text).replace("`", "")
    return EMPHASIS.sub(r"\1", text)


def unmarked(text: str) -> str:
    """Return the text without any inline marks."""
    return BOLD.sub(r"\1", text)


def runs(text: str) -> Iterator[Run]:
    """Split a text at its bold passages, giving (text, is bold) pairs."""
    end = 0
    for match in BOLD.finditer(text):
        if match.start() > end:
            yield text[end : match.start()], False
        yield match.group(1), True
        end = match.end()
    if end < len(text):
        yield text[end:], False


def table_cells(line: str) -> list[str]:
    """Return the cells of one line of a pipe table."""
    line = line.strip().removeprefix("|").removesuffix("|")
    return [unmarked(plain(cell.strip())) for cell in line.split("|")]


def parse(markdown: str) -> list[Block]:
    """Read the small Markdown subset of the sources into blocks."""
    blocks: list[Block] = []
    open_block: Block | None = None

    for raw in markdown.splitlines():
        hard_break = raw.endswith(("  ", "\\"))
        line = raw.strip().removesuffix("\\").rstrip()
        if line.startswith("> "):
            line = line[2:].strip()

        if not line or (RULE.match(line) and "|" not in line):
            open_block = None
        elif match := HEADING.match(line):
            text = unmarked(plain(match.group(2)))
            blocks.append(Block("heading", text, level=len(match.group(1))))
            open_block = None
        elif line.startswith("|"):
            if open_block is None or open_block.kind != "table":
                open_block = Block("table")
                blocks.append(open_block)
            if not TABLE_RULE.match(line):
                open_block.rows.append(table_cells(line))
        elif match := BULLET.match(line):
            open_block = Block("bullet", plain(match.group(1)))
            blocks.append(open_block)
        elif match := NUMBERED.match(line):
            open_block = Block("numbered", plain(match.group(2)), marker=f"{match.group(1)}.")
            blocks.append(open_block)
        elif open_block is None or open_block.kind == "table" or KEY_VALUE.match(line):
            open_block = Block("paragraph", plain(line))
            blocks.append(open_block)
        else:
            open_block.text = f"{open_block.text} {plain(line)}"
        if hard_break and open_block is not None and open_block.kind != "table":
            open_block = None
    return blocks


def title_of(blocks: list[Block]) -> str:
    """Return the text of the first heading."""
    return next((block.text for block in blocks if block.kind == "heading"), "")


def latin_1(text: str) -> str:
    """Return the text as a PDF core font can show it; a character it cannot show is an error."""
    text = text.translate(LATIN_1_STAND_INS)
    outside = sorted({character for character in text if ord(character) > 0xFF})
    if outside:
        raise ValueError(f"not in Latin-1, give LATIN_1_STAND_INS an entry: {outside}")
    return text


class Page(FPDF):
    """A page with the running title and the page number at its foot."""

    running_title = ""

    def footer(self) -> None:
        """Write the foot of the page."""
        self.set_y(-14)
        self.set_font("Helvetica", size=8)
        self.cell(0, 5, f"{self.running_title} - page {self.page_no()}", align="C")


HEADING_SIZES = {1: 18.0, 2: 13.0, 3: 11.5, 4: 11.0}
BODY_SIZE = 10.5
LINE_HEIGHT = 5.2


def write_runs(pdf: FPDF, text: str) -> None:
    """Write one paragraph, bold passages in bold, and go to the next line."""
    for part, bold in runs(latin_1(text)):
        pdf.set_font("Helvetica", style="B" if bold else "", size=BODY_SIZE)
        pdf.write(LINE_HEIGHT, part)
    pdf.ln(LINE_HEIGHT)


def column_widths(rows: list[list[str]]) -> tuple[int, ...]:
    """Return relative column widths that follow the longest cell of each column."""
    return tuple(
        max(8, min(40, max(len(cell) for cell in column))) for column in zip(*rows, strict=True)
    )


def pdf_bytes(blocks: list[Block]) -> bytes:
    """Lay the blocks out as a PDF file."""
    pdf = Page(format="A4")
    pdf.set_creation_date(FIXED_DATE)
    pdf.set_author(AUTHOR)
    pdf.set_title(latin_1(title_of(blocks)))
    pdf.running_title = latin_1(title_of(blocks))
    pdf.set_margins(22, 20, 22)
    pdf.set_auto_page_break(True, margin=20)
    pdf.add_page()
    left = pdf.l_margin

    for block in blocks:
        if block.kind == "heading":
            if block.level > 1:
                pdf.ln(3)
            if pdf.will_page_break(4 * LINE_HEIGHT):
                pdf.add_page()
            size = HEADING_SIZES[block.level]
            pdf.set_font("Helvetica", style="B", size=size)
            pdf.multi_cell(
                0,
                size * 0.5,
                latin_1(block.text),
                align="L",
                new_x=XPos.LMARGIN,
                new_y=YPos.NEXT,
            )
            pdf.ln(1.5)
        elif block.kind == "paragraph":
            write_runs(pdf, block.text)
            pdf.ln(1.2)
        elif block.kind in ("bullet", "numbered"):
            marker = block.marker or "-"
            pdf.set_font("Helvetica", size=BODY_SIZE)
            pdf.set_x(left + 3)
            pdf.write(LINE_HEIGHT, f"{marker} ")
            pdf.set_left_margin(left + 9)
            write_runs(pdf, block.text)
            pdf.set_left_margin(left)
            pdf.set_x(left)
        else:
            pdf.ln(1)
            pdf.set_font("Helvetica", size=9.5)
            with pdf.table(
                col_widths=column_widths(block.rows), text_align="LEFT", line_height=5.6
            ) as table:
                for cells in block.rows:
                    row = table.row()
                    for cell in cells:
                        row.cell(latin_1(cell))
            pdf.ln(2)
    return bytes(pdf.output())


def docx_bytes(blocks: list[Block]) -> bytes:
    """Lay the blocks out as a Word file with real headings and tables."""
    document = Document()
    properties = document.core_properties
    properties.title = title_of(blocks)
    properties.author = AUTHOR
    properties.last_modified_by = AUTHOR
    properties.comments = ""
    properties.revision = 1
    properties.created = FIXED_DATE.replace(tzinfo=None)
    properties.modified = FIXED_DATE.replace(tzinfo=None)

    for block in blocks:
        if block.kind == "heading":
            document.add_heading(block.text, level=block.level)
        elif block.kind == "table":
            width = max(len(cells) for cells in block.rows)
            table = document.add_table(rows=0, cols=width, style="Table Grid")
            for number, cells in enumerate(block.rows):
                row = table.add_row()
                for target, cell in zip(row.cells, cells, strict=True):
                    target.paragraphs[0].add_run(cell).bold = number == 0
            document.add_paragraph()
        else:
            style = {"bullet": "List Bullet", "numbered": "List Paragraph"}.get(block.kind)
            paragraph = document.add_paragraph(style=style)
            if block.kind == "numbered":
                paragraph.paragraph_format.left_indent = Cm(1.2)
                paragraph.paragraph_format.first_line_indent = Cm(-0.6)
                paragraph.add_run(f"{block.marker} ")
            for part, bold in runs(block.text):
                paragraph.add_run(part).bold = bold

    buffer = io.BytesIO()
    document.save(buffer)
    return with_fixed_times(buffer.getvalue())


def with_fixed_times(archive: bytes) -> bytes:
    """Return the same zip archive with every member's time set to one fixed moment."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            member = zipfile.ZipInfo(name, date_time=FIXED_ZIP_TIME)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            member.create_system = 3
            new.writestr(member, old.read(name))
    return buffer.getvalue()


BUILDERS = {".pdf": pdf_bytes, ".docx": docx_bytes}


def build(source: Path) -> Path:
    """Build one source file and return the path of the document written."""
    target = DOCUMENTS / source.relative_to(SOURCES).with_suffix("")
    blocks = parse(source.read_text(encoding="utf-8"))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(BUILDERS[target.suffix](blocks))
    return target


def main() -> int:
    """Build every document found in ``sources``."""
    failures = 0
    for source in sorted(SOURCES.rglob("*.md")):
        if source.with_suffix("").suffix not in BUILDERS:
            continue
        try:
            target = build(source)
        except (ValueError, KeyError, IndexError) as error:
            failures += 1
            print(f"{source.relative_to(HERE)}: {error}", file=sys.stderr)
        else:
            print(target.relative_to(HERE))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
