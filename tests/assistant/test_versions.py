from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.versions import Versions, successors
from ingest.document import Block, Document, Record, Span
from ingest.registry import Registry


def record(name: str, title: str = "", supersedes: str = "", **metadata: str) -> Record:
    said = {**metadata, **({"supersedes": supersedes} if supersedes else {})}
    return Record(name, "default", name, title or name, "done", 1, None, "", None, None, "md", said)


def newest(*records: Record) -> dict[str, str]:
    return {old: new.source for old, new in successors(records).items()}


@pytest.mark.parametrize(
    "quotation",
    [
        "lists/prices-2024.html",
        "prices-2024.html",
        "Prices 2024",
        "Price List 2024 for Pumps",
        "price list 2024",
        "PL-7 rev A",
    ],
)
def test_a_quotation_is_a_source_a_file_name_a_title_or_a_code(quotation: str) -> None:
    old = record("lists/prices-2024.html", "Price List 2024 for Pumps", number="PL-7", revision="A")
    new = record("lists/prices-2025.html", "Price List 2025 for Pumps", quotation, number="PL-7")
    other = record("manual.md", "Pump Manual")
    assert newest(old, new, other) == {old.id: new.source}


@pytest.mark.parametrize("quotation", ["the former edition", "SB-9", "all earlier lists", "?"])
def test_a_quotation_that_fits_no_document_counts_for_nothing(quotation: str) -> None:
    assert newest(record("sb-1.md", "Bulletin SB-1"), record("sb-2.md", "SB-2", quotation)) == {}


def test_a_quotation_that_fits_two_documents_counts_for_nothing() -> None:
    records = [record("a/sb-1.md"), record("b/sb-1.md"), record("sb-2.md", "", "sb-1.md")]
    assert newest(*records) == {}
    assert newest(*records, record("sb-3.md", "", "a/sb-1.md")) == {"a/sb-1.md": "sb-3.md"}


def test_several_documents_can_be_named_at_once() -> None:
    new = record("sb-3.md", "", "sb-1.md, sb-2.md")
    assert newest(record("sb-1.md"), record("sb-2.md"), new) == {
        "sb-1.md": "sb-3.md",
        "sb-2.md": "sb-3.md",
    }


def test_a_chain_leads_to_its_end() -> None:
    chain = [record("r1.md"), record("r2.md", "", "r1.md"), record("r3.md", "", "r2.md")]
    assert newest(*chain) == {"r1.md": "r3.md", "r2.md": "r3.md"}


def test_documents_that_supersede_each_other_are_all_current() -> None:
    circle = [record("a1.md", "", "b1.md"), record("b1.md", "", "a1.md")]
    assert newest(*circle) == {}
    assert newest(*circle, record("c1.md"), record("d1.md", "", "c1.md")) == {"c1.md": "d1.md"}
    assert newest(record("a1.md", "", "a1.md")) == {}


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=12))
def test_whatever_is_said_no_circle_hides_every_document(pairs: list[tuple[int, int]]) -> None:
    said = dict(pairs)
    records = [record(f"d{n}.md", "", f"d{said[n]}.md" if n in said else "") for n in range(8)]
    found = successors(records)
    assert all(new.id not in found for new in found.values())
    assert len(found) < len(records)


def test_a_change_is_seen_at_once_and_nothing_is_read_twice_without_one(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "s.sqlite")
    versions = Versions(registry)
    registry.put([(document("sb-1.md"), [])])
    assert versions.superseded("default") == {}
    registry.put([(document("sb-2.md", supersedes="sb-1.md"), [])])
    first = versions.superseded("default")
    assert [new.source for new in first.values()] == ["sb-2.md"]
    assert versions.superseded("default") is first
    assert versions.superseded("other") == {}
    registry.remove("sb-2.md")
    assert versions.superseded("default") == {}
    versions.close()


def document(name: str, **metadata: str) -> Document:
    return Document(
        name, "default", name, None, "", name, "x", (Block("x"),), (Span(0, 1),), None, "md",
        metadata,
    )  # fmt: skip
