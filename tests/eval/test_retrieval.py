import argparse
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest

from assistant.config import Settings
from eval.beir import read_collection
from eval.command import add_arguments, render, run
from eval.retrieval import score
from ingest.errors import DataError

CORPUS = {
    "d1": ("Pump", "The collar of the pump is tightened to 38 newton metres with the long key."),
    "d2": ("Drill", "Never hold the drill for more than half an hour in one shift."),
    "d3": ("Mast", "Two people carry the weather mast; it leans when the guys are slack."),
    "d4": ("Box", "The cooled box keeps samples at four degrees between river and laboratory."),
    "d5": ("", "Invoices are due thirty days after their date."),
}
QUERIES = {
    "q1": "how tight is the pump collar",
    "q2": "how long may I work with the drill",
    "q3": "mast leans over",
    "q4": "payment of bills",
}
QRELS = {"q1": {"d1": 2, "d4": 0}, "q2": {"d2": 1}, "q3": {"d3": 1}, "q4": {"d5": 1}}


def write(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": i, "title": t, "text": x} for i, (t, x) in CORPUS.items()]
    queries = [{"_id": i, "text": x} for i, x in {**QUERIES, "q9": "nobody judged this"}.items()]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    judged = [f"{q}\t{d}\t{g}\n" for q, found in QRELS.items() for d, g in found.items()]
    (folder / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(judged), encoding="utf-8"
    )
    return folder


def test_a_collection_is_its_documents_and_the_queries_that_were_judged(tmp_path: Path) -> None:
    collection = read_collection(write(tmp_path / "c"))
    assert [entry.id for entry in collection.entries] == list(CORPUS)
    assert collection.queries == QUERIES
    assert collection.qrels == QRELS


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("corpus.jsonl", "", "is empty"),
        ("corpus.jsonl", '{"_id": "a"}\nnot json', "line 1: no `_id` and `text`\n  line 2"),
        ("corpus.jsonl", '{"_id": "a", "text": "x"}\n' * 2, "1 ids stand twice"),
        ("qrels/test.tsv", "q1 d1 1", "line 1: not `query-id<TAB>corpus-id<TAB>score`"),
        ("qrels/test.tsv", "q1\td77\t1\nq77\td1\t1", "'q77' is not in queries.jsonl\n.*'d77'"),
    ],
)
def test_a_wrong_file_is_named_with_its_lines(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    folder = write(tmp_path / "c")
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_collection(folder)


def test_a_missing_file_says_what_the_folder_needs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"corpus.jsonl cannot be read") as error:
        read_collection(tmp_path)
    assert "qrels/test.tsv" in error.value.hint


def test_scores_are_those_of_the_definitions() -> None:
    qrels = {"a": {"x": 1, "y": 1}, "b": {"z": 1}}
    scored = score({"a": ["o", "x", "y"], "b": ["p"]}, qrels, seed=0)
    gain = (1 / math.log2(3) + 1 / math.log2(4)) / (1 + 1 / math.log2(3))
    assert scored["ndcg@10"]["mean"] == pytest.approx(gain / 2)
    assert scored["mrr@10"]["mean"] == pytest.approx(0.25)
    assert scored["recall@100"]["mean"] == pytest.approx(0.5)
    assert scored["n"] == 2


def test_the_reciprocal_rank_ends_at_ten_and_recall_at_a_hundred() -> None:
    others = [f"o{n}" for n in range(200)]
    for place, reciprocal, recall in ((9, 0.1, 1.0), (10, 0.0, 1.0), (100, 0.0, 0.0)):
        scored = score(
            {"q": [*others[:place], "x", *others[place:]][:100]}, {"q": {"x": 1}}, seed=0
        )
        assert scored["mrr@10"]["mean"] == pytest.approx(reciprocal)
        assert scored["recall@100"]["mean"] == recall


def test_the_interval_is_around_the_mean_and_narrows_with_more_queries() -> None:
    draw = random.Random(1)
    widths = []
    for n in (30, 3000):
        run_ = {str(i): ["x"] if draw.random() < 0.4 else ["y"] for i in range(n)}
        scored = score(run_, {str(i): {"x": 1} for i in range(n)}, seed=0)["ndcg@10"]
        assert scored["low"] < scored["mean"] < scored["high"]
        widths.append(scored["high"] - scored["low"])
    assert widths[1] < widths[0] / 5


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.model
def test_dense_search_scores_what_sentence_transformers_alone_does(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import semantic_search

    from ingest.model_file import resolve

    folder = write(tmp_path / "c")
    settings = Settings(home=tmp_path / "w")
    result = run(parse("retrieval", str(folder), "--whole", "--baseline"), settings)
    assert not (tmp_path / "w").exists()  # it works in a place of its own
    systems = {system["name"]: system for system in result["systems"]}
    assert list(systems) == ["dense", "bm25", "hybrid", "rrf"]
    assert all(system["n"] == 4 for system in systems.values())

    model = SentenceTransformer(str(resolve(settings.embedding.model)), local_files_only=True)
    texts = ["\n".join(part for part in entry if part) for entry in CORPUS.values()]
    found = semantic_search(
        model.encode(list(QUERIES.values()), convert_to_numpy=True),
        model.encode(texts, convert_to_numpy=True),
        top_k=5,
    )
    ids = list(CORPUS)
    alone = {
        query: [ids[int(hit["corpus_id"])] for hit in hits]
        for query, hits in zip(QUERIES, found, strict=True)
    }
    expected = score(alone, QRELS, seed=0)["ndcg@10"]["mean"]
    assert systems["dense"]["ndcg@10"]["mean"] == pytest.approx(expected, abs=0.005)
    assert systems["hybrid"]["ndcg@10"]["mean"] >= systems["rrf"]["ndcg@10"]["mean"]
    table = render(result)
    assert "5 documents, 5 passages, 4 queries" in table
    assert f"hybrid    {systems['hybrid']['ndcg@10']['mean']:.3f}" in table
    assert np.isfinite(systems["bm25"]["recall@100"]["mean"])
