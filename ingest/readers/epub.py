"""EPUB: the chapters in the order of the book's spine, each read as HTML."""

import io
import posixpath
import zipfile
from typing import Any
from urllib.parse import unquote

from ingest.document import Reading
from ingest.errors import DocumentError
from ingest.readers.html import read_html
from ingest.readers.job import Job
from ingest.readers.office import account
from ingest.readers.outline import Outline

CONTAINER = "META-INF/container.xml"
FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
"""Ciphers that scramble fonts alone; any other one locks the text."""


def read_epub(content: bytes, name: str, job: Job) -> Reading:
    """Read a book. A chapter without a heading in it goes by its file's name.

    Raises:
        DocumentError: damaged, or locked (DRM).
        OverLimitError: it unpacks to too much.
    """
    try:
        account(content, job)
        with zipfile.ZipFile(io.BytesIO(content)) as book:
            return _read(book, name, job)
    except (zipfile.BadZipFile, KeyError, SyntaxError) as error:
        raise DocumentError(f"The book is damaged: {error}") from None


def _read(book: zipfile.ZipFile, name: str, job: Job) -> Reading:
    if "META-INF/encryption.xml" in book.namelist():
        ciphers = _parse(book.read("META-INF/encryption.xml")).iterfind(".//{*}EncryptionMethod")
        if any(cipher.get("Algorithm") not in FONTS for cipher in ciphers):
            raise DocumentError("The book is locked (DRM).", hint="Get it without a lock.")
    root = _parse(book.read(CONTAINER)).find(".//{*}rootfile")
    if root is None:
        raise DocumentError("The book is damaged: it does not say where its contents are.")
    opf = root.get("full-path", "")
    package = _parse(book.read(opf))
    outline = Outline(name)
    outline.heading(1, _said(package, "title"))
    for key, element in (("author", "creator"), ("date", "date"), ("language", "language")):
        if said := _said(package, element):
            outline.metadata[key] = said
    files = {item.get("id"): item.get("href", "") for item in package.iterfind(".//{*}item")}
    names = set(book.namelist())
    for reference in package.iterfind(".//{*}spine/{*}itemref"):
        href = unquote(files.get(reference.get("idref"), ""))
        path = posixpath.normpath(posixpath.join(posixpath.dirname(opf), href))
        if href and path in names:
            chapter = read_html(book.read(path), posixpath.basename(path), job)
            outline.member(chapter.title, chapter)
    return outline.reading()


def _parse(xml: bytes) -> Any:
    from lxml import etree

    # Nothing outside the file is fetched, and no entity grows.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
    root = etree.fromstring(xml, parser)
    if root is None:
        raise DocumentError("The book is damaged: its description is no XML.")
    return root


def _said(package: Any, element: str) -> str:
    found = package.find(f".//{{http://purl.org/dc/elements/1.1/}}{element}")
    return "" if found is None else (found.text or "").strip()
