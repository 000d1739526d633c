"""Dense search against what sentence-transformers alone finds on the same texts.

`python -m tests.bench.quality DIR...`, each in the BEIR layout. Every document is one text, which
both cut where the model's window ends; nearest is decided by all cosines, without a graph.
"""

import statistics
import sys
from pathlib import Path

import numpy as np

from assistant.config import load
from eval.beir import read_collection
from eval.retrieval import DEPTH, evaluate_retrieval, score
from ingest.embed import load_sentence_transformer
from ingest.model_file import resolve

SETTINGS = load(None).settings
NDCG = "ndcg@10"


def alone(folder: Path) -> tuple[float, float]:
    """Return the nDCG@10 of sentence-transformers, and the share of texts that it cuts."""
    collection = read_collection(folder)
    texts = {
        entry.id: "\n".join(part for part in (entry.title, entry.text or entry.title) if part)
        for entry in collection.entries
    }
    texts = {name: text for name, text in texts.items() if text.strip()}
    model = load_sentence_transformer(resolve(SETTINGS.embedding.model))
    rows, asked = (
        model.encode(list(given), normalize_embeddings=True, show_progress_bar=False)
        for given in (texts.values(), collection.queries.values())
    )
    names = np.array(list(texts))
    best = np.argsort(-(asked @ rows.T), axis=1, kind="stable")[:, :DEPTH]  # (queries, DEPTH)
    run = {query: list(names[near]) for query, near in zip(collection.queries, best, strict=True)}
    found: float = score(run, collection.qrels, seed=0)[NDCG]["mean"]
    lengths = [len(ids) for ids in model.tokenizer(list(texts.values()))["input_ids"]]
    return found, statistics.mean(length > model.max_seq_length for length in lengths)


def compared(folder: Path) -> str:
    """Return the line of a collection."""
    found = evaluate_retrieval(folder, SETTINGS, whole=True)
    ours: float = next(s[NDCG]["mean"] for s in found["systems"] if s["name"] == "dense")
    theirs, cut = alone(folder)
    return (
        f"{folder.name:<10} {found['passages']} texts, {cut:.0%} of them cut; nDCG@10 ours "
        f"{ours:.4f}, sentence-transformers {theirs:.4f}, difference {ours - theirs:+.4f}"
    )


if __name__ == "__main__":
    for given in sys.argv[1:]:
        sys.stdout.write(compared(Path(given)) + "\n")
        sys.stdout.flush()
