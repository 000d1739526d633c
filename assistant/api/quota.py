"""How much one key may ask for: in a minute, and at the same time."""

import math
import time
from collections import Counter
from collections.abc import Callable

FORGET_AT = 10_000
"""Buckets kept; full ones, which say nothing, are dropped when there are more."""


class Quota:
    """A bucket of requests for each name, filled again with time."""

    def __init__(self, per_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        """Allow `per_minute` requests, also in one burst; 0 sets no limit."""
        self._per_minute = per_minute
        self._now = now
        self._left: dict[str, tuple[float, float]] = {}  # requests left, and when that was so

    def spend(self, name: str) -> int:
        """Take a request from `name`'s bucket; return 0, or the seconds until there is one."""
        if not self._per_minute:
            return 0
        left = self._filled(name)
        if left < 1:
            return math.ceil((1 - left) * 60 / self._per_minute)
        if len(self._left) >= FORGET_AT:
            self._left = {n: v for n, v in self._left.items() if self._filled(n) < self._per_minute}
        self._left[name] = (left - 1, self._now())
        return 0

    def empty(self, name: str) -> bool:
        """Return whether `name` has no request left now."""
        return bool(self._per_minute) and self._filled(name) < 1

    def _filled(self, name: str) -> float:
        left, then = self._left.get(name, (float(self._per_minute), 0.0))
        return min(float(self._per_minute), left + (self._now() - then) * self._per_minute / 60)


class Streams:
    """How many streams each key has open."""

    def __init__(self, most: int) -> None:
        """Allow `most` to each; 0 sets no limit."""
        self._most = most
        self._open: Counter[str] = Counter()

    def begin(self, name: str) -> bool:
        """Count one more, unless there are too many."""
        if self._most and self._open[name] >= self._most:
            return False
        self._open[name] += 1
        return True

    def end(self, name: str) -> None:
        """Count one less."""
        self._open[name] -= 1
        if not self._open[name]:
            del self._open[name]
