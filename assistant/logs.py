"""Logs: one line an event; for programs a JSON object, for people words.

A line says what happened to which request: ids, routes, codes and times. What people wrote and
what documents hold, in messages of errors too, is in it only where the settings ask for details.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Literal


def told(details: object = "", **fields: Any) -> dict[str, Any]:
    """Return the `extra` of a log call: fields to find the line by, and what not to show to all."""
    return {"fields": fields, "details": str(details)}


class JsonLines(logging.Formatter):
    """A JSON object a line; whatever is in it, it cannot begin another one."""

    def __init__(self, *, details: bool) -> None:
        super().__init__()
        self._details = details

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line["error"] = type(error).__name__
            line["where"] = [
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(error.__traceback__)
            ]
            if self._details:
                line["message"] = str(error)
        if self._details and (details := _details(record)):
            line["details"] = details
        return json.dumps(line, ensure_ascii=False, default=str)


class Words(logging.Formatter):
    """A line for the person at the terminal, whose own machine this is: with all details."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and a traceback below it if there is one."""
        fields = getattr(record, "fields", {})
        parts = [record.getMessage(), *(f"{key}={value}" for key, value in fields.items())]
        if details := _details(record):
            parts.append(f"({details})")
        line = " ".join(parts).replace("\n", " ").replace("\r", " ")
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _details(record: logging.LogRecord) -> str:
    return str(getattr(record, "details", ""))


def configure(form: Literal["auto", "json", "text"], *, details: bool) -> None:
    """Write this process's log to stderr; `auto` writes JSON unless a terminal is there to read.

    In JSON every request has its line; at a terminal only what went wrong.
    """
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(details=details) if as_json else Words())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("assistant").setLevel(logging.INFO if as_json else logging.WARNING)
