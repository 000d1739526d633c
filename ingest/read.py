"""Bytes become a document: the reader is chosen by what the bytes are, not by the name alone."""

import hashlib
import io
import zipfile
from pathlib import Path, PurePosixPath

from ingest.document import Document, Reading, Span
from ingest.errors import DocumentError
from ingest.readers.docx import read_docx
from ingest.readers.html import read_html
from ingest.readers.markdown import read_markdown
from ingest.readers.pdf import read_pdf
from ingest.readers.text import read_text

SUFFIXES = (".md", ".markdown", ".html", ".htm", ".pdf", ".docx", ".txt")
"""What a folder is searched for."""

OLE_MAGIC = b"\xd0\xcf\x11\xe0"  # old Office files, and encrypted new ones


def read_document(
    content: bytes, *, source: str, collection: str, path: Path | None, document_id: str
) -> Document:
    """Read one file.

    Raises:
        DocumentError: empty, encrypted, damaged, mislabelled or of an unknown format; says which.
    """
    if not content.strip(b"\x00 \t\r\n"):
        raise DocumentError("The file is empty.")
    name = PurePosixPath(source).stem.replace("-", " ").replace("_", " ")
    kind, reading = _reading(content, PurePosixPath(source).suffix.lower(), name)
    blocks = tuple(block for block in reading.blocks if block.text.strip())
    if not blocks:
        raise DocumentError("The file holds no text.")
    spans = []
    position = 0
    for block in blocks:
        spans.append(Span(position, position + len(block.text)))
        position += len(block.text) + 2
    return Document(
        id=document_id,
        collection=collection,
        source=source,
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        title=reading.title,
        text="\n\n".join(block.text for block in blocks),
        blocks=blocks,
        spans=tuple(spans),
        pages=reading.pages,
        kind=kind,
        metadata=reading.metadata,
    )


def _reading(content: bytes, suffix: str, name: str) -> tuple[str, Reading]:
    kind = kind_of(content, suffix)
    expected = {".markdown": "md", ".htm": "html"}.get(suffix, suffix.removeprefix("."))
    texts = ("md", "html", "txt")
    if suffix in SUFFIXES and kind != expected and not (kind in texts and expected in texts):
        raise DocumentError(f"The name says {expected}, but the content is {kind}.")
    readers = {
        "pdf": read_pdf,
        "docx": read_docx,
        "html": read_html,
        "md": read_markdown,
        "txt": read_text,
    }
    return kind, readers[kind](content, name)


def kind_of(content: bytes, suffix: str) -> str:
    """Return `pdf`, `docx`, `html`, `md` or `txt`, judged from the bytes.

    Raises:
        DocumentError: none of these.
    """
    if content[:1024].lstrip().startswith(b"%PDF-"):
        return "pdf"
    if content.startswith(b"PK\x03\x04"):
        return _kind_of_zip(content)
    if content.startswith(OLE_MAGIC):
        raise DocumentError("It is an encrypted or an old binary Office file; save it as .docx.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"It is neither a known format nor UTF-8 text ({error}).") from None
    if "\x00" in text:
        raise DocumentError("It is binary, not text.")
    head = text[:2000].lstrip().lower()
    if head.startswith(("<!doctype html", "<html")) or suffix in (".html", ".htm"):
        return "html"
    return "txt" if suffix == ".txt" else "md"


def _kind_of_zip(content: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        raise DocumentError("It is a damaged ZIP archive or Office file.") from None
    if "word/document.xml" in names:
        return "docx"
    raise DocumentError("It is a ZIP archive, but not a Word document.")
