"""Rows and tickets, divided so that nothing is on two sides."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from finetune.example import Example
from finetune.rows import lot
from finetune.ticket import Ticket
from ingest.errors import DataError

T = TypeVar("T")


class Split(NamedTuple):
    """Tickets of both sides, by id."""

    train: list[Ticket]
    validation: list[Ticket]


def split_by_document(tickets: Sequence[Ticket], *, heldout_fraction: float, seed: int) -> Split:
    """Divide tickets so that no document is on both sides.

    Tickets that share a document, directly or through a third one, stay together: the validation
    loss then tells of documents that training never saw. A ticket without documents is a group of
    its own. About `heldout_fraction` of the documented tickets and of the others go to validation.
    The order of `tickets` makes no difference.

    Raises:
        DataError: the tickets hang together so closely that one side would be empty.
    """
    ordered = sorted(tickets, key=lambda t: t.id)
    groups = grouped([t for t in ordered if t.documents], lambda t: t.documents)
    alone = [[t] for t in ordered if not t.documents]
    heldout = _take(groups, heldout_fraction, seed) | _take(alone, heldout_fraction, seed)
    split = Split(
        [t for t in ordered if t.id not in heldout], [t for t in ordered if t.id in heldout]
    )
    if not split.train or not split.validation:
        raise DataError(
            f"{len(tickets)} tickets in {len(groups) + len(alone)} groups of shared documents "
            f"cannot be divided: {len(split.train)} for training, {len(split.validation)} for "
            "validation.",
            hint="Add tickets about other documents, or change data.heldout_fraction.",
        )
    return split


def split_rows(
    examples: Sequence[Example], *, validation: float, test: float, seed: int
) -> dict[str, list[Example]]:
    """Divide rows into `train`, `validation` and `test` (where it is above 0).

    Rows of one conversation, ticket or document, directly or through a third one, stay together.
    Groups of like tags are laid side by side, in an order that the seed decides, and each goes to
    the side that is furthest behind its share: so every tag comes close to its share on every side.
    The order of `examples` makes no difference.

    Args:
        examples: rows of a data set.
        validation: share of the rows, 0 to 1, exclusive.
        test: share of the rows, 0 to 1, exclusive; 0 makes no such side.
        seed: decides which groups go where.

    Raises:
        DataError: the rows hang together so closely that a side would be empty.
    """
    ordered = sorted(examples, key=lambda e: (e.source, e.line()))
    groups = grouped(ordered, lambda e: (f"source {e.source}", *e.documents))
    shares = {"train": 1 - validation - test, "validation": validation}
    shares |= {"test": test} if test else {}
    sides: dict[str, list[Example]] = {name: [] for name in shares}
    laid = sorted(groups, key=lambda g: (_stratum(g), lot(seed, g[0].source)))
    placed = 0
    for group in laid:
        placed += len(group)
        behind = {name: shares[name] * placed - len(sides[name]) for name in shares}
        # The smaller share first where two are equally behind, or it might never get its turn.
        furthest = max(behind, key=lambda name: (round(behind[name], 9), -shares[name]))
        sides[furthest] += group
    if empty := [name for name, rows in sides.items() if not rows]:
        raise DataError(
            f"{len(examples)} rows in {len(groups)} groups of shared sources and documents cannot "
            f"be divided: nothing is left for {' and '.join(empty)}.",
            hint="Add rows from other sources, or ask for larger shares.",
        )
    return sides


def grouped(items: Sequence[T], keys: Callable[[T], Sequence[str]]) -> list[list[T]]:
    """Return items in groups: two are together when a chain of common keys joins them.

    Each item has at least one key. Groups are in the order of the smallest key that leads them.
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for item in items:
        first, *others = keys(item)
        for other in others:
            # The smaller name leads, so that the order of the items does not show.
            low, high = sorted((root(first), root(other)))
            parent[high] = low
    found: dict[str, list[T]] = {}
    for item in items:
        found.setdefault(root(keys(item)[0]), []).append(item)
    return [found[name] for name in sorted(found)]


def _stratum(group: Sequence[Example]) -> tuple[str, ...]:
    """Return the tags that a group stands for: those that most of its rows have together."""
    counted = Counter(e.tags for e in group)
    return min(counted, key=lambda tags: (-counted[tags], tags))


def _take(groups: Sequence[list[Ticket]], fraction: float, seed: int) -> set[str]:
    wanted = fraction * sum(len(group) for group in groups)
    shuffled = list(groups)
    random.Random(seed).shuffle(shuffled)
    taken: set[str] = set()
    for group in shuffled:
        if len(taken) + len(group) / 2 <= wanted:  # whichever side of the wish is nearer
            taken.update(ticket.id for ticket in group)
    return taken
