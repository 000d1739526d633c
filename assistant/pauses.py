"""Pauses of the whole process, and how a service does without them.

A full collection of garbage looks at every object that there is, and nothing else runs meanwhile:
with the modules of a service 0.1 to 0.5 seconds. Nearly all of those objects live as long as the
process, so they are taken out of what is looked at.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def settle() -> None:
    """Collect now, and leave what there is out of all later collections."""
    gc.collect()
    _freeze()


@contextmanager
def loading() -> Iterator[None]:
    """Load modules or models inside the block: they are not looked at while they come, nor later.

    What becomes garbage meanwhile, and is part of a cycle, stays.
    """
    gc.disable()
    try:
        yield
    finally:
        _freeze()
        gc.enable()


def _freeze() -> None:
    gc.freeze()
    # Python waits with the next full collection for a quarter of what the last one left: without
    # this one, which finds nothing, for a quarter of what is frozen.
    gc.collect()
