"""Two ways to do one thing, timed in turn: how much longer ours takes.

Each pair runs one behind the other, and who is first changes with each pair, so that a machine
whose speed drifts slows both.
"""

import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

ROUNDS = 7

T = TypeVar("T")


class Pair(NamedTuple):
    """Seconds of the same work, done both ways."""

    ours: float
    raw: float


def seconds(work: Callable[[], object]) -> float:
    """Return how long `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compare(
    name: str, ours: Callable[[], object], raw: Callable[[], object], *, rounds: int = ROUNDS
) -> str:
    """Return the line of two functions, run in turn; the first of each warms up."""
    ours(), raw()
    pairs = []
    for number in range(rounds):
        if number % 2:
            other = seconds(raw)
            pairs.append(Pair(seconds(ours), other))
        else:
            pairs.append(Pair(seconds(ours), seconds(raw)))
    return line(name, pairs)


async def in_turn(
    ours: Callable[[], Awaitable[T]], raw: Callable[[], Awaitable[T]], rounds: int
) -> list[tuple[T, T]]:
    """Return what `ours` and `raw` give, run in turn; the first of each warms up."""
    await ours(), await raw()
    results = []
    for number in range(rounds):
        if number % 2:
            other = await raw()
            results.append((await ours(), other))
        else:
            results.append((await ours(), await raw()))
    return results


def line(name: str, pairs: Sequence[Pair]) -> str:
    """Return the medians in milliseconds, and the median of the ratios with their range."""
    ours, raw = (statistics.median(column) * 1000 for column in zip(*pairs, strict=True))
    return f"{name:<38} ours {ours:8.1f} ms     raw {raw:8.1f} ms     {_ratio(pairs)}"


def rate_line(name: str, pairs: Sequence[Pair]) -> str:
    """Return the line for tokens per second, where a ratio below 1 says that ours is slower."""
    ours, raw = (statistics.median(column) for column in zip(*pairs, strict=True))
    return f"{name:<38} ours {ours:8.1f} tok/s  raw {raw:8.1f} tok/s  {_ratio(pairs)}"


def _ratio(pairs: Sequence[Pair]) -> str:
    ratios = [ours / raw for ours, raw in pairs]
    return (
        f"ratio {statistics.median(ratios):.3f} "
        f"({min(ratios):.3f} to {max(ratios):.3f}, n={len(ratios)})"
    )
