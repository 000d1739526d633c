import threading
from collections.abc import Iterator

import pytest

from ingest.ahead import ahead


def test_results_come_in_order_whoever_is_first() -> None:
    second = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second.wait(30)
        else:
            second.set()
        return item * item

    assert list(ahead(work, range(9), threads=2, depth=4)) == [n * n for n in range(9)]


def test_no_more_is_drawn_than_may_wait() -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            drawn.append(item)
            yield item

    results = ahead(str, items(), threads=2, depth=5)
    assert [next(results) for _ in range(3)] == ["0", "1", "2"]
    assert len(drawn) == 3 + 5 - 1
    results.close()


def test_the_next_is_worked_on_while_one_is_used() -> None:
    begun = [threading.Event() for _ in range(3)]

    def work(item: int) -> int:
        begun[item].set()
        return item

    results = ahead(work, range(3), threads=1, depth=2)
    assert next(results) == 0
    assert begun[1].wait(30), "while the consumer has the first, the second is under way"
    results.close()


def test_an_error_comes_in_its_turn_and_leaves_no_thread_behind() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise ValueError("boom")
        return item

    before = set(threading.enumerate())
    results = ahead(work, range(9), threads=3, depth=6)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="boom"):
        next(results)
    assert set(threading.enumerate()) <= before
