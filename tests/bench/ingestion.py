"""Ingestion against the stock LlamaIndex pipeline and against the embedding model alone.

Files are as long as an abstract, so that one chunk holds each of them and both sides embed the
same amount of text: LlamaIndex's default chunks of 1,024 tokens would be cut by the model at 256,
without a word, and be quicker for it.

`llama-index-embeddings-huggingface` asks for older packages than ours; it is installed for the
benchmark alone, with `pip install --no-deps llama-index-embeddings-huggingface==0.8.0`.
"""

import itertools
import json
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from assistant.config import Settings, load
from assistant.workspace import Workspace
from ingest.cut import load as load_splitter
from ingest.embed import Embedder, SentenceTransformerEmbedder
from ingest.files import find_files
from ingest.model_file import resolve
from ingest.openvino_embedder import OpenVinoEmbedder

ROOT = Path(__file__).parents[2]
QUESTIONS = ROOT / "examples" / "tarnfell" / "questions.jsonl"
DOCUMENTS = ROOT / "examples" / "tarnfell" / "documents"
FILES = 1_200
ROUNDS = 3
SMALL_FILES = 10_000


def sentences() -> list[str]:
    """Return the sentences of the sample company's Markdown documents."""
    lines = itertools.chain.from_iterable(
        path.read_text(encoding="utf-8").splitlines() for path in sorted(DOCUMENTS.rglob("*.md"))
    )
    return [line for line in lines if len(line.split()) > 8 and not line.startswith(("#", "|"))]


def write_abstracts(folder: Path, count: int, *, words: int) -> None:
    """Write `count` files of about `words` words, each of other sentences in another order."""
    rng = random.Random(7)
    stock = sentences()
    for number in range(count):
        text: list[str] = []
        while sum(len(line.split()) for line in text) < words:
            text.append(rng.choice(stock))
        path = folder / f"{number // 500:03}" / f"{number:05}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# Note {number}\n\n{' '.join(text)}\n", encoding="utf-8")


def seconds(work: Callable[[Sequence[str]], object], texts: Sequence[str]) -> float:
    """Return how long `work` takes on `texts`."""
    began = time.perf_counter()
    work(texts)
    return time.perf_counter() - began


def rates(name: str, count: int, times: Sequence[float], what: str = "files") -> str:
    """Return a line: the median rate, its range, and n."""
    found = sorted(count / time for time in times)
    middle = statistics.median(found)
    return f"{name:<46} {middle:8.1f} {what}/s ({found[0]:.1f} to {found[-1]:.1f}, n={len(times)})"


def stock_pipeline(folder: Path, model: Path, target: Path) -> float:
    """Ingest with LlamaIndex as its documentation begins; return the seconds, without loading."""
    import chromadb
    from llama_index.core.ingestion import IngestionPipeline
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.core.schema import Document as Node
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding
    from llama_index.vector_stores.chroma import ChromaVectorStore

    collection = chromadb.PersistentClient(path=str(target)).create_collection("stock")
    embedder = HuggingFaceEmbedding(model_name=str(model), device="cpu")
    steps: list[Any] = [SentenceSplitter(), embedder]
    pipeline = IngestionPipeline(
        transformations=steps, vector_store=ChromaVectorStore(chroma_collection=collection)
    )
    paths = sorted(folder.rglob("*.md"))
    began = time.perf_counter()
    pipeline.run(documents=[Node(text=path.read_text(encoding="utf-8")) for path in paths])
    return time.perf_counter() - began


def against_stock(settings: Settings) -> Iterator[str]:
    """Ours, LlamaIndex's and the model alone, in turn, on the same files."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "docs"
        folder.mkdir()
        write_abstracts(folder, FILES, words=85)
        uploads = find_files([str(folder)])
        model = resolve(settings.embedding.model)
        ingest = settings.ingest.model_copy(update={"chunk_tokens": 200})
        ours: list[float] = []
        alone: list[float] = []
        torch: list[float] = []
        stock: list[float] = []
        plain = SentenceTransformerEmbedder("plain", model)
        with Workspace(settings) as first:
            embedder = first.embedder  # loaded before the clock runs, as the stock pipeline is
            embedder.embed(["warm " * 100] * 20)
            load_splitter()
        texts: list[str] = []
        for number in range(ROUNDS):
            home = Path(place) / f"home-{number}"
            changed = settings.model_copy(update={"home": home, "ingest": ingest})
            with Workspace(changed) as workspace:
                workspace.__dict__["embedder"] = embedder
                ours.append(workspace.pipeline.run(uploads, collection="default").seconds)
                texts = [
                    c.context
                    for page in workspace.registry.pages("default", size=9999)
                    for c in page
                ]
            alone.append(seconds(embedder.embed, texts))
            torch.append(seconds(plain.embed, texts))
            try:
                stock.append(stock_pipeline(folder, model, Path(place) / f"stock-{number}"))
            except ModuleNotFoundError as error:
                yield f"stock pipeline: not measured, there is no {error.name}"
        yield f"{FILES} files, {len(texts)} chunks; backend {embedder.backend}"
        yield rates("ingestion", FILES, ours)
        yield rates("embedding model alone, same backend", FILES, alone)
        yield rates("embedding model alone, sentence-transformers", FILES, torch)
        yield ratio("ingestion / model alone, same backend", alone, ours)
        yield ratio("ingestion / model alone, sentence-transformers", torch, ours)
        if stock:
            yield rates("stock LlamaIndex pipeline", FILES, stock)
            yield ratio("ingestion / stock LlamaIndex pipeline", stock, ours)


def ratio(name: str, theirs: Sequence[float], ours: Sequence[float]) -> str:
    """Return a line: how many times as fast ours is, round by round."""
    found = sorted(a / b for a, b in zip(theirs, ours, strict=True))
    middle = statistics.median(found)
    return f"{name:<46} {middle:8.2f} x ({found[0]:.2f} to {found[-1]:.2f}, n={len(found)})"


def backends(settings: Settings) -> Iterator[str]:
    """Each backend on the same chunks: rate, cosine to float32, and the ranking it gives."""
    model = resolve(settings.embedding.model)
    made: list[Embedder] = [
        SentenceTransformerEmbedder("m", model),
        OpenVinoEmbedder("m", model, precision="f32"),
        OpenVinoEmbedder("m", model, precision="bf16"),
    ]
    with (
        tempfile.TemporaryDirectory() as place,
        Workspace(settings.model_copy(update={"home": Path(place)})) as workspace,
    ):
        workspace.pipeline.run(find_files([str(DOCUMENTS)]), collection="default")
        texts = [
            chunk.context
            for page in workspace.registry.pages("default", size=9999)
            for chunk in page
        ]
    questions = [json.loads(line)["question"] for line in QUESTIONS.open(encoding="utf-8")]
    exact, asked = made[0].embed(texts), made[0].embed(questions)
    best = np.argsort(-(asked @ exact.T), axis=1)[:, :10]
    gains = 1 / np.log2(np.arange(2, 12))  # of ranks 1 to 10
    for embedder in made:
        embedder.embed(texts[:50])
        times = [seconds(embedder.embed, texts)]
        began = time.perf_counter()
        rows = embedder.embed(texts)
        times.append(time.perf_counter() - began)
        near = embedder.embed(questions)
        cosines = (rows * exact).sum(axis=1)
        found = np.argsort(-(near @ rows.T), axis=1)[:, :10]
        # The ten that float32 finds are relevant by 10 to 1, so 1 is the same ranking.
        scores = [
            sum(gain * (10 - list(a).index(c)) for c, gain in zip(b, gains, strict=True) if c in a)
            / float((np.arange(10, 0, -1) * gains).sum())
            for a, b in zip(best, found, strict=True)
        ]
        one = statistics.median(seconds(embedder.embed, questions[:1]) for _ in "12345")
        yield rates(f"backend {embedder.backend}", len(texts), times, "chunks") + (
            f"; cosine {cosines.mean():.6f}, least {cosines.min():.6f}; nDCG@10 of float32's "
            f"ranking {np.mean(scores):.4f} (n={len(scores)}); one question {one * 1000:.1f} ms"
        )


def again(settings: Settings, count: int = SMALL_FILES) -> Iterator[str]:
    """Ingest many small files, and again three times, when nothing has changed."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "docs"
        folder.mkdir()
        write_abstracts(folder, count, words=25)
        here = settings.model_copy(update={"home": Path(place) / "home"})
        clock, processor = [], []
        for expected in ("added", *["unchanged"] * ROUNDS):
            began, spent = time.perf_counter(), _processor_seconds()
            with Workspace(here) as workspace:
                tally = workspace.pipeline.run(find_files([str(folder)]), collection="default")
            clock.append(time.perf_counter() - began)
            processor.append(_processor_seconds() - spent)
            assert getattr(tally, expected) == count
        yield f"{count} small files, the store and the model opened anew included"
        for name, (first, *later) in (("clock", clock), ("processor", processor)):
            found = sorted(first / one for one in later)
            yield (
                f"{name}: first {first:.1f} s, unchanged {', '.join(f'{x:.2f}' for x in later)} s: "
                f"{statistics.median(found):.0f} x ({found[0]:.0f} to {found[-1]:.0f})"
            )


def _processor_seconds() -> float:
    """Return what this process and the readers that have ended took of all processors."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def measure(settings: Settings) -> Iterator[str]:
    """Yield the lines of speed; some four minutes."""
    yield from against_stock(settings)
    yield from backends(settings)


if __name__ == "__main__":
    given = load(ROOT / "examples" / "tarnfell" / "groundtune.toml").settings
    parts = {
        "stock": lambda: against_stock(given),
        "backends": lambda: backends(given),
        "again": lambda: again(given, int(sys.argv[2]) if len(sys.argv) > 2 else SMALL_FILES),
    }
    for result in parts[sys.argv[1]]() if len(sys.argv) > 1 else measure(given):
        sys.stdout.write(result + "\n")
        sys.stdout.flush()
