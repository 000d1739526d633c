"""Evaluation reports on disk, as the service shows them: folders that `eval` wrote."""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from assistant.access import Access
from ingest.errors import NotFoundError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SUMMARY = "report.json"
PAGE = "report.html"
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')
HASH = re.compile(r"'sha256-[A-Za-z0-9+/]+=*'")
HEAD = 2_000
"""Characters of a page in which its own policy stands, before any word from elsewhere."""


@dataclass(frozen=True, slots=True)
class ReportPage:
    """A report as a browser shows it."""

    html: str
    scripts: tuple[str, ...]
    """The hashes of its own scripts, as a content-security policy names them."""


class Reports:
    """The reports of a workspace, newest first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def list(self, access: Access) -> list[dict[str, Any]]:
        """Return what the reports say in short, of the collections that `access` sees."""
        folders = sorted(self._folder.glob(f"*/{SUMMARY}"), reverse=True)
        told = [_told(path.parent, path.stat().st_mtime_ns) for path in folders]
        return [report for report in told if report and access.sees(report["collection"])]

    def page(self, name: str, access: Access) -> ReportPage:
        """Return the report called `name`.

        Raises:
            NotFoundError: there is none, or it is about a collection of somebody else.
        """
        if NAME.fullmatch(name) and any(r["id"] == name for r in self.list(access)):
            try:
                html = (self._folder / name / PAGE).read_text(encoding="utf-8")
            except OSError:
                html = ""
            if html:
                return ReportPage(html, _scripts(html))
        raise NotFoundError(
            f"There is no evaluation {name!r}.", hint="GET /api/evaluations lists those there are."
        )


@lru_cache(maxsize=256)
def _told(folder: Path, written_ns: int) -> dict[str, Any] | None:
    """Return a report in short; None for one that this version cannot read."""
    try:
        report = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        return {
            "id": folder.name,
            "title": str(report["title"]),
            "created": str(report["created"]),
            "verdict": str(report["advice"]["title"]),
            "reasons": [str(reason) for reason in report["advice"]["reasons"]],
            "arms": [str(arm) for arm in report["summary"]["arms"]],
            "questions": int(report["manifest"]["questions"]),
            "adapter": report["manifest"].get("adapter"),
            "collection": str(report["manifest"]["recipe"]["collection"]),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _scripts(html: str) -> tuple[str, ...]:
    found = POLICY.search(html, 0, HEAD)
    return tuple(HASH.findall(found.group(1))) if found else ()
