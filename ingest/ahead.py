"""Work that goes on ahead of its consumer, in threads and within bounds."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def ahead(work: Callable[[A], B], items: Iterable[A], *, threads: int, depth: int) -> Generator[B]:
    """Yield `work(item)` for each item, in order, computed by `threads` threads.

    At most `depth` results are under way or waiting, so memory stays bounded however many items
    there are. `items` is drawn from by the consumer's thread alone. An error in `work` is raised
    where its result would have come, and whoever stops early leaves no thread behind.
    """
    source = iter(items)
    under_way: deque[Future[B]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in source:
            under_way.append(pool.submit(work, item))
            if len(under_way) >= depth:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
