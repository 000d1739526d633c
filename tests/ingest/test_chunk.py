from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.chunk import Chunker
from ingest.document import Document
from ingest.read import read_document


def document(text: str) -> Document:
    return read_document(text.encode(), source="a.md", collection="c", path=None, document_id="d")


def chunker(tokens: int, overlap: int = 4) -> Chunker:
    return Chunker(str.split, chunk_tokens=tokens, chunk_overlap=overlap, max_tokens=256)


LONG = "# T\n\n## S\n\n" + " ".join(
    f"Sentence number {n} says that value {n} is right." for n in range(40)
)


def test_a_section_that_fits_is_one_chunk() -> None:
    chunks = chunker(50).chunk(document("# T\n\n## A\n\nOne.\n\nTwo.\n\n## B\n\nThree."))
    assert [(c.heading, c.text) for c in chunks] == [("A", "One.\n\nTwo."), ("B", "Three.")]


def test_no_chunk_exceeds_the_budget_and_none_is_a_scrap() -> None:
    sizes = [len(c.text.split()) for c in chunker(60).chunk(document(LONG))]
    assert max(sizes) <= 60
    assert min(sizes) >= 30


def test_chunks_cover_the_whole_text() -> None:
    doc = document(LONG)
    covered = {i for c in chunker(60).chunk(doc) for i in range(c.start, c.end)}
    missing = "".join(doc.text[i] for i in range(len(doc.text)) if i not in covered)
    assert missing.strip() == ""


def test_ids_are_stable_and_change_with_the_text() -> None:
    first = chunker(60).chunk(document(LONG))
    again = chunker(60).chunk(document(LONG))
    assert [c.id for c in first] == [c.id for c in again]
    changed = chunker(60).chunk(document(LONG.replace("value 39", "value 99")))
    assert first[0].id == changed[0].id
    assert first[-1].id != changed[-1].id
    assert len({c.id for c in first}) == len(first)


WORDS = st.text(alphabet="abc .,!?\n#|-ü€漢", min_size=1, max_size=400)


@settings(max_examples=60, deadline=None)
@given(WORDS)
def test_any_text_is_cut_at_its_own_places(text: str) -> None:
    try:
        doc = document("# T\n\n" + text)
    except Exception as error:
        assert "no text" in str(error)  # noqa: PT017  # nothing but markup
        return
    for chunk in chunker(32).chunk(doc):
        assert doc.text[chunk.start : chunk.end] == chunk.text
