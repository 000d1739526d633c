"""XLSX: each sheet is a section; each of its tables one readable line a row."""

import io
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from typing import Any

from ingest.document import Reading
from ingest.errors import DocumentError
from ingest.readers.job import Job
from ingest.readers.office import account, core_metadata
from ingest.readers.outline import Outline, table_lines

Row = list[str]
UNCOMPUTED = re.compile(rb"(?:</f>|<f[^>]*/>)\s*(?:<v\s*/>|<v></v>)?\s*</c>")


def read_xlsx(content: bytes, name: str, job: Job) -> Reading:
    """Read a workbook: values, not formulas, as the program that saved it last computed them.

    Raises:
        DocumentError: damaged.
        OverLimitError: it unpacks to too much.
    """
    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        account(content, job)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and extensions, which hold no text
            book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
            outline = Outline(name)
            properties = book.properties
            outline.metadata.update(core_metadata(properties))
            if properties.title:
                outline.heading(1, properties.title)
            for sheet in book.worksheets:
                outline.heading(2, sheet.title)
                sheet.reset_dimensions()  # what the file claims may be far too much
                for table in _tables(_row(cells) for cells in sheet.iter_rows()):
                    _add(table, outline)
            book.close()
    except (zipfile.BadZipFile, InvalidFileException, KeyError, SyntaxError) as error:
        raise DocumentError(f"The workbook is damaged: {error}") from None
    if _has_uncomputed(content):
        outline.metadata["skipped"] = (
            "formulas whose results are not in the file: open it in a spreadsheet program and save"
        )
    return outline.reading()


def _has_uncomputed(content: bytes) -> bool:
    """Return whether a formula has no result beside it, as in files that a script wrote."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sheets = (n for n in archive.namelist() if n.startswith("xl/worksheets/sheet"))
        return any(UNCOMPUTED.search(archive.read(name)) for name in sheets)


def _row(cells: Iterable[Any]) -> Row:
    row = [_shown(cell) for cell in cells]
    while row and not row[-1]:
        row.pop()
    return row


def _shown(cell: Any) -> str:
    """Return a cell as a reader of the sheet sees it: `2026-03-31`, `12.5 %`, `1200`."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d" if value.time() == time() else "%Y-%m-%d %H:%M")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, float | int):
        if "%" in (cell.number_format or ""):
            return f"{value * 100:.10g} %"
        return f"{value:.10g}" if isinstance(value, float) else str(value)
    return str(value)


def _tables(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield runs of rows between empty ones."""
    table: list[Row] = []
    for row in rows:
        if row:
            table.append(row)
        elif table:
            yield table
            table = []
    if table:
        yield table


def _add(table: list[Row], outline: Outline) -> None:
    """Add a table; lines of a single cell above its header are its caption."""
    start = 0
    while start < len(table) and sum(map(bool, table[start])) == 1 and len(table) > 1:
        start += 1
    if start == len(table):  # a list, not a table
        start = 0 if len(table[0]) == 1 else start
        outline.lines([cell for row in table for cell in row if cell])
        return
    outline.lines([cell for row in table[:start] for cell in row if cell])
    outline.lines(table_lines(table[start:]))
