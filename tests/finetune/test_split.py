from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from assistant.engines.engine import Message
from finetune.dataset import Content, Dataset, find_dataset, write_dataset
from finetune.difference import compare
from finetune.example import Example
from finetune.split import split_rows
from ingest.errors import DataError, NotFoundError

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def row(number: int, source: str, *documents: str, tags: tuple[str, ...] = ()) -> Example:
    messages = (Message("user", f"q{number}"), Message("assistant", f"a{number}"))
    return Example(messages, source, tags, documents=documents)


ROWS = st.lists(
    st.tuples(
        st.integers(0, 25),
        st.lists(st.sampled_from([f"d{n}" for n in range(30)]), max_size=2),
        st.sampled_from(["a", "b", "c"]),
    ),
    min_size=2,
    max_size=60,
)


@settings(max_examples=30, deadline=None)
@given(ROWS, st.integers(0, 5), st.randoms())
def test_no_source_and_no_document_is_on_two_sides(drawn: Any, seed: int, chance: Any) -> None:
    rows = [row(n, f"s{s}", *ds, tags=(tag,)) for n, (s, ds, tag) in enumerate(drawn)]
    try:
        sides = split_rows(rows, validation=0.2, test=0.1, seed=seed)
    except DataError:
        assume(False)
    assert sorted(e.target for side in sides.values() for e in side) == sorted(
        e.target for e in rows
    )
    for key in (lambda e: {e.source}, lambda e: set(e.documents)):
        seen = [set().union(*map(key, side)) for side in sides.values()]
        assert sum(map(len, seen)) == len(set().union(*seen))
    shuffled = chance.sample(rows, len(rows))
    assert split_rows(shuffled, validation=0.2, test=0.1, seed=seed) == sides


def test_every_tag_gets_its_share_of_every_side() -> None:
    tags = ["common"] * 800 + ["seldom"] * 150 + ["rare"] * 50
    rows = [row(n, f"s{n}", tags=(tag,)) for n, tag in enumerate(tags)]
    sides = split_rows(rows, validation=0.2, test=0.1, seed=3)
    for name, share in (("train", 0.7), ("validation", 0.2), ("test", 0.1)):
        counted = Counter(e.tags[0] for e in sides[name])
        for tag, n in Counter(tags).items():
            assert abs(counted[tag] - share * n) <= 2


def test_another_seed_divides_otherwise() -> None:
    rows = [row(n, f"s{n}") for n in range(40)]
    held = [
        {e.source for e in split_rows(rows, validation=0.2, test=0, seed=s)["validation"]}
        for s in range(4)
    ]
    assert any(other != held[0] for other in held)


def test_rows_of_one_conversation_cannot_be_divided() -> None:
    with pytest.raises(DataError, match="1 groups of shared sources"):
        split_rows([row(n, "s") for n in range(9)], validation=0.2, test=0, seed=0)


def made(folder: Path, **sides: list[Example]) -> Dataset:
    return write_dataset(folder, Content("support", sides, {}, []), now=NOW)


def test_the_same_rows_give_the_same_version_and_it_is_left_alone(tmp_path: Path) -> None:
    first = made(tmp_path, rows=[row(1, "a")])
    stamp = (first.folder / "manifest.json").stat().st_mtime_ns
    second = made(tmp_path, rows=[row(1, "a")])
    assert second.folder == first.folder
    assert (second.folder / "manifest.json").stat().st_mtime_ns == stamp
    assert made(tmp_path, rows=[row(2, "a")]).folder != first.folder


def test_a_version_reads_back_as_it_was_written_and_its_card_counts_it(tmp_path: Path) -> None:
    rows = [row(1, "a", "m.md", tags=("torque", "answer")), row(2, "b", tags=("refusal",))]
    dataset = made(tmp_path, train=rows, validation=[row(3, "c")])
    assert dataset.sides == {"train": rows, "validation": [row(3, "c")]}
    card = (dataset.folder / "README.md").read_text(encoding="utf-8")
    assert "| train | 2 | 2 | 1 | 0 |" in card
    assert "| refusal | 1 | 0 |" in card


def test_a_data_set_is_found_by_name_by_version_and_by_folder(tmp_path: Path) -> None:
    dataset = made(tmp_path, rows=[row(1, "a")])
    for reference in ("support", dataset.folder.name, str(dataset.folder)):
        assert find_dataset(tmp_path, reference).folder == dataset.folder
    with pytest.raises(NotFoundError, match=f"There are: {dataset.folder.name}"):
        find_dataset(tmp_path, "sales")


def test_what_changed_between_two_versions_is_told_by_source_and_tag(tmp_path: Path) -> None:
    kept, gone, old = row(1, "x:1"), row(2, "x:2", tags=("t",)), row(3, "x:3")
    new = Example((old.messages[0], Message("assistant", "better")), "x:3", ("t",))
    fresh = row(4, "y:4", tags=("u",))
    before = made(tmp_path, train=[kept, gone, old, row(5, "x:5")], validation=[row(6, "x:6")])
    after = made(tmp_path, train=[kept, new, fresh], validation=[row(6, "x:6"), row(5, "x:5")])
    told = compare(before, after).as_dict()
    assert told["unchanged"] == 2
    assert told["added"] == {"rows": 1, "by_source": {"y": 1}, "by_tag": {"u": 1}}
    assert told["removed"] == {"rows": 1, "by_source": {"x": 1}, "by_tag": {"t": 1}}
    assert told["changed"]["rows"] == told["moved"]["rows"] == 1
    (changed,) = [r for r in told["rows"] if r["change"] == "changed"]
    assert (changed["before"]["answer"], changed["answer"]) == ("a3", "better")


def test_a_version_compared_with_itself_has_not_changed(tmp_path: Path) -> None:
    dataset = made(tmp_path, train=[row(1, "a"), row(1, "a"), row(2, "b")])
    told = compare(dataset, dataset).as_dict()
    assert told["unchanged"] == 3
    assert told["rows"] == []
