"""Archives: every file inside is read where it lies in memory, under its name. Nothing is written.

ZIP, tar, and either or a single file packed with gzip, bzip2 or xz.
"""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import PurePosixPath
from typing import IO, NamedTuple, Protocol

from ingest.document import Reading
from ingest.errors import DocumentError, OverLimitError
from ingest.readers.job import Job
from ingest.readers.outline import Outline


class Readable(Protocol):
    """What can be read piece by piece."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, none at the end."""
        ...


PACKERS: dict[bytes, Callable[[IO[bytes]], AbstractContextManager[Readable]]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
PIECE_BYTES = 1 << 20
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError)
FURNITURE = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")
SHOWN_FAILURES = 5


class Member(NamedTuple):
    """A file inside an archive."""

    name: str
    content: bytes


def read_archive(content: bytes, name: str, job: Job) -> Reading:
    """Read an archive; the files in it are the outermost headings.

    A file that no reader takes is left out and named in the metadata (`skipped`).

    Raises:
        DocumentError: damaged, encrypted, a name leads out of it, or it holds nothing readable.
        OverLimitError: it unpacks to too much, or holds too many files, or too deep.
    """
    outline = Outline(name)
    read, failures, pages = 0, list[str](), 0
    for member in _members(content, name, job):
        try:
            reading = job.member(member.content, member.name)
        except OverLimitError:
            raise
        except DocumentError as error:
            failures.append(f"{member.name}: {error.message}")
            continue
        outline.member(member.name, reading)
        pages += reading.pages or 0
        read += 1
    if not read and failures:
        more = f" And {len(failures) - SHOWN_FAILURES} more." * (len(failures) > SHOWN_FAILURES)
        shown = " ".join(failures[:SHOWN_FAILURES])
        raise DocumentError(f"Nothing in the archive can be read. {shown}{more}")
    if failures:
        outline.metadata["skipped"] = "; ".join(failures)
    return outline.reading(pages or None)


def _members(content: bytes, name: str, job: Job) -> Iterator[Member]:
    packer = next((open_ for magic, open_ in PACKERS.items() if content.startswith(magic)), None)
    try:
        if content.startswith(b"PK"):
            yield from _zip_members(content, job)
        elif packer is None:
            yield from _tar_members(content, job)
        else:
            with packer(io.BytesIO(content)) as file:
                unpacked = _unpack(file, len(content), job)
            if unpacked[257:262] == b"ustar":
                yield from _tar_members(unpacked, job)
            else:
                yield Member(PurePosixPath(name).stem, unpacked)
    except DAMAGE as error:
        raise DocumentError(f"The archive is damaged: {error}.") from None


def _unpack(file: Readable, packed: int, job: Job) -> bytes:
    pieces = []
    size = 0
    while piece := file.read(PIECE_BYTES):
        size += len(piece)
        pieces.append(piece)
        if size > packed * job.limits.ratio or size > job.limits.unpacked_mb * 1_000_000:
            job.unpack(packed=packed, unpacked=size)  # refuses, unless it is small
    job.unpack(packed=packed, unpacked=size)
    return b"".join(pieces)


def _zip_members(content: bytes, job: Job) -> Iterator[Member]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            if info.is_dir() or _is_furniture(info.filename):
                continue
            _refuse_escape(info.filename)
            if info.flag_bits & 1:
                raise DocumentError("The archive is encrypted.", hint="Pack it without a password.")
            # The size is what the directory claims; zipfile reads no byte more than that.
            job.unpack(packed=info.compress_size, unpacked=info.file_size)
            try:
                yield Member(info.filename, archive.read(info))
            except NotImplementedError as error:
                raise DocumentError(f"The archive cannot be unpacked: {error}.") from None


def _tar_members(content: bytes, job: Job) -> Iterator[Member]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for info in archive:
            if not info.isfile() or _is_furniture(info.name):
                continue  # folders, links and devices hold no text of their own
            _refuse_escape(info.name)
            file = archive.extractfile(info)
            if file is not None:
                yield Member(info.name.removeprefix("./"), file.read())


def _is_furniture(name: str) -> bool:
    return name.startswith(FURNITURE[0]) or name.endswith(FURNITURE[1:])


def _refuse_escape(name: str) -> None:
    path = name.replace("\\", "/")
    if path.startswith("/") or ".." in path.split("/") or path[1:3] == ":/":
        raise DocumentError(f"A name in the archive leads out of it: {name!r}.")
