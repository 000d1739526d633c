import gc
from collections.abc import Iterator

import pytest

from assistant.pauses import loading, settle


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


class Node:
    """Part of a cycle."""

    def __init__(self) -> None:
        self.me = self


def test_a_collection_does_not_look_at_what_there_was_before() -> None:
    kept = [Node() for _ in range(1000)]
    settle()
    assert gc.get_freeze_count() > len(kept)
    assert not any(isinstance(one, Node) for one in gc.get_objects())


def test_garbage_that_comes_later_is_still_collected() -> None:
    settle()
    for _ in range(100):
        Node()
    gc.collect()
    assert not any(isinstance(one, Node) for one in gc.get_objects())


def test_nothing_is_collected_while_modules_come_nor_are_they_looked_at_later() -> None:
    with loading():
        assert not gc.isenabled()
        kept = [Node() for _ in range(1000)]
    assert gc.isenabled()
    assert kept
    assert not any(isinstance(one, Node) for one in gc.get_objects())


def test_a_module_that_cannot_be_loaded_leaves_collections_on() -> None:
    with pytest.raises(ImportError), loading():
        raise ImportError
    assert gc.isenabled()
