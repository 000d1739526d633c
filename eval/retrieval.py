"""`groundtune eval retrieval DIR`: how well search finds what a labelled collection names."""

import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from assistant.config import Settings, StoreSettings
from assistant.hit import Hit
from assistant.workspace import Workspace, open_workspace
from eval.beir import Collection, Entry, read_collection
from eval.progress import Bar
from ingest.document import Block, Chunk, Document, Span
from ingest.extras import require

DEPTH = 100
"""Documents that are judged of each ranking."""
PASSAGES = 4 * DEPTH
"""Passages looked at to fill it: a document counts once, where its best passage stands."""
BATCH = 1024
"""Passages embedded between two moves of the bar."""
RRF_K = 60
"""Of the plain reciprocal-rank fusion that `rrf` stands for (Cormack et al., 2009)."""
MEASURES = {"ndcg@10": "ndcg_cut_10", "recall@100": "recall_100", "mrr@10": "recip_rank"}
Order = Callable[[Sequence[Hit]], list[Hit]]
Run = Mapping[str, Sequence[str]]
"""Query id -> document ids, best first."""


def evaluate_retrieval(
    folder: Path, settings: Settings, *, whole: bool = False, baseline: bool = False, seed: int = 0
) -> dict[str, Any]:
    """Index the collection in a temporary workspace, ask its queries, and score the rankings.

    Args:
        folder: in the BEIR layout.
        settings: of the embedding model, the chunks and the fusion; the stores are temporary.
        whole: one passage a document, which the embedding model cuts where its window ends.
        baseline: score plain reciprocal-rank fusion as well.
        seed: of the bootstrap.

    Raises:
        DataError: the collection is incomplete or wrong.
    """
    started = time.perf_counter()
    collection = read_collection(folder)
    with tempfile.TemporaryDirectory(prefix="groundtune-") as home:
        here = settings.model_copy(update={"home": Path(home), "store": StoreSettings()})
        with open_workspace(here) as workspace:
            passages = _index(collection, workspace, whole=whole)
            rankings = _ask(collection, workspace)
    systems = _systems(baseline=baseline, reranked=bool(settings.retrieval.rerank))
    return {
        "collection": folder.name,
        "documents": len(collection.entries),
        "passages": passages,
        "systems": [
            {
                "name": name,
                **score(
                    {query: documents(order(hits)) for query, hits in rankings.items()},
                    collection.qrels,
                    seed=seed,
                ),
            }
            for name, order in systems.items()
        ],
        "seconds": round(time.perf_counter() - started, 1),
    }


def documents(hits: Sequence[Hit]) -> list[str]:
    """Return the documents of the passages, each once, where its best passage stands."""
    return list(dict.fromkeys(hit.chunk.source for hit in hits))[:DEPTH]


def score(run: Run, qrels: Mapping[str, Mapping[str, int]], *, seed: int) -> dict[str, Any]:
    """Return each measure's mean over the queries with its bootstrap interval, by trec_eval."""
    pytrec_eval: Any = require("pytrec_eval", extra="eval")
    judged = {query: dict(grades) for query, grades in qrels.items()}
    values: dict[str, list[float]] = {}
    for name, measure in MEASURES.items():
        depth = 10 if name.endswith("@10") else DEPTH
        # Only the order counts, and trec_eval would settle ties by the documents' names.
        ranked = {
            query: {document: -float(rank) for rank, document in enumerate(found[:depth])}
            for query, found in run.items()
        }
        results = pytrec_eval.RelevanceEvaluator(judged, {measure}).evaluate(ranked)
        values[name] = [float(results.get(query, {}).get(measure, 0.0)) for query in judged]
    return {**{name: _mean(found, seed) for name, found in values.items()}, "n": len(judged)}


def render(result: Mapping[str, Any]) -> str:
    """Return the systems as a table."""
    n = result["systems"][0]["n"]
    lines = [
        f"{result['collection']}: {result['documents']} documents, {result['passages']} passages, "
        f"{n} queries; {result['seconds']:g} s",
        f"{'':10}" + "".join(f"{name:<26}" for name in MEASURES),
    ]
    for system in result["systems"]:
        cells = [_cell(system[name]) for name in MEASURES]
        lines.append(f"{system['name']:10}" + "".join(f"{cell:<26}" for cell in cells).rstrip())
    return "\n".join(lines)


def _mean(values: Sequence[float], seed: int) -> dict[str, float | None]:
    """Return the mean with its 95 % interval; bounds are None where all values are alike."""
    mean = sum(values) / len(values)
    if len(set(values)) < 2:
        return {"mean": mean, "low": None, "high": None}
    found = require("scipy.stats", extra="eval").bootstrap(
        (values,), np.mean, method="percentile", rng=np.random.default_rng(seed)
    )
    low, high = found.confidence_interval
    return {"mean": mean, "low": float(low), "high": float(high)}


def _cell(value: Mapping[str, float | None]) -> str:
    if value["low"] is None:
        return f"{value['mean']:.3f}"
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _systems(*, baseline: bool, reranked: bool) -> dict[str, Order]:
    systems: dict[str, Order] = {
        "dense": lambda hits: _by(hits, lambda hit: hit.dense_rank),
        "bm25": lambda hits: _by(hits, lambda hit: hit.bm25_rank),
        "hybrid": lambda hits: sorted(hits, key=lambda hit: -hit.fused),
    }
    if baseline:
        systems["rrf"] = lambda hits: sorted(hits, key=_reciprocal_rank)
    if reranked:
        systems["reranked"] = list
    return systems


def _by(hits: Sequence[Hit], rank: Callable[[Hit], int | None]) -> list[Hit]:
    ranked = [(place, hit) for hit in hits if (place := rank(hit)) is not None]
    return [hit for _, hit in sorted(ranked, key=lambda pair: pair[0])]


def _reciprocal_rank(hit: Hit) -> float:
    return -sum(1 / (RRF_K + rank) for rank in (hit.dense_rank, hit.bm25_rank) if rank)


def _index(collection: Collection, workspace: Workspace, *, whole: bool) -> int:
    """Store the collection's passages; return how many there are."""
    index = workspace.index
    chunks: list[Chunk] = []
    for entry in collection.entries:
        document = _document(entry)
        if document is None:
            continue
        cut = [_one(document)] if whole else workspace.chunker.chunk(document)
        index.registry.put([(document, cut)])
        chunks += cut
    with Bar(len(chunks), doing="embedding", done="embedded") as bar:
        for start in range(0, len(chunks), BATCH):
            batch = chunks[start : start + BATCH]
            index.vectors.add(batch, index.embedder.embed([chunk.context for chunk in batch]))
            bar.advance(len(batch))
    return len(chunks)


def _ask(collection: Collection, workspace: Workspace) -> dict[str, list[Hit]]:
    rankings = {}
    with Bar(len(collection.queries), doing="searching", done="searched") as bar:
        for query, text in collection.queries.items():
            rankings[query] = workspace.retriever.rank(text, limit=PASSAGES)
            bar.advance()
    return rankings


def _document(entry: Entry) -> Document | None:
    """Return the entry as ingestion would, had it been a file; None where it holds no text."""
    text = entry.text if entry.text.strip() else entry.title
    if not text.strip():
        return None
    digest = hashlib.sha256(entry.id.encode()).hexdigest()
    return Document(
        id=digest[:16],
        collection="default",
        source=entry.id,
        path=None,
        sha256=digest,
        title=entry.title,
        text=text,
        blocks=(Block(text),),
        spans=(Span(0, len(text)),),
        pages=None,
        kind="txt",
        metadata={},
    )


def _one(document: Document) -> Chunk:
    return Chunk(
        id=document.sha256[:24],
        document_id=document.id,
        collection=document.collection,
        source=document.source,
        title=document.title,
        headings=(),
        page=None,
        start=0,
        end=len(document.text),
        text=document.text,
        ordinal=0,
    )
