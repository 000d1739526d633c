"""Bytes become a document: the reader is chosen by what the bytes are, not by the name."""

import functools
import importlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ingest.document import Block, Document, Reading, document_of
from ingest.errors import DocumentError, OverLimitError
from ingest.kind import kind_of
from ingest.path import refuse_unprintable
from ingest.readers.job import Job, Limits
from ingest.supersedes import superseded_by

READERS = {
    "archive": "archive.read_archive",
    "code": "source_code.read_source_code",
    "csv": "delimited.read_delimited",
    "docx": "docx.read_docx",
    "eml": "mail.read_eml",
    "epub": "epub.read_epub",
    "html": "html.read_html",
    "json": "json.read_json",
    "jsonl": "json.read_json",
    "md": "markdown.read_markdown",
    "msg": "mail.read_msg",
    "pdf": "pdf.read_pdf",
    "pptx": "pptx.read_pptx",
    "rst": "rst.read_rst",
    "tsv": "delimited.read_delimited",
    "txt": "text.read_text",
    "xlsx": "xlsx.read_xlsx",
}
"""By kind, where in `ingest.readers` its reader stands. Each is loaded when a file needs it; all of
them would take a reading process as long as the rest of its start."""

UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufeff\ufffe\uffff]")
"""NUL and its like, half characters and non-characters: no text, and poison to JSON and SQLite."""


def read_document(
    content: bytes,
    *,
    source: str,
    collection: str,
    path: Path | None,
    document_id: str,
    limits: Limits | None = None,
) -> Document:
    """Read one file, in this process: for files that are trusted. `Reader` bounds time and memory.

    Raises:
        DocumentError: empty, encrypted, damaged or of an unknown format; says which.
        OverLimitError: it holds more than `limits` allows.
    """
    refuse_unprintable(source)
    kind, reading = read_content(content, source, limits=limits or Limits())
    return document_of(
        kind,
        reading,
        content,
        source=source,
        collection=collection,
        path=path,
        document_id=document_id,
    )


def read_content(
    content: bytes,
    source: str,
    *,
    limits: Limits,
    on_page: Callable[[], None] = lambda: None,
) -> tuple[str, Reading]:
    """Return the kind of a file and what it says.

    Raises:
        DocumentError: it cannot be read.
    """
    kind = ""

    def read(content: bytes, name: str, job: Job) -> Reading:
        nonlocal kind
        inner, reading = _read(content, name, job)
        kind = inner  # the outermost file is the last to be done
        return reading

    reading = read(content, source, Job(limits, read, on_page))
    said = superseded_by(reading)
    if said and "supersedes" not in reading.metadata:
        reading = replace(reading, metadata={**reading.metadata, "supersedes": said})
    return kind, reading


def _read(content: bytes, source: str, job: Job) -> tuple[str, Reading]:
    if not content:
        raise DocumentError("The file is empty.")
    if not content.strip(b"\x00 \t\r\n"):
        raise DocumentError("The file holds no text.")
    kind = ""
    name = PurePosixPath(source).stem.replace("-", " ").replace("_", " ")
    try:
        kind = kind_of(content, PurePosixPath(source).suffix.lower())
        if kind == "archive":
            name = PurePosixPath(source).name  # its suffixes say how it is packed
        reading = _reader(kind)(content, name, job)
    except (DocumentError, MemoryError):
        raise
    except RecursionError:
        raise OverLimitError("It is nested too deeply.") from None
    except Exception as error:
        # The one edge to a dozen parsers: damaged files make them raise whatever they tripped over.
        raise DocumentError(
            f"The {kind} file is damaged: {error!r:.200}".replace("  ", " ")
        ) from error
    reading = _clean(reading)
    if not reading.blocks:
        raise DocumentError("The file holds no text.")
    return kind, reading


@functools.cache
def _reader(kind: str) -> Callable[[bytes, str, Job], Reading]:
    module, name = READERS[kind].split(".")
    found: Callable[[bytes, str, Job], Reading] = getattr(
        importlib.import_module(f"ingest.readers.{module}"), name
    )
    return found


def _clean(reading: Reading) -> Reading:
    """Return the reading in characters that every store takes, without its empty blocks."""
    blocks = (
        Block(_text(block.text), tuple(map(_line, block.headings)), block.page)
        for block in reading.blocks
    )
    return Reading(
        _line(reading.title),
        tuple(block for block in blocks if block.text.strip()),
        reading.pages,
        {_line(key): _line(value) for key, value in reading.metadata.items() if _line(value)},
    )


def _text(text: str) -> str:
    return UNWANTED.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip("\n\t ")


def _line(text: str) -> str:
    return " ".join(_text(text).split())
