"""What an index knows of the files of a collection, loaded once for a whole run."""

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import NamedTuple

from ingest.document import Entry
from ingest.files import Upload
from ingest.path import is_gone, printable
from ingest.tally import Outcome


class Verdict(NamedTuple):
    """What is to be done with a file."""

    outcome: Outcome
    """`added`, `updated`, `unchanged` or `moved`."""
    id: str
    source: str
    path: Path | None
    read: bool
    """Whether it has to be read; a file that only lies elsewhere has not."""
    placed: bool = False
    """Whether its place has to be noted: it lies elsewhere, or was an upload before."""


class Known:
    """Tells new files from changed, unchanged and moved ones."""

    def __init__(self, collection: str, entries: Iterable[Entry]) -> None:
        self._collection = collection
        self._by_path: dict[str, Entry] = {}
        self._by_source: dict[str, Entry] = {}
        self._uploaded: dict[str, Entry] = {}
        self._by_hash: dict[str, list[Entry]] = {}
        self._ids: set[str] = set()
        self._judged: set[str] = set()
        for entry in entries:
            self._ids.add(entry.id)
            self._by_source.setdefault(entry.source, entry)
            if entry.path is None:
                self._uploaded.setdefault(entry.source, entry)
            else:
                self._by_path[entry.path] = entry
                self._by_hash.setdefault(entry.sha256, []).append(entry)

    def find(self, upload: Upload) -> Entry | None:
        """Return the document that a file was before: by its path, else by its source.

        A file with a path and an upload of the same source are the same document, whichever came
        first; two files with different paths never are.
        """
        if upload.path is None:
            return self._by_source.get(upload.source)
        return self._by_path.get(printable(upload.path)) or self._uploaded.get(upload.source)

    def judge(self, upload: Upload, sha256: str) -> Verdict | None:
        """Say what is to be done with a file whose bytes have the hash `sha256`.

        None if another file of this run is the same document.
        """
        verdict = self._judge(upload, sha256)
        if verdict.id in self._judged:
            return None
        self._judged.add(verdict.id)
        return verdict

    def id_of(self, upload: Upload) -> str:
        """Return the id of a file, whether it was ingested before or not."""
        entry = self.find(upload)
        return self._new_id(upload) if entry is None else entry.id

    def _judge(self, upload: Upload, sha256: str) -> Verdict:
        entry = self.find(upload)
        if entry is not None:
            path = upload.path or (None if entry.path is None else Path(entry.path))
            same = entry.sha256 == sha256 and entry.status == "done"
            return Verdict(
                "unchanged" if same else "updated",
                entry.id,
                entry.source,
                path,
                read=not same,
                placed=same and entry.path is None and path is not None,
            )
        entry = None if upload.path is None else self._moved(upload.path, sha256)
        if entry is None:
            return Verdict("added", self._new_id(upload), upload.source, upload.path, read=True)
        # Its name can be its title and say what format it has, so a new name means a new reading.
        renamed = PurePath(entry.source).name != PurePath(upload.source).name
        return Verdict("moved", entry.id, upload.source, upload.path, read=renamed, placed=True)

    def _new_id(self, upload: Upload) -> str:
        """Return the id of a file that is ingested for the first time."""
        place = upload.source if upload.path is None else printable(upload.path)
        new = hashlib.sha256(f"{self._collection}\x00{place}".encode()).hexdigest()[:16]
        while new in self._ids:  # the document that began here has moved and kept its id
            new = hashlib.sha256(new.encode()).hexdigest()[:16]
        return new

    def _moved(self, path: Path, sha256: str) -> Entry | None:
        """Return the document of the same bytes whose file is gone, one of the same name first."""
        gone = [
            entry
            for entry in self._by_hash.get(sha256, ())
            if entry.status == "done" and entry.path is not None and is_gone(Path(entry.path))
        ]
        if not gone:
            return None
        gone.sort(key=lambda entry: (PurePath(entry.source).name != path.name, entry.source))
        self._by_hash[sha256].remove(gone[0])  # one document cannot move to two places
        return gone[0]
