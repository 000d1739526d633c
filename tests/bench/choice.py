"""Which adapter is a question for? Ways to score, on the two example domains and on neither."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assistant.choice import similarity
from assistant.config import Settings
from assistant.preparation import make_embedder
from eval.choice import Scored, balanced, fit_threshold, halves, outcome, read_cases, share
from finetune.recipe import load_recipe
from finetune.split import split_by_document
from finetune.ticket import read_tickets
from ingest.embed import CachedEmbedder

EXAMPLES = Path(__file__).parents[2] / "examples"
HOUSES = ("tarnfell", "orlwick")
SEED = 0

Vectors = NDArray[np.float32]
Score = Callable[[Vectors, Vectors], float]


def nearest(count: int) -> Score:
    """Return the mean cosine to the `count` nearest training questions."""
    return lambda vector, rows: float(np.sort(rows @ vector)[-count:].mean())


def centroid(vector: Vectors, rows: Vectors) -> float:
    """Return the cosine to the mean of the training questions."""
    mean = rows.mean(axis=0)
    return float(mean @ vector / np.linalg.norm(mean))


WAYS: dict[str, Score] = {
    "centroid": centroid,
    "nearest": nearest(1),
    "mean of the 3 nearest": nearest(3),
    "mean of the 10 nearest": nearest(10),
    "centroid and 3 nearest": similarity,
}


def measure(settings: Settings) -> Iterator[str]:
    """Yield a line for each way and set; the training side of the tickets makes the data sets."""
    embedder = CachedEmbedder(make_embedder(settings))
    trained = {}
    for house in HOUSES:
        data = load_recipe(EXAMPLES / house / "finetune.toml").data
        assert data.tickets is not None
        tickets = split_by_document(
            read_tickets(data.tickets), heldout_fraction=data.heldout_fraction, seed=data.seed
        )
        trained[house] = embedder.embed([ticket.question for ticket in tickets.train])
    sets = {house: EXAMPLES / house / "questions.jsonl" for house in HOUSES}
    sets["none"] = EXAMPLES / "neither.jsonl"
    cases = [case for name, path in sets.items() for case in read_cases(name, path)]
    for way, score in WAYS.items():
        scored = []
        for case in cases:
            vector = embedder.embed([case.question])[0]
            scores = {house: score(vector, rows) for house, rows in trained.items()}
            ranked = dict(sorted(scores.items(), key=lambda item: -item[1]))
            scored.append(Scored(case, ranked))
        yield from _lines(way, scored)


def _lines(way: str, scored: list[Scored]) -> Iterator[str]:
    sides = halves(scored, seed=SEED)
    threshold = fit_threshold(sides.dev)
    dev = balanced(sides.dev, threshold)
    yield f"choice: {way}, mean share of right choices over the sets, dev side: {dev:.3f}"
    for name in (*HOUSES, "none", "all"):
        group = [s for s in sides.test if name in (s.case.expected, "all")]
        found = outcome(group, threshold, seed=SEED)
        shares = ", ".join(f"{kind} {share(asdict(e))}" for kind, e in found.items())
        yield f"choice: {way}, threshold {threshold:.3f}, {name} (n = {len(group)}): {shares}"
