"""Whatever the bytes, a file gives a sound document or a named error, within its limits.

For longer than in the suite: `python -m tests.ingest.test_fuzz SECONDS [SEED]`.
"""

import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.document import Document
from ingest.errors import DocumentError
from ingest.sandbox import Reader
from tests.ingest.samples import samples

COMPANY = Path(__file__).parents[2] / "examples" / "tarnfell" / "documents"
SAMPLES = samples() | {
    path.name: path.read_bytes() for path in sorted((COMPANY / "manuals").iterdir())
}
NAMES = sorted(SAMPLES)


def mutate(content: bytes, other: bytes, random_: random.Random) -> bytes:
    """Return `content` with bits flipped, parts cut out, doubled or taken from `other`."""
    data = bytearray(content)
    for _ in range(random_.randint(1, 6)):
        at = random_.randrange(len(data) + 1)
        length = min(random_.choice((1, 4, 32, 512)), len(data) - at)
        kind = random_.randrange(7)
        if kind == 0:
            for place in range(at, at + min(length, 8)):
                data[place] ^= 1 << random_.randrange(8)
        elif kind == 1:
            del data[at : at + length]
        elif kind == 2:
            data[at:at] = data[at : at + length] * random_.randint(1, 20)
        elif kind == 3:
            start = random_.randrange(len(other))
            data[at : at + length] = other[start : start + length]
        elif kind == 4:
            data[at : at + length] = random_.randbytes(length)
        elif kind == 5:
            data[at : at + length] = random_.choice((b"\x00", b"\xff", b"\x7f")) * length
        elif random_.random() < 0.3:
            del data[at:]
    return bytes(data)


def is_sound(document: Document) -> bool:
    """Return whether every store can take the document, and its parts lie where they say."""
    said = [document.text, document.title, json.dumps(dict(document.metadata), ensure_ascii=False)]
    said += [heading for block in document.blocks for heading in block.headings]
    assert not any("\x00" in text for text in said)
    "".join(said).encode()  # no half of a surrogate pair
    assert document.text.strip()
    return all(
        document.text[span.start : span.end] == block.text
        for block, span in zip(document.blocks, document.spans, strict=True)
    )


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader(workers=1, timeout_s=20, memory_mb=600) as reader:
        yield reader


def read(reader: Reader, content: bytes, source: str) -> Document:
    return reader.read(content, source=source, collection="c", path=None, document_id="d")


def check(reader: Reader, content: bytes, name: str) -> None:
    try:
        document = read(reader, content, name)
    except DocumentError:
        return  # a named error; anything else fails the test
    assert is_sound(document)


@settings(max_examples=250, deadline=None)
@given(name=st.sampled_from(NAMES), other=st.sampled_from(NAMES), seed=st.integers(0, 2**32))
def test_a_mutated_file_is_read_or_refused(
    name: str, other: str, seed: int, reader: Reader
) -> None:
    content = mutate(SAMPLES[name], SAMPLES[other], random.Random(seed))
    check(reader, content, name)


@settings(max_examples=150, deadline=None)
@given(content=st.binary(min_size=1, max_size=600), name=st.sampled_from(NAMES))
def test_noise_is_read_or_refused(content: bytes, name: str, reader: Reader) -> None:
    check(reader, content, name)


@settings(max_examples=100, deadline=None)
@given(
    text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=400),
    name=st.sampled_from(["a.md", "a.rst", "a.html", "a.csv", "a.txt", "a.json", "a.py", "a.eml"]),
)
def test_any_text_is_read_or_refused(text: str, name: str, reader: Reader) -> None:
    check(reader, text.encode(), name)


def main(seconds: float, seed: int) -> None:
    """Mutate for that long and print what came of it."""
    random_ = random.Random(seed)
    counts: Counter[str] = Counter()
    worst: dict[str, float] = {}
    end = time.monotonic() + seconds
    with Reader(workers=1, timeout_s=20, memory_mb=600) as reader:
        while time.monotonic() < end:
            name, other = random_.choice(NAMES), random_.choice(NAMES)
            content = mutate(SAMPLES[name], SAMPLES[other], random_)
            started = time.monotonic()
            try:
                outcome = "read" if is_sound(read(reader, content, name)) else "UNSOUND"
            except DocumentError as error:
                outcome = f"{type(error).__name__} {name.split('.', 1)[1]}: {error.message[:60]}"
                if "crashed" in outcome or "longer" in outcome or " MB" in outcome:
                    kept = Path(tempfile.gettempdir()) / f"fuzz-{seed}-{counts.total()}-{name}"
                    kept.write_bytes(content)
            worst[name] = max(worst.get(name, 0), time.monotonic() - started)
            counts[outcome] += 1
    sys.stdout.write(f"{counts.total()} files, slowest {max(worst.items(), key=lambda w: w[1])}\n")
    for outcome, count in counts.most_common():
        sys.stdout.write(f"{count:7} {outcome}\n")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
