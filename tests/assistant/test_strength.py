import asyncio
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.answer import Answer, Ask, Mode
from assistant.evidence import Judge, searched
from assistant.hit import Hit
from assistant.strength import (
    Calibration,
    features,
    fingerprint,
    read_calibration,
    write_calibration,
)
from ingest.document import Chunk
from ingest.errors import DataError
from ingest.files import find_files
from tests.fakes import ScriptedEngine, small_workspace

HELD = {"tighten": 9, "collar": 12, "burbot": 30, "20": 40}


def count(word: str, limit: int) -> int:
    return min(HELD.get(word, 0), limit)


def hit(text: str, cosine: float | None = 0.6, title: str = "Burbot 20", rank: int = 1) -> Hit:
    chunk = Chunk(f"c-{text}", "d", "default", "b.md", title, (), None, 0, len(text), text, 0)
    return Hit(chunk, 1.5, cosine, dense_rank=rank, bm25=9.0, bm25_rank=rank)


def calibration(**changes: object) -> Calibration:
    values: dict[str, object] = {
        "fingerprint": "f",
        "collection": "default",
        "names": ("cosine", "words"),
        "means": (0.5, 0.5),
        "scales": (0.1, 0.2),
        "weights": (1.0, 2.0),
        "bias": 0.0,
        "threshold": 0.5,
        "rule": "a rule",
        "fitted": {"n": 40},
    }
    return Calibration(**{**values, **changes})  # type: ignore[arg-type]


def test_evidence_that_holds_the_words_and_codes_shows_it() -> None:
    question = "How do I tighten the collar of the Burbot 20?"
    seen = features(question, [hit("Tightened collars hold at 3.2 N·m.")], count)
    assert seen["words"] == seen["codes"] == 1
    assert seen["unknown"] == 0
    assert seen["cosine"] == 0.6
    assert seen["bm25"] == pytest.approx(9 / 4)


def test_a_word_that_no_passage_holds_weighs_most() -> None:
    hits = [hit("The collar is tightened.")]
    known = features("tighten the collar of the Burbot 20", hits, count)
    strange = features("tighten the flange of the Burbot 20", hits, count)
    assert strange["unknown"] == pytest.approx(1 / 4)
    assert strange["words"] < known["words"] - 0.25


def test_a_code_that_is_not_in_the_evidence_is_missed() -> None:
    assert features("E-433 Burbot 20", [hit("E-431 means frost.")], count)["codes"] == 0.5


@pytest.mark.parametrize(
    "question", ["", "what is the", "???", "Что это такое 20?", "水深は", "x" * 8000]
)
def test_any_question_has_finite_features_with_and_without_evidence(question: str) -> None:
    for hits in ([], [hit("The collar.", None, rank=99)]):
        seen = features(question, hits, count)
        assert all(-1 <= value < 100 for value in seen.values())
        assert all(0 <= seen[name] <= 1 for name in ("words", "unknown", "codes"))


@given(st.floats(-1, 1), st.floats(0, 1))
def test_strength_is_a_probability_that_grows_with_what_weighs_positive(
    cosine: float, words: float
) -> None:
    fitted = calibration()
    low = fitted.strength({"cosine": cosine, "words": words})
    assert 0 < low < 1
    assert fitted.strength({"cosine": cosine + 0.1, "words": words}) >= low


def test_a_calibration_is_stored_as_plain_numbers_and_read_back(tmp_path: Path) -> None:
    path = write_calibration(calibration(), tmp_path)
    assert path.read_text(encoding="utf-8").startswith("{")
    assert read_calibration(tmp_path, "default") == calibration()
    assert read_calibration(tmp_path, "other") is None


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"names": 3}'])
def test_a_damaged_calibration_says_how_to_make_another(tmp_path: Path, content: str) -> None:
    write_calibration(calibration(), tmp_path).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="cannot be read") as error:
        read_calibration(tmp_path, "default")
    assert "groundtune calibrate" in error.value.hint


def test_the_fingerprint_names_what_shapes_the_evidence_and_nothing_else() -> None:
    sections = {
        "ingest": {"chunk_tokens": 96, "chunk_overlap": 16, "max_file_mb": 50},
        "retrieval": {"top_k": 6, "dense_weight": 0.7, "min_similarity": 0.25},
    }
    name = fingerprint("m", sections)
    same = {**sections, "ingest": {**sections["ingest"], "max_file_mb": 1}}
    assert fingerprint("m", same) == name
    assert fingerprint("other", sections) != name
    for section, key in (("ingest", "chunk_tokens"), ("retrieval", "dense_weight")):
        other = {**sections, section: {**sections[section], key: 7}}
        assert fingerprint("m", other) != name, key


def test_a_calibration_takes_the_place_of_the_similarity_rule() -> None:
    question = "tighten the collar"
    rule = Judge(min_similarity=0.5)
    assert rule.verdict(question, [hit("x", 0.6)], "default") == (True, None)
    assert not rule.verdict(question, [hit("x", 0.4)], "default").enough
    fitted = Judge(
        min_similarity=0.99,
        calibration=lambda collection: calibration() if collection == "default" else None,
        count=lambda collection, word, limit: count(word, limit),
    )
    strong = fitted.verdict(question, [hit("Tighten the collar.")], "default")
    weak = fitted.verdict(question, [hit("Something else.", 0.4)], "default")
    assert strong.enough
    assert strong.strength is not None
    assert not weak.enough
    assert not fitted.verdict(question, [], "default").enough
    assert fitted.verdict(question, [hit("Tighten the collar.")], "other") == (False, None)


def test_what_was_searched_names_each_near_document_once() -> None:
    said = searched([hit("a"), hit("b")], collection="default", documents=40).body()
    assert said["text"] == "I searched 40 documents in collection default; nearest: Burbot 20."
    assert [near["source"] for near in said["nearest"]] == ["b.md"]
    nothing = searched([], collection="c", documents=1).body()
    assert nothing["text"] == "I searched 1 document in collection c; nearest: nothing."


def test_a_calibration_for_other_settings_is_ignored_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = small_workspace(tmp_path, ScriptedEngine())
    write_calibration(calibration(fingerprint=opened.evidence_fingerprint), tmp_path)
    assert opened.judge.verdict("collar", [hit("x")], "default").strength is not None
    opened.close()
    changed = small_workspace(tmp_path, ScriptedEngine(), retrieval={"top_k": 3})
    with caplog.at_level(logging.WARNING):
        verdicts = [changed.judge.verdict("collar", [hit("x")], "default") for _ in range(2)]
    assert [verdict.strength for verdict in verdicts] == [None, None]
    (warning,) = caplog.messages
    assert "calibration of collection 'default' is ignored" in warning
    assert "groundtune calibrate QUESTIONS.jsonl --collection default" in warning
    changed.close()


@pytest.mark.parametrize(("threshold", "abstains"), [(0.0, False), (1.0, True)])
def test_the_assistant_abstains_below_the_threshold_and_says_how_strong_the_evidence_is(
    tmp_path: Path, threshold: float, abstains: bool
) -> None:
    (tmp_path / "pump.md").write_text("# Pump\n\nThe collar is tightened to 38 N·m.", "utf-8")
    engine = ScriptedEngine("It is 38 N·m.")
    opened = small_workspace(tmp_path / "w", engine, retrieval={"min_similarity": -1.0})
    opened.pipeline.run(find_files([str(tmp_path / "pump.md")]), collection="default")
    name = opened.evidence_fingerprint
    write_calibration(calibration(fingerprint=name, threshold=threshold), opened.home)

    def ask(mode: Mode) -> Answer:
        return asyncio.run(opened.assistant.answer(Ask("How tight is the collar?", mode=mode)))

    rag = ask("rag")
    assert rag.abstained == abstains
    assert len(engine.requests) == (not abstains)
    assert rag.strength is not None
    assert 0 < rag.strength < 1
    assert (rag.searched is not None) == abstains
    assert ask("base").strength is None  # nothing was searched, so nothing is judged
    opened.close()
