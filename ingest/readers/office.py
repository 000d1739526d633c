"""What the Office formats share: a ZIP archive around XML, and properties of the document."""

import io
import zipfile
from datetime import date, datetime
from typing import Any

from ingest.readers.job import Job


def account(content: bytes, job: Job) -> None:
    """Account for all that the archive `content` unpacks to, before a library unpacks it.

    Raises:
        OverLimitError: it is too much.
        zipfile.BadZipFile: it is no archive.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.infolist():
            job.unpack(packed=member.compress_size, unpacked=member.file_size)


TEMPLATES = ("python-docx", "openpyxl", "Steve Canny")
"""Who wrote the empty files that libraries start from: neither author nor date mean anything."""


def core_metadata(properties: Any) -> dict[str, str]:
    """Return author, date of the last change, subject and keywords, where they are set."""
    author = getattr(properties, "author", None) or getattr(properties, "creator", None) or ""
    changed = properties.modified or properties.created
    last = getattr(properties, "last_modified_by", None) or getattr(
        properties, "lastModifiedBy", None
    )
    if author in TEMPLATES or last in TEMPLATES:
        author, changed = "", None
    return {
        "author": author,
        "date": iso_date(changed),
        "subject": properties.subject or "",
        "keywords": properties.keywords or "",
    }


def iso_date(value: date | datetime | None) -> str:
    """Return the day, `2026-03-31`; empty if there is none."""
    return value.strftime("%Y-%m-%d") if value else ""
