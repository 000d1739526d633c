"""Small real files of every format, made where they are needed."""

import email.message
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Mapping, Sequence

import docx
import openpyxl
import pptx
from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFont
from pptx.util import Inches

PROSE = (
    "the pump housing needs a new seal ring every season because dirt and pressure wear the rubber"
    " lip so crews check the torque before each start and write the number into the log book"
)
WORDS = PROSE.split()
LEFT = [f"Left {n} " + " ".join(WORDS[n % 9 : n % 9 + 5]) for n in range(24)]
RIGHT = [f"Right {n} " + " ".join(WORDS[n % 7 + 4 : n % 7 + 9]) for n in range(24)]
PARTS = [
    ["Part", "Number", "Price"],
    ["Seal ring", "TF-1", "EUR 4.00"],
    ["Impeller", "TF-2", "EUR 19.50"],
    ["Guide bush", "TF-3", "EUR 7.25"],
]


def pdf(*lines: str, password: str = "", pages: int = 1) -> bytes:
    """Return a PDF that has `lines` on each of its pages."""
    file = FPDF()
    for _ in range(pages):
        file.add_page()
        file.set_font("helvetica", size=11)
        for line in lines:
            file.cell(text=line, new_x="LMARGIN", new_y="NEXT")
    if password:
        file.set_encryption(owner_password=password, user_password=password)
    return bytes(file.output())


def two_columns() -> bytes:
    """Return a PDF in two columns that was drawn across them, line after line."""
    file = FPDF()
    file.add_page()
    file.set_font("helvetica", "B", 16)
    file.text(20, 20, "A title across both columns of this page")
    file.set_font("helvetica", size=10)
    for number, (left, right) in enumerate(zip(LEFT, RIGHT, strict=True)):
        file.text(20, 32 + number * 5, left)
        file.text(112, 32 + number * 5, right)
    return bytes(file.output())


def table_pdf(*, ruled: bool) -> bytes:
    """Return a PDF with a table between two paragraphs."""
    file = FPDF()
    file.add_page()
    file.set_font("helvetica", size=10)
    file.multi_cell(0, 5, " ".join(WORDS) + ".", new_x="LMARGIN", new_y="NEXT")
    file.ln(4)
    for row in PARTS:
        for cell in row:
            file.cell(45, 6, cell, border=int(ruled))
        file.ln()
    file.ln(4)
    file.multi_cell(0, 5, "After the table. " + " ".join(WORDS), new_x="LMARGIN", new_y="NEXT")
    return bytes(file.output())


def scan(*pages: str) -> bytes:
    """Return a PDF of pictures of text; an empty page text gives a page with a text layer."""
    file = FPDF(unit="pt", format=(595, 842))
    for text in pages:
        file.add_page()
        if not text:
            file.set_font("helvetica", size=11)
            file.cell(text="This page has a text layer of its own.")
            continue
        picture = Image.new("L", (1240, 1754), 255)
        ImageDraw.Draw(picture).multiline_text(
            (120, 160), text, 0, ImageFont.load_default(44), spacing=20
        )
        file.image(picture, 0, 0, 595, 842)
    return bytes(file.output())


def word(*paragraphs: str, headings: Sequence[str] = (), table: bool = False) -> bytes:
    """Return a Word document."""
    document = docx.Document()
    for heading in headings:
        document.add_heading(heading, 1)
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    if table:
        grid = document.add_table(0, 3)
        for row in PARTS:
            for cell, text in zip(grid.add_row().cells, row, strict=True):
                cell.text = text
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def slides() -> bytes:
    """Return two slides: a text with notes, and a table."""
    show = pptx.Presentation()
    first = show.slides.add_slide(show.slide_layouts[1])
    first.shapes.title.text = "Burbot 20"
    first.placeholders[1].text = "Tighten the collar to 38 Nm."
    first.notes_slide.notes_text_frame.text = "Say why."
    second = show.slides.add_slide(show.slide_layouts[5])
    second.shapes.title.text = "Parts"
    frame = second.shapes.add_table(4, 3, Inches(1), Inches(2), Inches(6), Inches(2))
    for row, texts in enumerate(PARTS):
        for column, text in enumerate(texts):
            frame.table.cell(row, column).text = text
    file = io.BytesIO()
    show.save(file)
    return file.getvalue()


def workbook(sheets: Mapping[str, Sequence[Sequence[object]]]) -> bytes:
    """Return a workbook of these sheets."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a ZIP archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(files: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    """Return a tar archive, packed as `mode` says."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def book(*chapters: tuple[str, str]) -> bytes:
    """Return an EPUB; each chapter has a heading and a paragraph."""
    container = (
        '<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" '
        'version="1.0"><rootfiles><rootfile full-path="OEBPS/book.opf" '
        'media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    items = "".join(
        f'<item id="c{n}" href="text/c%20{n}.xhtml" media-type="application/xhtml+xml"/>'
        for n in range(len(chapters))
    )
    # The spine, not the list of files, gives the order: the last file comes first.
    spine = "".join(f'<itemref idref="c{n}"/>' for n in reversed(range(len(chapters))))
    package = (
        '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0">'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Field book</dc:title>'
        "<dc:creator>A. Writer</dc:creator></metadata>"
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    files = {
        "mimetype": b"application/epub+zip",
        "META-INF/container.xml": container.encode(),
        "OEBPS/book.opf": package.encode(),
    }
    for n, (heading, text) in enumerate(chapters):
        page = f"<html><head><title>x</title></head><body><h1>{heading}</h1><p>{text}</p></body>"
        files[f"OEBPS/text/c {n}.xhtml"] = (page + "</html>").encode()
    return zipped(files)


def mail(text: str = "", html: str = "", attachments: Mapping[str, bytes] | None = None) -> bytes:
    """Return an e-mail as it is sent."""
    message = email.message.EmailMessage()
    message["Subject"] = "Collar of the Burbot 20"
    message["From"] = "Ada <ada@example.com>"
    message["To"] = "desk@example.com"
    message["Date"] = "Mon, 30 Mar 2026 10:00:00 +0200"
    message["Message-ID"] = "<1@example.com>"
    message.set_content(text or "See below.")
    if html:
        message.set_content(html, subtype="html")
    for name, content in (attachments or {}).items():
        message.add_attachment(
            content, maintype="application", subtype="octet-stream", filename=name
        )
    return message.as_bytes()


def outlook(subject: str, body: str, attachment: tuple[str, bytes]) -> bytes:
    """Return an e-mail as Outlook saves it: properties in a compound file (MS-OXMSG, MS-CFB)."""

    def properties(header: bytes, texts: Mapping[int, str]) -> dict[str, bytes]:
        streams = {
            f"__substg1.0_{tag:04X}001F": text.encode("utf-16-le") for tag, text in texts.items()
        }
        entries = b"".join(
            struct.pack("<HHIII", 0x001F, tag, 6, len(text) * 2 + 2, 0)
            for tag, text in texts.items()
        )
        return {"__properties_version1.0": header + entries, **streams}

    name, content = attachment
    inner = properties(bytes(8), {0x3707: name})
    inner["__properties_version1.0"] += struct.pack("<HHIII", 0x0102, 0x3701, 6, len(content), 0)
    inner["__substg1.0_37010102"] = content
    header = bytes(8) + struct.pack("<4I", 0, 1, 0, 1) + bytes(8)
    root = properties(header, {0x0037: subject, 0x1000: body, 0x0C1A: "Ada"})
    return _compound(root, {"__attach_version1.0_#00000000": inner})


NONE, END, TABLE = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


class _Sectors:
    """Streams in chains of sectors, and the table that links them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.table: list[int] = []
        self.data = b""

    def store(self, content: bytes) -> int:
        """Append `content`; return its first sector."""
        count = -(-len(content) // self.size)
        if not count:
            return END
        first = len(self.table)
        self.table += [*range(first + 1, first + count), END]
        self.data += content.ljust(count * self.size, b"\x00")
        return first


def _compound(streams: Mapping[str, bytes], storages: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """Return a compound file; each stream is below 4096 bytes, so it lies in the small sectors."""
    entries: list[tuple[str, int, bytes]] = [("Root Entry", 5, b"")]
    children: dict[int, list[int]] = {0: []}
    for name, content in streams.items():
        children[0].append(len(entries))
        entries.append((name, 2, content))
    for name, inner in storages.items():
        storage = len(entries)
        children[0].append(storage)
        entries.append((name, 1, b""))
        children[storage] = [*range(storage + 1, storage + 1 + len(inner))]
        entries += [(inner_name, 2, content) for inner_name, content in inner.items()]
    after = {a: b for group in children.values() for a, b in zip(group, group[1:], strict=False)}
    large, small = _Sectors(512), _Sectors(64)
    starts = [small.store(content) for _, _, content in entries]
    starts[0] = large.store(small.data)
    small_table = large.store(
        struct.pack(f"<{len(small.table)}I", *small.table).ljust(512, b"\xff")
    )
    directory = b""
    for index, (name, kind, content) in enumerate(entries):
        encoded = (name + "\x00").encode("utf-16-le")
        length = len(content) if index else len(small.data)
        child = children[index][0] if children.get(index) else NONE
        directory += struct.pack(
            "<64sHBBIII16sIQQIQ",
            *(encoded, len(encoded), kind, 1, NONE, after.get(index, NONE), child, bytes(16)),
            *(0, 0, 0, starts[index], length),
        )
    first_directory = large.store(directory)
    table = len(large.table)
    large.table.append(TABLE)
    head = struct.pack(
        "<8s16sHHHHH6sIIIIIIIIII",
        *(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", bytes(16), 0x3E, 3, 0xFFFE, 9, 6, bytes(6)),
        *(0, 1, first_directory, 0, 4096, small_table, 1, END, 0, table),
    ).ljust(512, b"\xff")
    return (
        head + large.data + struct.pack(f"<{len(large.table)}I", *large.table).ljust(512, b"\xff")
    )


MARKDOWN = b"""---
title: Pump
author: Ada
supersedes: pump-2024.md
---
# Pump

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

RST = b"""=====
Pump
=====

:Author: Ada
:Supersedes: pump-2024.rst

Torque
======

Tighten to 38 Nm.

.. note:: Not more.

.. unknown:: thing

   Held text.

Parts
-----

====== ========
Part   Price
====== ========
Seal   EUR 4.00
Ring   EUR 2.50
====== ========

- first
- second
"""

HTML = (
    b"<html><head><title>T</title><style>x{}</style><meta name=author content=Ada></head><body>"
    b"<nav>Home</nav><h1>Bulletin</h1><div>Loose <b>words</b></div><h2>Limit</h2>"
    b"<p>At most 9 bar.</p><table><tr><th>Code</th><th>Means</th></tr><tr><td>E-1</td>"
    b"<td>Hot</td></tr></table><script>evil()</script><!-- hidden --><footer>(c)</footer>"
    b"</body></html>"
)

RECORDS = [{"id": n, "text": f"Record {n}", "size": {"height": n, "width": 2}} for n in range(3)]


def samples() -> dict[str, bytes]:
    """Return a file of every format, by a name that fits it."""
    archive = {"inner/manual.md": MARKDOWN, "list.csv": b"Part,Price\nSeal,4\nRing,2\n"}
    return {
        "a.md": MARKDOWN,
        "a.rst": RST,
        "a.html": HTML,
        "a.txt": "Grüße aus dem Süden.\r\n\r\nZweiter Absatz.".encode(),
        "latin.txt": ("Die Grüße kämen für Österreich schön über die Straße. " * 8).encode(
            "cp1252"
        ),
        "utf16.txt": "Wide text, seal ring 38 Nm".encode("utf-16"),
        "a.csv": b"Part;Price\nSeal;4,00\nRing;2,50\n",
        "a.tsv": b"Part\tPrice\nSeal\t4\nRing\t2\n",
        "a.json": json.dumps({"title": "Pump", "torque": 38, "parts": RECORDS}).encode(),
        "a.jsonl": "\n".join(map(json.dumps, RECORDS)).encode(),
        "a.py": b'"""Doc."""\n\nimport os\n\n\n# Opens it.\ndef open_valve(n):\n    return n + 1\n',
        "a.pdf": pdf("Hello pump.", "Second line."),
        "columns.pdf": two_columns(),
        "table.pdf": table_pdf(ruled=True),
        "a.docx": word("First.", "Second.", headings=["Torque"], table=True),
        "a.pptx": slides(),
        "a.xlsx": workbook({"Parts": PARTS, "Stock": [["Part", "Count"], ["Seal", 12]]}),
        "a.epub": book(("Chapter two", "Second text."), ("Chapter one", "First text.")),
        "a.eml": mail("Collar cracked.", attachments={"list.csv": archive["list.csv"]}),
        "a.msg": outlook("Collar", "Collar cracked.", ("list.csv", archive["list.csv"])),
        "a.zip": zipped(archive),
        "a.tar.gz": tarred(archive),
    }
