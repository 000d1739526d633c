"""What a file is, told from its bytes. The name breaks ties between kinds of text, no more."""

import io
import json
import re
import zipfile
import zlib

from ingest.errors import DocumentError
from ingest.readers.text import decode
from ingest.suffixes import CODE, HTML, JSON_LINES, MARKDOWN, TEXT

OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # old Office files, e-mails, encrypted new files
PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")  # gzip, bzip2, xz
FOREIGN_ARCHIVES = {b"7z\xbc\xaf\x27\x1c": "7-Zip", b"Rar!\x1a\x07": "RAR"}

MAIL = re.compile(
    r"(?:from|to|subject|date|received|return-path|message-id|mime-version|delivered-to|x-[\w-]+)"
    r":[ \t]",
    re.IGNORECASE,
)
MARKDOWN_MARK = re.compile(r"^#{1,6} \S|^```|^\|? ?:?-{3,}:? ?\|", re.MULTILINE)
NAMED = {
    **dict.fromkeys(MARKDOWN, "md"),
    **dict.fromkeys(TEXT, "txt"),
    **{".rst": "rst", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv"},
}
SURE = 0.3  # of puremagic, whose confidence grows with the length of the signature
HEAD = 4000  # characters that tell one kind of text from another


def kind_of(content: bytes, suffix: str) -> str:
    """Return the kind of a file, one of the keys of `ingest.read.READERS`.

    Args:
        content: all of its bytes.
        suffix: of its name, in lower case; used between kinds of text alone.

    Raises:
        DocumentError: no reader takes it; says what it is.
    """
    if b"%PDF-" in content[:1024]:
        return "pdf"
    if content.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _kind_of_zip(content)
    if content.startswith(OLE_MAGIC[:4]):
        return _kind_of_ole(content)
    if content.startswith(PACKED) or content[257:262] == b"ustar":
        return "archive"
    for magic, name in FOREIGN_ARCHIVES.items():
        if content.startswith(magic):
            raise DocumentError(
                f"It is a {name} archive.", hint="Unpack it, and ingest the folder."
            )
    text = decode(content)
    if text is None:
        raise DocumentError(f"It is {_guess(content)}, not text.")
    return _kind_of_text(text, suffix)


def _kind_of_zip(content: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = set(archive.namelist())
            type_ = archive.read("mimetype")[:100] if "mimetype" in names else b""
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ):
        raise DocumentError("It is a damaged ZIP archive or Office file.") from None
    if type_.startswith(b"application/epub") or "META-INF/container.xml" in names:
        return "epub"
    if type_.startswith(b"application/vnd.oasis"):
        raise DocumentError(
            "It is an OpenDocument file.", hint="Save it as .docx, .xlsx, .pptx or .pdf."
        )
    if "xl/workbook.bin" in names:
        raise DocumentError("It is a binary Excel file.", hint="Save it as .xlsx.")
    for part, kind in (
        ("word/document.xml", "docx"),
        ("ppt/presentation.xml", "pptx"),
        ("xl/workbook.xml", "xlsx"),
    ):
        if part in names:
            return kind
    return "archive"


def _kind_of_ole(content: bytes) -> str:
    if "__properties_version1.0".encode("utf-16-le") in content:
        return "msg"
    if "EncryptedPackage".encode("utf-16-le") in content:
        raise DocumentError("It is an encrypted Office file.", hint="Save it without a password.")
    raise DocumentError(
        "It is an encrypted or an old binary Office file.",
        hint="Save it as .docx, .xlsx or .pptx, without a password.",
    )


def _kind_of_text(text: str, suffix: str) -> str:
    head = text[:HEAD].lstrip("\ufeff \t\r\n")
    low = head.lower()
    if low.startswith(("<!doctype html", "<html")) or ("<html" in low and low.startswith("<?xml")):
        return "html"
    if suffix in HTML and re.search(r"<[a-z!]", low):
        return "html"
    if suffix in CODE:
        return "code"
    if suffix in (*JSON_LINES, ".json") or low.startswith(("{", "[")):
        kind = _kind_of_json(text)
        if kind is not None:
            return kind
    if _is_mail(head, suffix):
        return "eml"
    looks_like = "md" if MARKDOWN_MARK.search(head) else "txt"
    return NAMED.get(suffix, looks_like)


def _kind_of_json(text: str) -> str | None:
    """Return `json` or `jsonl` if the whole text is that; half of it is text like any other."""
    text = text.lstrip("\ufeff")
    try:
        json.loads(text)
    except RecursionError:
        return "json"  # whose reader says so
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            for line in lines:
                json.loads(line)
        except (ValueError, RecursionError):
            return None
        return "jsonl" if len(lines) > 1 else None
    return "json"


def _is_mail(head: str, suffix: str) -> bool:
    """A message opens with header lines, and two of them at least are those of e-mail."""
    names = set[str]()
    for line in head.splitlines():
        if not line.strip():
            break
        if line[0] in " \t" and names:
            continue
        if not re.match(r"[!-9;-~]+:", line):
            if line.startswith("From ") and not names:
                continue  # how a mailbox file marks the start of a message
            return False
        if MAIL.match(line):
            names.add(line.split(":")[0].lower())
    strong = names & {"received", "return-path", "message-id", "mime-version", "delivered-to"}
    return (
        len(names) >= 2 and ("from" in names or bool(strong)) and (suffix == ".eml" or bool(strong))
    )


def _guess(content: bytes) -> str:
    """Return what the bytes are, in words: `binary (Portable Network Graphics file)`."""
    import puremagic

    try:
        found = puremagic.magic_string(content[:65536])
    except (puremagic.PureError, ValueError):
        return "binary"
    # Below, it goes by two or three bytes that any file may begin with.
    names = [match.name for match in found if match.confidence >= SURE and match.name]
    return f"binary ({names[0]})" if names else "binary"
