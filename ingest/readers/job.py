"""The reading of one file: what it may cost, and how the files inside it are read."""

from collections.abc import Callable
from dataclasses import dataclass

from ingest.document import Reading
from ingest.errors import OverLimitError


@dataclass(frozen=True, slots=True)
class Limits:
    """What the reading of one file may take, all that is packed inside it included."""

    pages: int = 10_000
    """Pages of a PDF."""
    unpacked_mb: int = 500
    """Bytes after decompression, in megabytes."""
    ratio: int = 200
    """Unpacked size over packed size, looked at above 10 MB unpacked: text rarely reaches 50."""
    members: int = 2_000
    """Files in an archive, attachments of an e-mail, and those inside them."""
    depth: int = 3
    """Archives within archives within e-mails."""
    ocr_pages: int = 500
    """Scanned pages that are recognised, at some seconds a page."""
    ocr_languages: str = "eng"
    """What Tesseract is told to expect: `eng`, `deu+eng`; each must be installed."""


SMALL_BYTES = 10_000_000  # a high ratio is no bomb below this


class Job:
    """The reading of one file. Readers ask it before they unpack, and hand it what is inside."""

    def __init__(
        self,
        limits: Limits,
        read: Callable[[bytes, str, "Job"], Reading],
        on_page: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep to `limits`; `read` reads a file inside this one: bytes, name, job.

        `on_page` is called after each page that took seconds: the job is slow, but it lives.
        """
        self.limits = limits
        self.on_page = on_page
        self._read = read
        self._unpacked = 0
        self._members = 0
        self._depth = 0

    def unpack(self, *, packed: int, unpacked: int) -> None:
        """Account for `packed` bytes that become `unpacked` bytes, before they do.

        Raises:
            OverLimitError: all that was unpacked so far is too much, or the ratio is a bomb's.
        """
        self._unpacked += unpacked
        if unpacked > SMALL_BYTES and unpacked > packed * self.limits.ratio:
            raise OverLimitError(
                f"It unpacks to {max(1, unpacked // max(packed, 1))} times its size, "
                f"as a decompression bomb does; at most {self.limits.ratio} times is read."
            )
        if self._unpacked > self.limits.unpacked_mb * 1_000_000:
            raise OverLimitError(
                f"It unpacks to more than {self.limits.unpacked_mb} MB.",
                hint="Unpack it, and ingest the folder.",
            )

    def member(self, content: bytes, name: str) -> Reading:
        """Read the file `name` that lies inside this one.

        Raises:
            DocumentError: it cannot be read.
            OverLimitError: there are too many of them, or they lie too deep.
        """
        self._members += 1
        if self._members > self.limits.members:
            raise OverLimitError(
                f"It holds more than {self.limits.members} files.",
                hint="Unpack it, and ingest the folder.",
            )
        if self._depth >= self.limits.depth:
            raise OverLimitError(
                f"It holds archives more than {self.limits.depth} deep.",
                hint="Unpack it, and ingest the folder.",
            )
        self._depth += 1
        try:
            return self._read(content, name, self)
        finally:
            self._depth -= 1
