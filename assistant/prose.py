"""Prose on its way to a reader: a streamed answer without the passage numbers that it invents."""

import re

from assistant.citations import MARKER

OPEN = re.compile(r"\s*(?:\[\d{0,2})?$")
"""What may still become a marker, or turn out to be the blank at the answer's end."""


class Prose:
    """Takes an answer in pieces and gives back what can be shown of it already.

    What it gives back adds up to the finished answer. An answer in JSON is passed on as it comes:
    numbers in it are not markers, and its own place for citations is only filled at the end.
    """

    def __init__(self) -> None:
        self._held = ""
        self._shown: list[str] = []
        self._json: bool | None = None  # not known before the first letter

    def push(self, text: str) -> str:
        """Take the next piece; return what to show, which may be nothing."""
        self._held += text
        if not self._shown:
            self._held = self._held.lstrip()
        if self._json is None and self._held:
            self._json = self._held.startswith("{")
        end = len(self._held)
        if not self._json and (open_end := OPEN.search(self._held)):
            end = open_end.start()
        ready, self._held = self._held[:end], self._held[end:]
        if not self._json:
            ready = MARKER.sub("", ready)
            ready = ready if self._shown else ready.lstrip()
        if ready:
            self._shown.append(ready)
        return ready

    def rest(self, answer: str) -> str:
        """Return what is left to show of the finished `answer`, its markers included."""
        shown = "".join(self._shown)
        return answer[len(shown) :] if answer.startswith(shown) else ""
