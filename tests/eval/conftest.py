"""Fakes that do the job smaller: a scripted assistant and an embedder of hashed words."""

import argparse
import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from assistant.answer import MODES, Answer, Ask, Citation, Evidence, Timings
from assistant.config import Settings
from eval.cache import Cache
from eval.command import add_arguments
from eval.metrics import score_all
from eval.plan import Plan
from eval.price import Prices
from eval.question import Question
from eval.recipe import Arm, Recipe
from eval.result import Report
from eval.run import answer_all
from eval.summary import summarise
from ingest.errors import EngineError, EngineUnavailableError
from ingest.files import Upload
from tests.fakes import ScriptedEngine
from tests.rig import FACTS, Counter, Rig, reply

HOUSE = {"type": "object", "required": ["answer"]}
BLANK = Answer(
    answer="",
    abstained=False,
    citations=(),
    mode="base",
    model="fake",
    adapter=None,
    prompt_tokens=10,
    completion_tokens=5,
    finish_reason="stop",
    timings=Timings(retrieve=1, first_token=20, generate=40, total=50),
    evidence=(),
    evidence_dropped=0,
    request_id="r",
)


class WordEmbedder:
    name = "words"
    max_tokens = 256

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.zeros((len(texts), 64), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.casefold().split():
                row[int(hashlib.md5(word.encode()).hexdigest(), 16) % 64] += 1
        norms: NDArray[np.float32] = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / norms

    def tokenize(self, text: str) -> list[str]:
        return text.split()


class ScriptedAssistant:
    """Answers by a function, remembers what it was asked, fails where the function says so."""

    def __init__(self, script: Callable[[Ask], str]) -> None:
        self.script = script
        self.asked: list[Ask] = []

    def of(self, arm: Arm) -> "ScriptedAssistant":
        return self

    async def answer(self, ask: Ask) -> Answer:
        self.asked.append(ask)
        text = self.script(ask)
        if text.startswith("GONE"):
            raise EngineUnavailableError(text)
        if text.startswith("FAIL"):
            raise EngineError(text)
        return replace(BLANK, answer=text, mode=ask.mode)


def evidence_from(*sources: str) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(n, f"c{n}", f"d{n}", source, "Title", "", None, 0, 4, "text", 0.1)
        for n, source in enumerate(sources, start=1)
    )


def citations_of(*sources: str) -> tuple[Citation, ...]:
    return tuple(
        Citation(n, f"c{n}", f"d{n}", source, "Title", "", None, 0, 4, "text", 0.9)
        for n, source in enumerate(sources, start=1)
    )


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "cache.sqlite") as opened:
        yield opened


@pytest.fixture
def planned() -> Callable[..., Plan]:
    """Make a plan: `planned(questions, arms, seed=1)`; every arm rests on the same things."""

    def make(questions: Sequence[Question], arms: Sequence[Arm], **values: Any) -> Plan:
        defaults: Mapping[str, Any] = {
            "examples": {},
            "collection": "default",
            "schema": None,
            "contexts": {arm.name: "index" for arm in arms},
            "engines": {arm.name: "model" for arm in arms},
            "adapters": {arm.name: "house:v1" for arm in arms if arm.tuned},
            "max_tokens": None,
            "temperature": 0.0,
            "seed": 0,
            "repeat": 1,
        }
        return Plan(questions=tuple(questions), arms=tuple(arms), **{**defaults, **values})

    return make


@pytest.fixture
def scripted() -> type[ScriptedAssistant]:
    return ScriptedAssistant


@pytest.fixture
def said() -> Callable[..., Answer]:
    """Make an answer: `said("text", cited=["a.md"], shown=["a.md"], abstained=True)`."""

    def make(text: str, **values: Any) -> Answer:
        cited = citations_of(*values.pop("cited", ()))
        shown = evidence_from(*values.pop("shown", ()))
        return replace(BLANK, answer=text, citations=cited, evidence=shown, **values)

    return make


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    documents = tmp_path / "documents"
    documents.mkdir()
    for name, fact in FACTS.items():
        text = f"# The {name}\n\nThe clamp screws of the {name} are tightened to {fact}.\n"
        (documents / f"{name}.md").write_text(text, encoding="utf-8")
    settings = Settings.model_validate({"home": tmp_path / "home"})
    with Rig(settings, ScriptedEngine(reply)) as workspace:
        uploads = [Upload(path.name, path, path.read_bytes) for path in sorted(documents.iterdir())]
        workspace.pipeline.run(uploads, collection="default")
        yield workspace


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    path = tmp_path / "questions.jsonl"
    rows = [
        {
            "id": name,
            "question": f"How tight are the clamp screws of the {name}?",
            "reference": f"They are tightened to {fact}.",
            "facts": [[fact]],
            "documents": [f"{name}.md"],
        }
        for name, fact in FACTS.items()
    ]
    rows.append({"id": "none", "question": "Who founded it?", "answerable": False})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def make(*arms: Arm, **values: Any) -> Recipe:
        plain = (Arm(name="base", mode="base"), Arm(name="rag", mode="rag"))
        return Recipe(questions=path, arm=arms or plain, resamples=199, **values)

    return make


@pytest.fixture
def parse() -> Callable[..., argparse.Namespace]:
    """Parse the words behind `groundtune eval`."""

    def words(*given: str) -> argparse.Namespace:
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        return parser.parse_args(given)

    return words


@pytest.fixture
def reported(
    embedder: WordEmbedder, planned: Callable[..., Plan], cache: Cache
) -> Callable[..., Report]:
    """Make a report of the four arms: `reported(questions, script)`."""

    def make(questions: Sequence[Question], script: Callable[[Ask], str]) -> Report:
        arms = tuple(Arm(name=mode, mode=mode) for mode in MODES)
        plan = planned(questions, arms, schema=HOUSE)

        async def go() -> tuple[Any, Any]:
            outcomes = await answer_all(plan, ScriptedAssistant(script), cache, Counter())
            cards = score_all(
                {q.id: q for q in questions},
                {a.name: a for a in arms},
                outcomes,
                schema=HOUSE,
                avoided=("gadget",),
                embedder=embedder,
                cache=cache,
                prices=Prices(()),
            )
            return outcomes, cards

        outcomes, cards = asyncio.run(go())
        summary = summarise(questions, arms, outcomes, cards, seed=1, resamples=199)
        manifest = {"seed": 1, "recipe": {"arm": [{"name": "base"}]}}
        return Report(
            "A report", "today", arms, tuple(questions), tuple(outcomes), tuple(cards), summary,
            manifest, 1,
        )  # fmt: skip

    return make
