import asyncio
import json
from pathlib import Path

import pytest

from assistant.answer import Answer, Ask
from assistant.prompt import Turn
from ingest.errors import EngineError, MismatchError, NotFoundError, TooLargeError
from ingest.files import find_files
from tests.fakes import ScriptedEngine, SmallWorkspace, small_workspace

REFUSAL = "I cannot find this in the documents."


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "pump.md").write_text(
        "# Pump\n\n## Torque\n\nTighten the pump collar to 38 N·m.\n\n"
        "## Oil\n\nChange the pump oil every 90 days.",
        encoding="utf-8",
    )
    return folder


def workspace(
    tmp_path: Path, docs: Path, engine: ScriptedEngine, *, min_similarity: float = -1.0
) -> SmallWorkspace:
    retrieval: dict[str, object] = {"min_similarity": min_similarity}
    opened = small_workspace(tmp_path / "w", engine, retrieval=retrieval)
    opened.pipeline.run(find_files([str(docs)]), collection="default")
    return opened


def ask(opened: SmallWorkspace, **fields: object) -> Answer:
    return asyncio.run(opened.assistant.answer(Ask(**fields)))  # type: ignore[arg-type]


def test_rag_shows_evidence_and_cites_it(tmp_path: Path, docs: Path) -> None:
    engine = ScriptedEngine("Tighten it to 38 N·m.")
    answer = ask(workspace(tmp_path, docs, engine), question="pump collar torque", mode="rag")
    assert answer.answer == "Tighten it to 38 N·m. [1]"
    assert answer.citations[0].quote == "Tighten the pump collar to 38 N·m."
    assert answer.citations[0].heading == "Torque"
    assert "Tighten the pump collar to 38 N·m." in engine.requests[0].messages[-1].content
    assert not answer.abstained


def test_base_differs_from_rag_in_the_evidence_alone(tmp_path: Path, docs: Path) -> None:
    engine = ScriptedEngine()
    opened = workspace(tmp_path, docs, engine)
    ask(opened, question="pump collar torque", mode="base")
    ask(opened, question="pump collar torque", mode="rag")
    base, rag = engine.requests
    assert base.messages[0] == rag.messages[0]
    assert base.messages[-1].content == "Question: pump collar torque"
    assert rag.messages[-1].content.endswith("Question: pump collar torque")
    assert (base.max_tokens, base.temperature, base.adapter) == (
        rag.max_tokens, rag.temperature, rag.adapter,
    )  # fmt: skip


def test_weak_evidence_abstains_without_asking_the_model(tmp_path: Path, docs: Path) -> None:
    engine = ScriptedEngine()
    opened = workspace(tmp_path, docs, engine, min_similarity=0.4)
    answer = ask(opened, question="zebra quilt opera", mode="rag")
    assert answer.abstained
    assert answer.answer == REFUSAL
    assert answer.citations == ()
    assert engine.requests == []


def test_a_model_that_refuses_has_abstained_and_cites_nothing(tmp_path: Path, docs: Path) -> None:
    engine = ScriptedEngine(f"Sorry. {REFUSAL}")
    answer = ask(workspace(tmp_path, docs, engine), question="pump oil price", mode="rag")
    assert answer.abstained
    assert answer.citations == ()


def test_the_weakest_evidence_goes_first_when_the_window_is_small(
    tmp_path: Path, docs: Path
) -> None:
    engine = ScriptedEngine("38 N·m.", context_tokens=168)
    opened = workspace(tmp_path, docs, engine)
    long = "pump collar torque " + "and so on " * 8
    answer = ask(opened, question=long, mode="rag", max_tokens=64)
    assert answer.evidence_dropped == 1
    assert [e.heading for e in answer.evidence] == ["Torque"]


def test_a_question_that_does_not_fit_is_refused(tmp_path: Path, docs: Path) -> None:
    opened = workspace(tmp_path, docs, ScriptedEngine(context_tokens=256))
    with pytest.raises(TooLargeError, match="the window has room for"):
        ask(opened, question="pump " * 500, mode="base")


def test_tuned_modes_switch_the_adapter_on(tmp_path: Path, docs: Path) -> None:
    engine = ScriptedEngine()
    opened = workspace(tmp_path, docs, engine)
    adapter(opened, prompt="prompt", base="base")
    answer = ask(opened, question="pump oil", mode="finetuned")
    assert answer.adapter == "house:v1"
    assert engine.requests[0].adapter is not None
    assert ask(opened, question="pump oil", mode="rag").adapter is None


def test_an_adapter_of_another_prompt_is_refused_before_the_model_is_asked(
    tmp_path: Path, docs: Path
) -> None:
    engine = ScriptedEngine()
    opened = workspace(tmp_path, docs, engine)
    adapter(opened, prompt="other", base="base")
    with pytest.raises(MismatchError, match="another prompt"):
        ask(opened, question="pump oil", mode="combined")
    assert engine.requests == []


def test_what_does_not_exist_is_answered_with_what_does(tmp_path: Path, docs: Path) -> None:
    opened = workspace(tmp_path, docs, ScriptedEngine())
    with pytest.raises(NotFoundError, match="base, rag, finetuned, combined"):
        ask(opened, question="x", mode="magic")
    with pytest.raises(NotFoundError, match="no tuned adapter in this workspace yet"):
        ask(opened, question="x", mode="combined")
    with pytest.raises(NotFoundError, match=r"no collection 'other'. There are: default"):
        opened.check_collection("other")


def test_a_broken_generation_is_never_an_answer(tmp_path: Path, docs: Path) -> None:
    opened = workspace(tmp_path, docs, ScriptedEngine("one two three", fail_after=2))
    with pytest.raises(EngineError, match="fell over"):
        ask(opened, question="pump oil", mode="rag")


def test_earlier_turns_reach_the_model(tmp_path: Path, docs: Path) -> None:
    engine = ScriptedEngine()
    turn = Turn("Earlier?", "Yes.")
    ask(workspace(tmp_path, docs, engine), question="pump oil", mode="base", history=(turn,))
    assert [m.content for m in engine.requests[0].messages[1:3]] == ["Question: Earlier?", "Yes."]


def adapter(opened: SmallWorkspace, *, prompt: str, base: str) -> None:
    folder = opened.home / "adapters" / "house" / "v1"
    folder.mkdir(parents=True)
    manifest = {"prompt_fingerprint": prompt, "base_sha256": base, "created": "2026"}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
