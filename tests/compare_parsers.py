"""Parsers on tricky files: what `docs/design/parsers.md` quotes.

    python -m tests.compare_parsers make FOLDER          files, by the project's own environment
    VENV/bin/python tests/compare_parsers.py NAME FOLDER   one candidate, in its own environment

Times are processor seconds, of this process and its children, so that other work hardly matters.
"""

import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Passage(NamedTuple):
    """A stretch of text, with what the parser says of its place."""

    text: str
    page: int | None = None
    headings: tuple[str, ...] = ()


Parse = Callable[[Path], list[Passage]]


def whole(passages: list[Passage]) -> str:
    return "\n".join(passage.text for passage in passages)


def flat(passages: list[Passage]) -> str:
    return " ".join(whole(passages).split())


def has_row(passages: list[Passage]) -> bool:
    """Every row of the parts table is on one line, and the line or a table says what is a price."""
    lines = whole(passages).split("\n")
    row = next((line for line in lines if "Impeller" in line and "EUR 19.50" in line), "")
    named = "Price: EUR 19.50" in row
    header = any(re.search(r"Part\b.*\|.*Number.*\|.*Price", line) for line in lines) and "|" in row
    return named or header


def ordered(*parts: str) -> Callable[[list[Passage]], bool]:
    def check(passages: list[Passage]) -> bool:
        text = flat(passages)
        places = [text.find(part) for part in parts]
        return -1 not in places and places == sorted(places)

    return check


def holds(part: str, *, without: str = "\0") -> Callable[[list[Passage]], bool]:
    return lambda passages: part in flat(passages) and without not in flat(passages)


CHECKS: list[tuple[str, str, Callable[[list[Passage]], bool]]] = [
    ("columns.pdf", "two columns, drawn line by line", ordered("Left 0", "Left 23", "Right 0")),
    ("ruled.pdf", "ruled table: rows with header", has_row),
    ("aligned.pdf", "aligned table: rows with header", has_row),
    ("cells.pdf", "a cell of several lines is one", holds("five seconds, impeller blocked")),
    (
        "running.pdf",
        "running head at most once",
        lambda passages: (
            flat(passages).count("Burbot 20 manual") <= 1 and "Unit 21" in str(passages)
        ),
    ),
    (
        "running.pdf",
        "page of a passage",
        lambda passages: any(p.page == 3 and "Unit 21" in p.text for p in passages),
    ),
    (
        "headings.pdf",
        "heading by font size",
        lambda passages: any("Torque" in p.headings and "the pump" in p.text for p in passages),
    ),
    ("turned.pdf", "text drawn sideways", ordered("Left 0", "Left 9", "Left 23")),
    ("scan.pdf", "scanned page by OCR", holds("Tighten the collar to 38 Nm")),
    ("table.docx", "DOCX table: rows with header", has_row),
    ("tracked.docx", "DOCX: tracked changes as shown", holds("Tighten to 38 Nm", without="30")),
    (
        "headings.docx",
        "DOCX: passage under its heading",
        lambda passages: any("Torque" in p.headings and "First." in p.text for p in passages),
    ),
    ("a.pptx", "PPTX table: rows with header", has_row),
    (
        "a.pptx",
        "PPTX: slide of a passage",
        lambda passages: any(p.page == 2 and "Impeller" in p.text for p in passages),
    ),
    ("a.xlsx", "XLSX: rows with header", has_row),
    ("a.csv", "CSV with semicolons: rows with header", has_row),
    ("a.html", "HTML: no furniture", holds("At most 9 bar.", without="Home")),
    ("a.epub", "EPUB in the order of its spine", ordered("First text.", "Second text.")),
    ("a.eml", "EML: attachment read", holds("Collar cracked.")),
    ("a.eml", "EML: attachment's rows", has_row),
    ("a.msg", "MSG: attachment's rows", has_row),
    ("a.zip", "ZIP: files by their names", lambda p: "Impeller" in flat(p) and "inner" in str(p)),
    ("cp1252.txt", "text in cp1252", holds("Die Grüße kämen für Österreich")),
    ("shift_jis.txt", "text in Shift-JIS", holds("ポンプのシール")),
    ("pdf-named.md", "PDF called .md", holds("Hello pump.")),
]


def make(folder: Path) -> None:
    """Write the files that the candidates read."""
    import docx
    from fpdf import FPDF

    from tests.ingest import samples, test_pdf

    def table(document: Any) -> bytes:
        import io

        file = io.BytesIO()
        document.save(file)
        return file.getvalue()

    cells = FPDF()
    cells.add_page()
    cells.set_font("helvetica", size=10)
    long = "Current above 18 A for longer than five seconds, impeller blocked"
    with cells.table(line_height=5, col_widths=(20, 60, 60)) as grid:
        for texts in (("Code", "Meaning", "What to do"), ("E-131", long, "Clean the strainer")):
            row = grid.row()
            for text in texts:
                row.cell(text)
    running = test_pdf.Running()
    for _ in range(6):
        running.add_page()
        running.set_font("helvetica", size=11)
        running.multi_cell(0, 6, f"Unit {running.page_no() * 7}: {samples.PROSE}")
    headings = FPDF()
    headings.add_page()
    for heading in ("Manual", "Torque", "Storage"):
        headings.set_font("helvetica", "B", 20 if heading == "Manual" else 15)
        headings.cell(text=heading, new_x="LMARGIN", new_y="NEXT")
        headings.set_font("helvetica", size=11)
        headings.multi_cell(0, 6, samples.PROSE, new_x="LMARGIN", new_y="NEXT")
        headings.ln(4)
    turned = FPDF()
    turned.add_page()
    turned.set_font("helvetica", size=10)
    with turned.rotation(90, 105, 148):
        for number, line in enumerate(samples.LEFT):
            turned.text(20, 60 + number * 5, line)
    rows = "\n".join(";".join(row) for row in samples.PARTS).encode()
    long_manual = FPDF()
    long_manual.set_font("helvetica", size=10)
    for number in range(300):
        long_manual.add_page()
        for part in range(7):
            text = f"Part {number}.{part}: " + f"{samples.PROSE}. " * 3
            long_manual.multi_cell(0, 5, text, new_x="LMARGIN", new_y="NEXT")
            long_manual.ln(3)
    files = {
        "columns.pdf": samples.two_columns(),
        "ruled.pdf": samples.table_pdf(ruled=True),
        "aligned.pdf": samples.table_pdf(ruled=False),
        "cells.pdf": bytes(cells.output()),
        "running.pdf": bytes(running.output()),
        "headings.pdf": bytes(headings.output()),
        "turned.pdf": bytes(turned.output()),
        "scan.pdf": samples.scan("Tighten the collar to 38 Nm\nwith a torque wrench."),
        "table.docx": samples.word("First.", table=True),
        "tracked.docx": table(samples.tracked(docx.Document())),
        "headings.docx": samples.word("First.", headings=["Letter", "Torque"]),
        "a.pptx": samples.slides(),
        "a.xlsx": samples.workbook({"Parts": samples.PARTS}),
        "a.csv": rows,
        "a.html": samples.HTML,
        "a.epub": samples.book(("Two", "Second text."), ("One", "First text.")),
        "a.eml": samples.mail("Collar cracked.", attachments={"parts.csv": rows}),
        "a.msg": samples.outlook("Collar", "Collar cracked.", ("parts.csv", rows)),
        "a.zip": samples.zipped({"inner/a.md": b"# T\n\ntext", "parts.csv": rows}),
        "cp1252.txt": samples.samples()["latin.txt"],
        "shift_jis.txt": ("ポンプのシールは毎季節交換してください。圧力が高い。" * 4).encode(
            "shift_jis"
        ),
        "pdf-named.md": samples.pdf("Hello pump."),
        "encrypted.pdf": samples.pdf("secret", password="x"),
        "300-pages.pdf": bytes(long_manual.output()),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def groundtune() -> Parse:
    from ingest.read import read_document

    def parse(path: Path) -> list[Passage]:
        document = read_document(
            path.read_bytes(), source=path.name, collection="c", path=path, document_id="d"
        )
        headings = (document.title,)
        return [Passage(b.text, b.page, headings + b.headings) for b in document.blocks]

    return parse


def kreuzberg() -> Parse:
    """Its Markdown, which has headings and tables, but no pages."""
    from kreuzberg import ExtractionConfig, OcrConfig, extract_file_sync

    config = ExtractionConfig(
        use_cache=False, ocr=OcrConfig(language="eng"), output_format="markdown"
    )
    return lambda path: markdown(extract_file_sync(str(path), config=config).content)


def kreuzberg_pages() -> Parse:
    """Its pages, which are plain text."""
    from kreuzberg import ExtractionConfig, OcrConfig, PageConfig, extract_file_sync

    config = ExtractionConfig(
        use_cache=False, ocr=OcrConfig(language="eng"), pages=PageConfig(extract_pages=True)
    )

    def parse(path: Path) -> list[Passage]:
        result = extract_file_sync(str(path), config=config)
        pages = [Passage(page["content"], page["page_number"]) for page in result.pages or []]
        return pages or [Passage(result.content)]

    return parse


def markitdown() -> Parse:
    from markitdown import MarkItDown

    converter = MarkItDown()
    return lambda path: markdown(converter.convert(str(path)).markdown)


def unstructured() -> Parse:
    from unstructured.partition.auto import partition

    def parse(path: Path) -> list[Passage]:
        passages: list[Passage] = []
        titles: list[str] = []
        for element in partition(str(path), process_attachments=True):
            text = element.metadata.text_as_html or str(element)
            if element.category == "Title":
                titles = [str(element)]
            cells = re.sub(r"</t[dh]><t[dh]>", " | ", text.replace("</tr>", "\n"))
            passages.append(
                Passage(re.sub(r"<[^>]+>", "", cells), element.metadata.page_number, (*titles,))
            )
        return passages

    return parse


def pdfplumber() -> Parse:
    import pdfplumber as library

    def parse(path: Path) -> list[Passage]:
        with library.open(path) as pdf:
            passages = []
            for page in pdf.pages:
                rows = [row for table in page.extract_tables() for row in table]
                lines = [" | ".join(" ".join((cell or "").split()) for cell in r) for r in rows]
                passages.append(Passage(page.extract_text(), page.page_number))
                passages.append(Passage("\n".join(lines), page.page_number))
                page.close()
            return passages

    return parse


def markdown(text: str, page: int | None = None) -> list[Passage]:
    """Return the sections of Markdown."""
    passages: list[Passage] = []
    headings: tuple[str, ...] = ()
    for part in re.split(r"(?m)^(#{1,6} .*)$", text):
        if re.match(r"#{1,6} ", part):
            headings = (*headings, part.lstrip("# ").strip())
        elif part.strip():
            passages.append(Passage(part, page, headings))
    return passages


def used() -> float:
    return sum(os.times()[:4])


def main(name: str, folder: Path) -> None:
    """Print what `name` makes of the files."""
    out = sys.stdout
    started = used()
    candidates = (groundtune, kreuzberg, kreuzberg_pages, markitdown, unstructured, pdfplumber)
    parse = {candidate.__name__: candidate for candidate in candidates}[name]()
    passed = 0
    for file, what, check in CHECKS:
        try:
            passages = parse(folder / file)
            good, why = check(passages), flat(passages)[:60]
        except Exception as error:
            good, why = False, f"{type(error).__name__}: {error}"[:90]
        passed += good
        out.write(f"{'yes' if good else 'NO ':3} {what:42} {'' if good else why}\n")
    try:
        out.write(f"encrypted: read as {flat(parse(folder / 'encrypted.pdf'))[:60]!r}\n")
    except Exception as error:
        out.write(f"encrypted: {type(error).__name__}: {error}"[:150] + "\n")
    out.write(f"{name}: {passed} of {len(CHECKS)}; started and read in {used() - started:.1f} s\n")
    seconds = []
    for _ in range(3):
        begun = used()
        parse(folder / "300-pages.pdf")
        seconds.append(used() - begun)
    shown = ", ".join(f"{300 / s:.0f}" for s in seconds)
    out.write(f"{name}: 300 pages, pages a processor second: {shown}\n")


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]))
    else:
        begun = time.monotonic()
        main(sys.argv[1], Path(sys.argv[2]))
        sys.stdout.write(f"{time.monotonic() - begun:.0f} s by the clock\n")
