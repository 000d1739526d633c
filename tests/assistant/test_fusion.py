import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.fusion import fuse
from ingest.document import Chunk
from ingest.index import Scored


def ranking(**scores: float) -> list[Scored]:
    found = [
        Scored(Chunk(name, "d", "c", "s.md", "T", (), None, 0, 1, name, 0), score)
        for name, score in scores.items()
    ]
    return sorted(found, key=lambda item: -item.score)


def order(*rankings: list[Scored], dense_weight: float = 0.5, ranks: bool = True) -> list[str]:
    return [hit.chunk.id for hit in fuse(*rankings, dense_weight=dense_weight, ranks=ranks)]


def test_the_chunk_that_both_rankings_found_comes_first() -> None:
    assert order(ranking(a=0.5, b=0.5), ranking(b=7.0, c=6.0))[0] == "b"


def test_a_lead_counts_where_ranks_would_be_level() -> None:
    assert order(ranking(a=0.9, b=0.3), ranking(b=5.0, a=4.9))[0] == "a"
    assert order(ranking(a=0.5, b=0.49), ranking(b=9.0, a=1.0))[0] == "b"


def test_of_scores_alone_a_weight_of_one_is_the_dense_order_and_of_zero_that_of_bm25() -> None:
    dense, lexical = ranking(a=0.9, b=0.5, c=0.4), ranking(c=9.0, b=5.0, a=2.0)
    assert order(dense, lexical, dense_weight=1, ranks=False) == ["a", "b", "c"]
    assert order(dense, lexical, dense_weight=0, ranks=False) == ["c", "b", "a"]


def test_a_score_out_of_all_proportion_does_not_decide_alone() -> None:
    many = {f"x{n:02}": 0.5 - n / 1000 for n in range(60)}
    dense, lexical = ranking(a=0.8, **many, b=0.1), ranking(b=100.0, a=40.0)
    assert order(dense, lexical, dense_weight=0.35, ranks=False)[:2] == ["b", "a"]
    assert order(dense, lexical, dense_weight=0.35)[:2] == ["a", "b"]


def test_where_only_one_ranking_found_anything_its_order_stands() -> None:
    assert order(ranking(a=0.9, b=0.5), []) == ["a", "b"]
    assert order([], ranking(b=5.0, a=2.0)) == ["b", "a"]
    assert fuse([], [], dense_weight=0.5) == []


def test_a_hit_knows_both_ranks_and_scores() -> None:
    dense, lexical = ranking(a=0.8, b=0.4), ranking(a=6.0, c=3.0)
    first, second, third = fuse(dense, lexical, dense_weight=0.75, ranks=False)
    assert (first.dense_rank, first.similarity, first.bm25_rank, first.bm25) == (1, 0.8, 1, 6.0)
    assert first.score == first.fused == pytest.approx(1.0)
    assert (second.chunk.id, second.dense_rank, second.similarity) == ("c", None, None)
    assert second.score == pytest.approx(0.75 * 0.8 * 0.5 + 0.25 * 0.5)  # below the last cosine
    assert (third.chunk.id, third.bm25_rank, third.bm25) == ("b", None, None)
    both = {hit.chunk.id: hit.fused for hit in fuse(dense, lexical, dense_weight=0.75)}
    assert both["a"] == pytest.approx(1.0)
    assert both["c"] == pytest.approx((second.score + 61 / 62 / 2) / 2)


SCORES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-1, 1), max_size=8)


@given(SCORES, SCORES, st.floats(0, 1), st.booleans())
def test_every_chunk_comes_once_with_a_score_between_0_and_1(
    dense: dict[str, float], lexical: dict[str, float], weight: float, ranks: bool
) -> None:
    words = {name: abs(score) * 20 + 0.1 for name, score in lexical.items()}
    hits = fuse(ranking(**dense), ranking(**words), dense_weight=weight, ranks=ranks)
    assert sorted(hit.chunk.id for hit in hits) == sorted(dense.keys() | words.keys())
    assert all(0 <= hit.score <= 1 + 1e-9 for hit in hits)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
