"""DOCX: paragraphs, headings and tables in the order they stand."""

import io
import re
import zipfile

from ingest.document import Reading
from ingest.errors import DocumentError
from ingest.readers.outline import Outline, table_lines

MAX_UNPACKED_BYTES = 200_000_000
"""A document that unpacks to more is taken for a decompression bomb."""


def read_docx(content: bytes, name: str) -> Reading:
    """Read a Word document.

    Raises:
        DocumentError: damaged, or unpacking to more than `MAX_UNPACKED_BYTES`.
    """
    import docx
    from docx.opc.exceptions import PackageNotFoundError
    from docx.table import Table

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_UNPACKED_BYTES:
            raise DocumentError(f"The document unpacks to {unpacked} bytes, which is too much.")
        document = docx.Document(io.BytesIO(content))
    except (zipfile.BadZipFile, PackageNotFoundError, KeyError, ValueError, SyntaxError) as error:
        raise DocumentError(f"The Word document is damaged: {error}") from None
    outline = Outline(name)
    for element in document.iter_inner_content():
        if isinstance(element, Table):
            rows = [[cell.text for cell in row.cells] for row in element.rows]
            outline.lines(table_lines(rows))
            continue
        style = (element.style.name if element.style else "") or ""
        level = re.fullmatch(r"Heading ([1-9])", style)
        if style == "Title":
            outline.heading(1, element.text)
        elif level:
            outline.heading(int(level.group(1)), element.text)
        else:
            bullet = "- " if style.startswith("List") else ""
            outline.paragraph(bullet + element.text if element.text.strip() else "")
    return outline.reading()
