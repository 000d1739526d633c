from pathlib import Path

import pytest

from assistant.retrieve import Retriever
from ingest.files import find_files
from ingest.index import Index
from ingest.registry import Registry
from ingest.stores.chroma import ChromaVectors
from tests.fakes import HashEmbedder, small_pipeline

TEXT = """# Pump

## Care

The pump is blue. Tighten the collar to 38 N·m with the long key. Wait 5 days before use.

| Part | Price |
| --- | --- |
| Seal | EUR 4.00 |
| Ring | EUR 2.50 |
"""


@pytest.fixture
def index(tmp_path: Path) -> Index:
    (tmp_path / "pump.md").write_text(TEXT, encoding="utf-8")
    index = Index(Registry(tmp_path / "s.sqlite"), ChromaVectors(tmp_path / "v"), HashEmbedder())
    small_pipeline(index).run(find_files([str(tmp_path / "pump.md")]), collection="default")
    return index


def test_evidence_is_the_sentence_that_speaks_to_the_question(index: Index) -> None:
    retriever = Retriever(index, candidates=10, dense_weight=0.5, sentences=1)
    (hit,) = retriever.evidence("tighten the collar with the key", k=3)
    assert hit.chunk.text == "Tighten the collar to 38 N·m with the long key."
    text = index.registry.document(hit.chunk.document_id)[1]
    assert text[hit.chunk.start : hit.chunk.end] == hit.chunk.text
    (row,) = retriever.evidence("price of the ring", k=3)
    assert row.chunk.text == "Part: Ring; Price: EUR 2.50"


def test_no_sentence_is_shown_twice_and_spare_ones_follow(index: Index) -> None:
    retriever = Retriever(index, candidates=10, dense_weight=0.5, sentences=2)
    shown = [hit.chunk.text for hit in retriever.evidence("collar", k=3)]
    more = [hit.chunk.text for hit in retriever.evidence("collar", k=3, spare=3)]
    assert len(shown) == 2
    assert len(more) == len(set(more)) == 5
    assert more[:2] == shown


def test_whole_passages_are_shown_where_sentences_are_off(index: Index) -> None:
    retriever = Retriever(index, candidates=10, dense_weight=0.5, sentences=0)
    (hit,) = retriever.evidence("collar", k=3)
    assert "blue" in hit.chunk.text
    assert "EUR 4.00" in hit.chunk.text


def test_an_empty_collection_has_no_evidence(index: Index) -> None:
    retriever = Retriever(index, candidates=10, dense_weight=0.5, sentences=4)
    assert retriever.evidence("collar", k=3, collection="other") == []
