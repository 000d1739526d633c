import asyncio
import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytrec_eval
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rouge_score import rouge_scorer
from sacrebleu.metrics import CHRF

from assistant.answer import Answer
from eval.cache import Cache
from eval.metrics import (
    abstention,
    chrf,
    facts_right,
    facts_stated,
    format_valid,
    grounded,
    house_terms,
    ndcg,
    score_all,
    similarities,
)
from eval.outcome import Outcome
from eval.overlap import (
    citation_precision,
    citation_recall,
    retrieval_precision,
    retrieval_recall,
    rouge,
)
from eval.price import Prices
from eval.question import Question
from eval.recipe import Arm, Price
from ingest.embed import Embedder

Say = Callable[..., Answer]
HOUSE = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}


def asked(**values: Any) -> Question:
    base = {"id": "q", "question": "How?", "reference": "Tighten it to 25 N·m."}
    return Question.model_validate(base | values)


@lru_cache(maxsize=1)
def of_ragas() -> tuple[Any, ...]:
    """Return ragas's ROUGE-L, and its recall and precision of documents."""
    os.environ.setdefault("RAGAS_DO_NOT_TRACK", "true")  # read when ragas is imported
    import ragas.metrics as older
    from ragas import SingleTurnSample
    from ragas.metrics.collections import RougeScore

    with warnings.catch_warnings():
        # ragas 0.4 announces that these two move; they are not there yet.
        warnings.simplefilter("ignore", DeprecationWarning)
        by_document = older.IDBasedContextRecall(), older.IDBasedContextPrecision()
    return RougeScore(rouge_type="rougeL"), by_document, SingleTurnSample


def test_every_fact_must_be_stated_in_one_of_its_spellings(said: Say) -> None:
    question = asked(facts=[["25 N·m", "25 Nm"], ["4 years", "four years"]])
    assert facts_right(question, said("25 Nm, then wait four years.")).value == 1
    half = facts_right(question, said("25 Nm."))
    assert (half.value, half.why) == (0, "missing: 4 years")


def test_a_question_without_key_facts_is_not_scored_on_facts(said: Say) -> None:
    assert facts_right(asked(), said("You are welcome.")).value is None


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ('{"answer": "yes"}', 1),
        ('{"answer": "yes", "more": 1}', 0),
        ('{"answer": 1}', 0),
        ('```json\n{"answer": "yes"}\n```', 0),
        ('"yes"', 0),
        ("null", 0),
        ("yes", 0),
        ("", 0),
    ],
)
def test_the_format_is_valid_only_when_the_whole_answer_fits(
    said: Say, answer: str, value: float
) -> None:
    assert format_valid(asked(), said(answer), HOUSE).value == value


def test_a_schema_of_the_question_goes_before_the_house_schema(said: Say) -> None:
    question = asked(schema={"type": "array"})
    assert format_valid(question, said("[]"), HOUSE).value == 1
    assert format_valid(asked(), said("[]"), None).value is None


def test_grounded_needs_facts_and_format(said: Say) -> None:
    question = asked(facts=[["25 N·m"]])
    for text, value in (('{"answer": "25 N·m"}', 1), ("25 N·m", 0), ('{"answer": "no"}', 0)):
        answer = said(text)
        form = format_valid(question, answer, HOUSE)
        assert grounded(question, facts_right(question, answer), form).value == value


def test_grounded_does_not_apply_to_unanswerable_questions(said: Say) -> None:
    question, answer = asked(answerable=False), said("25")
    form = format_valid(question, answer, HOUSE)
    assert grounded(question, facts_right(question, answer), form).value is None


@pytest.mark.parametrize("abstained", [True, False])
@pytest.mark.parametrize("answerable", [True, False])
def test_abstaining_is_right_when_there_is_no_answer(
    said: Say, abstained: bool, answerable: bool
) -> None:
    score = abstention(asked(answerable=answerable), said("?", abstained=abstained))
    assert score.value == (abstained != answerable)


def test_avoided_words_count_as_whole_words_only(said: Say) -> None:
    assert house_terms(said("The Devices team."), ["devices"]).value == 0
    assert house_terms(said("Steamed."), ["team"]).value == 1
    assert house_terms(said("Anything."), []).value is None


def test_similarity_compares_the_answer_field_with_the_reference(
    said: Say, embedder: Embedder, cache: Cache
) -> None:
    answers = [said('{"answer": "Tighten it to 25 N·m."}'), said(""), said("Bananas")]
    same, empty, other = similarities([asked()] * 3, answers, embedder, cache)
    assert same.value == pytest.approx(1, abs=1e-6)
    assert empty.value == 0
    assert other.value is not None
    assert other.value < 0.5


def test_texts_that_were_compared_before_are_not_embedded_again(
    said: Say, embedder: Any, cache: Cache
) -> None:
    first = similarities([asked()], [said("Bananas")], embedder, cache)

    class Mute:
        name = embedder.name

        def embed(self, texts: Any) -> Any:
            raise AssertionError("embedded again")

    assert similarities([asked()], [said("Bananas")], Mute(), cache) == first  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="embedded again"):
        similarities([asked()], [said("Apples")], Mute(), cache)  # type: ignore[arg-type]


def test_a_similarity_does_not_depend_on_what_is_compared_beside_it(
    said: Say, embedder: Any, tmp_path: Path
) -> None:
    class Uneasy:
        """Its rounding depends on the size of the batch, as that of matrix products does."""

        name = "uneasy"

        def embed(self, texts: Any) -> Any:
            return embedder.embed(texts) * (1 + 1e-3 * len(texts))

    answers = [said("Tighten it."), said("Bananas"), said("to 25 N·m.")]
    with Cache(tmp_path / "a") as one, Cache(tmp_path / "b") as other:
        together = similarities([asked()] * 3, answers, Uneasy(), one)  # type: ignore[arg-type]
        alone = [similarities([asked()], [a], Uneasy(), other)[0] for a in answers]  # type: ignore[arg-type]
    assert together == alone


def test_evidence_and_citations_are_measured_by_document(said: Say) -> None:
    question = asked(documents=["a.md", "b.md"])
    answer = said("x", shown=["a.md", "c.md", "a.md"], cited=["a.md", "c.md"])
    scores = [
        retrieval_recall(question, answer, shown=True).value,
        citation_precision(question, answer, shown=True).value,
        citation_recall(question, answer, shown=True).value,
        citation_precision(question, said("x"), shown=True).value,
        citation_recall(question, said("x"), shown=True).value,
        retrieval_recall(question, said("x"), shown=False).value,
    ]
    assert scores == [0.5, 0.5, 0.5, None, 0.0, None]


def test_rouge_is_one_for_the_reference_itself(said: Say) -> None:
    question = asked()
    score = rouge(question, said(question.reference))
    assert score.value == pytest.approx(1)


def test_a_failed_answer_has_no_score_at_all(said: Say, embedder: Embedder, cache: Cache) -> None:
    question, arm = asked(facts=[["25 N·m"]]), Arm(name="base", mode="base")
    outcomes = [
        Outcome("q", "base", "k", None, "the engine stopped"),
        Outcome("q", "base", "k", said("25 N·m")),
    ]
    failed, answered = score_all(
        {"q": question},
        {"base": arm},
        outcomes,
        schema=HOUSE,
        avoided=(),
        embedder=embedder,
        cache=cache,
        prices=Prices(()),
    )
    assert all(score.value is None for score in failed.values())
    assert failed["facts"].why == "the arm failed: the engine stopped"
    assert answered["facts"].value == 1
    assert answered.keys() == failed.keys()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Tighten it to 25 N·m.", 1),
        ("Tighten it to 25.0 Nm.", 1),
        ("about 25.4 N·m", 1),
        ("25.6 N·m", 0),
        ("24.4 N·m", 0),
        ("25 kg", 0),
        ("25", 0),
        ("TF-25 N·m", 0),
        ("1,025 N·m", 0),
        ("first 12 N·m, then 25 N·m", 1),
        ('{"answer": "25 Nm"}', 1),
    ],
)
def test_a_number_is_right_within_its_tolerance_and_with_its_unit(
    said: Say, text: str, value: float
) -> None:
    fact = {"value": 25, "unit": ["N·m", "Nm"], "tolerance": 0.5}
    assert facts_right(asked(facts=[fact]), said(text)).value == value


def test_a_number_may_be_negative_and_need_no_unit(said: Say) -> None:
    cold = asked(facts=[{"value": -12, "unit": ["°C"]}])
    assert facts_right(cold, said("down to −12 °C")).value == 1
    assert facts_right(cold, said("up to 12 °C")).value == 0
    assert facts_right(asked(facts=[{"value": 7}]), said("There are 7 of them.")).value == 1


def test_of_a_set_the_share_that_is_stated_counts(said: Say) -> None:
    parts = asked(facts=[["pump"], ["hose"], ["filter"]])
    assert facts_stated(parts, said("A hose and a pump.")).value == pytest.approx(2 / 3)
    assert facts_right(parts, said("A hose and a pump.")).value == 0
    assert facts_stated(asked(facts=[]), said("A hose.")).value is None


STATELESS = [HealthCheck.function_scoped_fixture]  # the fixtures only make values
WORDS = st.lists(st.sampled_from("oil the pump twice a year with N·m 25 é".split()), min_size=1)  # noqa: SIM905


@given(WORDS, WORDS)
@settings(max_examples=30, deadline=None, suppress_health_check=STATELESS)
def test_chrf_and_rouge_agree_with_their_own_packages(
    said: Say, left: list[str], right: list[str]
) -> None:
    answer, reference = " ".join(left), " ".join(right)
    question = asked(reference=reference)
    ours = chrf(question, said(answer)).value
    assert ours == pytest.approx(CHRF().sentence_score(answer, [reference]).score / 100)
    stemmed = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    theirs = stemmed.score(reference, answer)["rougeL"].fmeasure
    assert rouge(question, said(answer)).value == pytest.approx(theirs)
    again = asyncio.run(of_ragas()[0].ascore(reference=reference, response=answer))
    assert again.value == pytest.approx(theirs)


@given(
    st.lists(st.sampled_from("abcdefgh"), max_size=8),
    st.sets(st.sampled_from("abcdefgh"), min_size=1, max_size=4),
)
@settings(max_examples=60, deadline=None, suppress_health_check=STATELESS)
def test_ndcg_is_that_of_the_textbook_and_of_trec_eval(
    said: Say, shown: list[str], named: set[str]
) -> None:
    question = asked(documents=sorted(named))
    answer = said("x", shown=shown)
    ranked = list(dict.fromkeys(shown))
    gain = sum(1 / np.log2(n + 2) for n, source in enumerate(ranked) if source in named)
    best = sum(1 / np.log2(n + 2) for n in range(min(len(named), len(ranked))))
    ours = ndcg(question, answer, shown=True).value
    assert ours == pytest.approx(gain / best if best else 0)
    assert ndcg(question, answer, shown=False).value is None
    if ranked:  # trec_eval's, cut where the passages end
        cut = len(ranked)
        qrels = {"q": dict.fromkeys(named, 1)}
        run = {"q": {source: float(cut - n) for n, source in enumerate(ranked)}}
        found = pytrec_eval.RelevanceEvaluator(qrels, {f"ndcg_cut.{cut}"}).evaluate(run)
        assert ours == pytest.approx(found["q"][f"ndcg_cut_{cut}"])


@given(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8),
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8),
    st.sets(st.sampled_from("abcdefgh"), min_size=1, max_size=4),
)
@settings(max_examples=60, deadline=None, suppress_health_check=STATELESS)
def test_recall_and_precision_are_those_of_trec_eval_and_of_ragas(
    said: Say, shown: list[str], cited: list[str], named: set[str]
) -> None:
    question, answer = asked(documents=sorted(named)), said("x", shown=shown, cited=cited)
    ours = [
        score(question, answer, shown=True).value
        for score in (retrieval_recall, retrieval_precision, citation_recall, citation_precision)
    ]
    trec, ragas = [], []
    for sources in (shown, cited):
        measures = pytrec_eval.RelevanceEvaluator(
            {"q": dict.fromkeys(named, 1)}, {"set_recall", "set_P"}
        ).evaluate({"q": dict.fromkeys(sources, 1.0)})["q"]
        trec += [measures["set_recall"], measures["set_P"]]
        _, by_document, sample_of = of_ragas()
        sample = sample_of(retrieved_context_ids=sources, reference_context_ids=sorted(named))
        for metric in by_document:
            ragas.append(asyncio.run(metric._single_turn_ascore(sample, callbacks=[])))
    assert ours == pytest.approx(trec)
    assert ours == pytest.approx(ragas)


def test_precision_is_the_share_of_shown_documents_that_are_named(said: Say) -> None:
    question = asked(documents=["a.md"])
    shown = said("x", shown=["a.md", "b.md", "b.md", "c.md"])
    precision = retrieval_precision(question, shown, shown=True)
    assert precision.value == pytest.approx(1 / 3)
    nothing = retrieval_precision(question, said("x"), shown=True)
    assert (nothing.value, nothing.why) == (None, "no passage is shown")


def test_a_price_adds_tokens_and_time_for_the_model_that_answered(said: Say) -> None:
    answer = said("x")  # 10 + 5 tokens, 50 ms
    table = [Price(model="fake", prompt=2, completion=4, hour=3.6), Price(prompt=1000)]
    per_answer = 2 * 10 / 1e6 + 4 * 5 / 1e6 + 3.6 * 50 / 3.6e6
    assert Prices(table).of(answer).value == pytest.approx(1000 * per_answer)
    assert Prices(table[1:]).of(answer).value == pytest.approx(10)
    assert Prices(table[:1]).of(replace(answer, model="other")).value is None
    assert Prices(()).of(answer).value is None
