"""How far a run is: a bar with an ETA on a terminal, now and then a line elsewhere."""

import sys
import time
from types import TracebackType
from typing import Any

LINE_EVERY_S = 15.0


class Bar:
    """Counts answers, or whatever else is `done`, on stderr."""

    def __init__(self, total: int, *, doing: str = "answering", done: str = "answered") -> None:
        self._total = total
        self._doing = doing
        self._name = done
        self._done = 0
        self._started = self._said = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "Bar":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            columns = (
                TextColumn(self._doing),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("", total=self._total)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, by: int = 1) -> None:
        """So many more are there."""
        self._done += by
        if self._bar is not None:
            self._bar.advance(self._task, by)
            return
        now = time.monotonic()
        if now - self._said >= LINE_EVERY_S or self._done == self._total:
            self._said = now
            left = (now - self._started) / self._done * (self._total - self._done)
            sys.stderr.write(
                f"{self._name} {self._done} of {self._total}, about {left:.0f} s left\n"
            )
            sys.stderr.flush()
