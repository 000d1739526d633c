"""What an ingestion did: to each file, and in all."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

Outcome = Literal["added", "updated", "unchanged", "moved", "failed"]


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file."""

    source: str
    outcome: Outcome
    chunks: int = 0
    """Of the document, if it was read."""
    error: str | None = None
    """Why it failed."""


class Failure(NamedTuple):
    """A file that could not be ingested."""

    source: str
    error: str


@dataclass(slots=True)
class Tally:
    """What an ingestion did."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    moved: int = 0
    """Files that lie elsewhere now and kept their ids."""
    deleted: int = 0
    failed: list[Failure] = field(default_factory=list)
    chunks: int = 0
    """Of the documents that were added or updated."""
    seconds: float = 0.0
    files: list[FileResult] = field(default_factory=list)
    """What became of each file that was not unchanged, in the order in which they were through."""

    def note(self, result: FileResult) -> None:
        """Count what became of a file."""
        if result.outcome == "failed":
            self.failed.append(Failure(result.source, result.error or ""))
        else:
            setattr(self, result.outcome, getattr(self, result.outcome) + 1)
        if result.outcome != "unchanged":
            self.chunks += result.chunks
            self.files.append(result)

    def body(self) -> dict[str, Any]:
        """Return what `groundtune ingest --json` prints."""
        return {
            "added": self.added,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "moved": self.moved,
            "deleted": self.deleted,
            "failed": [{"source": f.source, "error": f.error} for f in self.failed],
            "chunks": self.chunks,
            "seconds": round(self.seconds, 2),
            "files": [asdict(result) for result in self.files],
        }
