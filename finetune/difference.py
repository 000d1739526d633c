"""What changed between two data sets."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from finetune.dataset import Dataset
from finetune.example import Example


class Placed(NamedTuple):
    """A row, and the side that it is on."""

    side: str
    example: Example


class Change(NamedTuple):
    """A row that asks the same in both, and differs."""

    before: Placed
    after: Placed


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows that only one of two data sets has, rows that differ, and rows that changed sides."""

    added: tuple[Placed, ...]
    removed: tuple[Placed, ...]
    changed: tuple[Change, ...]
    """One source and one dialogue, but another answer, evidence or tags."""
    moved: tuple[Change, ...]
    """The same row on another side."""
    unchanged: int

    def as_dict(self) -> dict[str, Any]:
        """Return the counts, by source and by tag, and the rows, as JSON types."""
        kinds: dict[str, Sequence[Placed]] = {
            "added": self.added,
            "removed": self.removed,
            "changed": [change.after for change in self.changed],
            "moved": [change.after for change in self.moved],
        }
        return {
            "unchanged": self.unchanged,
            **{name: _counted(rows) for name, rows in kinds.items()},
            "rows": [*_rows(kinds, self.changed + self.moved)],
        }


def compare(old: Dataset, new: Dataset) -> Difference:
    """Return what `new` has other than `old`."""
    before, after = _by_line(old), _by_line(new)
    same = before.keys() & after.keys()
    kept = sum(min(len(before[line]), len(after[line])) for line in same)
    moved = [
        Change(a, b)
        for line in sorted(same)
        for a, b in zip(before[line], after[line], strict=False)
        if a.side != b.side
    ]
    removed = _surplus(before, after)
    added = _surplus(after, before)
    asked: dict[tuple[str, str], list[Placed]] = defaultdict(list)
    for placed in removed:
        asked[_key(placed)].append(placed)
    changed: list[Change] = []
    fresh: list[Placed] = []
    for placed in added:
        if former := asked[_key(placed)]:
            changed.append(Change(former.pop(0), placed))
        else:
            fresh.append(placed)
    gone = tuple(placed for rest in asked.values() for placed in rest)
    return Difference(tuple(fresh), gone, tuple(changed), tuple(moved), kept - len(moved))


def _by_line(dataset: Dataset) -> dict[str, list[Placed]]:
    found: dict[str, list[Placed]] = defaultdict(list)
    for side, examples in dataset.sides.items():
        for example in examples:
            found[example.line()].append(Placed(side, example))
    return found


def _surplus(of: dict[str, list[Placed]], than: dict[str, list[Placed]]) -> list[Placed]:
    return [p for line, rows in of.items() for p in rows[len(than.get(line, ())) :]]


def _key(placed: Placed) -> tuple[str, str]:
    return placed.example.source, placed.example.dialogue


def _counted(rows: Sequence[Placed]) -> dict[str, Any]:
    by_source = Counter(row.example.source.partition(":")[0] for row in rows)
    by_tag = Counter(tag for row in rows for tag in row.example.tags)
    return {
        "rows": len(rows),
        "by_source": dict(by_source.most_common()),
        "by_tag": dict(by_tag.most_common()),
    }


def _rows(kinds: dict[str, Sequence[Placed]], pairs: Sequence[Change]) -> Iterator[dict[str, Any]]:
    former = {id(pair.after.example): pair.before for pair in pairs}
    for kind, rows in kinds.items():
        for row in rows:
            before = former.get(id(row.example))
            yield {
                "change": kind,
                "side": row.side,
                "source": row.example.source,
                "question": row.example.question,
                "answer": row.example.target,
                "before": None
                if before is None
                else {"side": before.side, "answer": before.example.target},
            }
