"""Training and validation tickets, divided by source document."""

import random
from collections.abc import Sequence
from typing import NamedTuple

from finetune.ticket import Ticket
from ingest.errors import DataError


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
    groups = _groups([t for t in ordered if t.documents])
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


def _groups(tickets: Sequence[Ticket]) -> list[list[Ticket]]:
    parent: dict[str, str] = {}

    def root(document: str) -> str:
        parent.setdefault(document, document)
        while parent[document] != document:
            parent[document] = parent[parent[document]]
            document = parent[document]
        return document

    for ticket in tickets:
        first, *others = ticket.documents
        for other in others:
            # The smaller name leads, so that the order of the tickets does not show.
            low, high = sorted((root(first), root(other)))
            parent[high] = low
    found: dict[str, list[Ticket]] = {}
    for ticket in tickets:
        found.setdefault(root(ticket.documents[0]), []).append(ticket)
    return [found[name] for name in sorted(found)]


def _take(groups: Sequence[list[Ticket]], fraction: float, seed: int) -> set[str]:
    wanted = fraction * sum(len(group) for group in groups)
    shuffled = list(groups)
    random.Random(seed).shuffle(shuffled)
    taken: set[str] = set()
    for group in shuffled:
        if len(taken) + len(group) / 2 <= wanted:  # whichever side of the wish is nearer
            taken.update(ticket.id for ticket in group)
    return taken
