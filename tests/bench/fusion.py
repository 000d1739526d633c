"""Hybrid search against its two parts and plain reciprocal-rank fusion, query by query.

`python -m tests.bench.fusion DIR...`, each in the BEIR layout, 400 passages a ranking. Every
difference is paired: its half-width is 1.96 standard errors over the queries.
"""

import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytrec_eval

from assistant.config import StoreSettings, load
from assistant.fusion import fuse
from assistant.hit import Hit
from assistant.workspace import open_workspace
from eval import retrieval
from eval.beir import read_collection
from ingest.index import Scored

SETTINGS = load(None).settings
MEASURE = "ndcg_cut_10"


def scores_alone(hits: Sequence[Hit]) -> list[Hit]:
    """Return the hits fused by scores alone."""
    dense = [Scored(hit.chunk, hit.similarity) for hit in hits if hit.similarity is not None]
    words = [Scored(hit.chunk, hit.bm25) for hit in hits if hit.bm25 is not None]
    dense.sort(key=lambda found: -found.score)
    words.sort(key=lambda found: -found.score)
    return fuse(dense, words, dense_weight=SETTINGS.retrieval.dense_weight, ranks=False)


def gains(folder: Path) -> dict[str, list[float]]:
    """Return nDCG@10 of each query, in the same order, by the name of the system."""
    collection = read_collection(folder)
    with tempfile.TemporaryDirectory() as home:
        here = SETTINGS.model_copy(update={"home": Path(home), "store": StoreSettings()})
        with open_workspace(here) as workspace:
            retrieval._index(collection, workspace, whole=False)
            found = retrieval._ask(collection, workspace)
    orders = {**retrieval._systems(baseline=True, reranked=False), "scores": scores_alone}
    return {
        name: _gains({q: retrieval.documents(order(h)) for q, h in found.items()}, collection.qrels)
        for name, order in orders.items()
    }


def _gains(run: retrieval.Run, qrels: Mapping[str, Mapping[str, int]]) -> list[float]:
    ranked = {
        query: {document: -float(rank) for rank, document in enumerate(found[:10])}
        for query, found in run.items()
    }
    judged = {query: dict(grades) for query, grades in qrels.items()}
    results = pytrec_eval.RelevanceEvaluator(judged, {MEASURE}).evaluate(ranked)
    return [float(results.get(query, {}).get(MEASURE, 0.0)) for query in judged]


def lines(folder: Path) -> Iterator[str]:
    """Yield what each system has, and what hybrid and scores alone have more than the others."""
    found = gains(folder)
    means = {name: statistics.fmean(values) for name, values in found.items()}
    told = ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
    yield f"{folder.name}, n = {len(found['rrf'])}: {told}"
    better = max("dense", "bm25", key=means.__getitem__)
    for ours in ("hybrid", "scores"):
        told = ", ".join(
            f"less {other} {_difference(found[ours], found[other])}"
            for other in (better, "rrf", "scores")
            if other != ours
        )
        yield f"  {ours:<7} {told}"


def _difference(ours: Sequence[float], theirs: Sequence[float]) -> str:
    each = [a - b for a, b in zip(ours, theirs, strict=True)]
    error = statistics.stdev(each) / len(each) ** 0.5
    return f"{statistics.fmean(each):+.4f} ± {1.96 * error:.4f}"


if __name__ == "__main__":
    for given in sys.argv[1:]:
        for line in lines(Path(given)):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
