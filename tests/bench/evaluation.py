"""What the evaluation harness costs beside the answers themselves, and how quickly a page opens."""

import json
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from assistant.answer import Answer, Ask, Evidence
from assistant.assistant import Assistant
from assistant.config import Settings
from assistant.engines.engine import Engine, Message, Piece, Request
from assistant.workspace import Workspace
from eval.evaluate import evaluate
from eval.outcome import Outcome
from eval.question import Question
from eval.recipe import STANDARD, Arm, Recipe
from eval.report import as_html
from eval.result import Report
from eval.score import COSTS, METRICS, Score
from eval.summary import summarise
from ingest.files import find_files
from tests.bench.index import EXAMPLES
from tests.fakes import ScriptedEngine

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIVE = 30
"""Questions that the real model is asked, by two arms."""
MANY = 250
"""Questions of the cached rerun, by four arms: 1,000 answers."""
PAGE = 2000
"""Questions of the page, by the six standard arms."""
LOADS = 3


class Spent(NamedTuple):
    """Seconds that something took; on a busy machine only those of the processor tell."""

    wall: float
    processor: float
    """Of this process, all threads: the embedded model among them."""

    def since(self, before: "Spent") -> "Spent":
        return Spent(self.wall - before.wall, self.processor - before.processor)

    def and_(self, more: "Spent") -> "Spent":
        return Spent(self.wall + more.wall, self.processor + more.processor)

    def __str__(self) -> str:
        return f"{self.wall:.1f} s ({self.processor:.1f} processor seconds)"


def now() -> Spent:
    return Spent(time.perf_counter(), time.process_time())


def spent(work: Callable[[], object]) -> Spent:
    began = now()
    work()
    return now().since(began)


class Clocked:
    """An engine that adds up the seconds it is at work: until a piece is there, and no longer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name, self.context_tokens = engine.name, engine.context_tokens
        self.spent = Spent(0.0, 0.0)

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        began = now()
        try:
            yield
        finally:
            self.spent = self.spent.and_(now().since(began))

    async def prompt_tokens(self, messages: Sequence[Message]) -> list[int]:
        """Ask the engine."""
        with self._at_work():
            return await self._engine.prompt_tokens(messages)

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        """Ask the engine."""
        pieces = self._engine.stream(request)
        while True:
            with self._at_work():
                piece = await anext(pieces, None)
            if piece is None:
                return
            yield piece

    async def check(self) -> None:
        """Ask the engine."""
        await self._engine.check()

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()


class Answering:
    """An assistant that adds up what its answers take: search, prompt, model, citations."""

    def __init__(self, assistant: Assistant) -> None:
        self._assistant = assistant
        self.spent = Spent(0.0, 0.0)

    async def answer(self, ask: Ask) -> Answer:
        """Return the cited answer."""
        began = now()
        answer = await self._assistant.answer(ask)
        self.spent = self.spent.and_(now().since(began))
        return answer


def measure(settings: Settings) -> Iterator[str]:
    """Yield the lines of overhead, of a cached rerun, and of a page of 2,000 questions."""
    with tempfile.TemporaryDirectory() as folder:
        home = settings.model_copy(update={"home": Path(folder)})
        with Workspace(home) as workspace:
            workspace.pipeline.run(find_files([str(EXAMPLES / "documents")]), collection="default")
            yield overhead(workspace)
        with Workspace(home) as workspace:
            workspace.engine = ScriptedEngine('{"answer": "It is 25 N·m.", "sources": []}')
            yield rerun(workspace)
    yield from page()


def overhead(workspace: Workspace) -> str:
    """A whole evaluation against the language model's own time in it."""
    workspace.engine = engine = Clocked(workspace.engine)
    answering = Answering(workspace.assistant)
    workspace.assistant = answering  # type: ignore[assignment]  # all that an evaluation asks of it
    arms = (Arm(name="base", mode="base"), Arm(name="rag", mode="rag"))
    recipe = Recipe(
        questions=EXAMPLES / "questions.jsonl",
        arm=arms,
        limit=LIVE,
        max_tokens=128,
        parallel=1,  # side by side, the model's seconds would overlap
    )
    workspace.retriever.search("warm", k=1)  # the embedding model loads once a process
    whole = spent(lambda: evaluate(recipe, workspace, now=NOW))
    model, harness = engine.spent, whole.since(answering.spent)
    search = answering.spent.since(model)
    share = 100 * harness.wall / model.wall, 100 * harness.processor / model.processor
    return (
        f"evaluation of {LIVE} questions x 2 arms: {whole}; of that the model {model}, search, "
        f"prompts and citations {search}, the harness (imports, cache, scores, statistics, report) "
        f"{harness}: {share[0]:.1f} % of the model's by the clock, {share[1]:.1f} % by the "
        "processor"
    )


def rerun(workspace: Workspace) -> str:
    """Answers that are all in the cache."""
    rows = [json.loads(line) for line in (EXAMPLES / "questions.jsonl").read_text().splitlines()]
    path = workspace.home / "many.jsonl"
    many = [
        {
            **rows[n % len(rows)],
            "id": f"{n}",
            "question": f"{rows[n % len(rows)]['question']} ({n})",
        }
        for n in range(MANY)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in many), encoding="utf-8")
    arms = (
        Arm(name="base", mode="base"),
        Arm(name="rag", mode="rag"),
        Arm(name="terse", mode="base", system="Be terse."),
        Arm(name="plain", mode="base", system="Be plain."),  # searching 250 times is slow enough
    )
    recipe = Recipe(questions=path, arm=arms)
    evaluate(recipe, workspace, now=NOW)
    again = spent(lambda: evaluate(recipe, workspace, now=NOW.replace(hour=1)))
    return f"rerun of {4 * MANY} cached answers: {again} (scores, statistics, report)"


def measure_page(settings: Settings) -> Iterator[str]:
    """Yield the lines of the page alone: half a minute."""
    yield from page()


def page() -> Iterator[str]:
    """A page of 2,000 questions by six arms: its size, and Chromium's time to open it."""
    report = large()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        took = spent(lambda: path.write_text(as_html(report), encoding="utf-8"))
        size = path.stat().st_size / 1e6
        yield f"page of {PAGE} questions x {len(STANDARD)} arms: {size:.1f} MB, written in {took}"
        browser = shutil.which("chromium") or shutil.which("chromium-browser")
        if browser is None:
            yield "  Chromium is not installed: how quickly it opens was not measured"
            return
        blank = Path(folder) / "blank.html"
        blank.write_text("<!doctype html><title>x</title>", encoding="utf-8")
        times = [
            (_opened(browser, path, folder), _opened(browser, blank, folder)) for _ in range(LOADS)
        ]
        opened, started = (min(column) for column in zip(*times, strict=True))
        more = opened.processor - started.processor
        yield (
            f"  opened in Chromium, table built: {opened.wall - started.wall:.2f} s beyond an "
            f"empty page's {started.wall:.2f} s, {more:.2f} processor seconds beyond its "
            f"{started.processor:.2f} (best of {LOADS})"
        )


def _opened(browser: str, path: Path, folder: str) -> Spent:
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/chrome",
        "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if path.name == "report.html" and b"2000 of 2000 questions" not in done.stdout:
        raise RuntimeError("the table of the page was not built")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(took, processor)


def large() -> Report:
    """Return a report of 2,000 questions, with answers and passages as long as real ones."""
    arms = STANDARD
    questions = tuple(
        Question(
            id=f"q{n}",
            question=f"How tightly do I turn the two screws that hold cover {n} of the Sculpin?",
            reference=f"They are tightened to {n} N·m.",
            facts=((f"{n} N·m",),),
            documents=(f"manuals/{n % 300}.md",),
        )
        for n in range(PAGE)
    )
    outcomes = tuple(_outcome(q, arm) for q in questions for arm in arms)
    cards = tuple(
        {
            m.name: Score(float((n + k) % 2), "as it came out")
            for k, m in enumerate((*METRICS, *COSTS))
        }
        for n in range(len(outcomes))
    )
    summary = summarise(questions, arms, outcomes, cards, seed=0, resamples=99)
    return Report(
        "A large report", "today", arms, questions, outcomes, cards, summary, {"seed": 0}, 1
    )


def _outcome(question: Question, arm: Arm) -> Outcome:
    from tests.eval.conftest import BLANK

    text = json.dumps(
        {
            "answer": f"{arm.name} says of {question.id}: {question.reference} Turn them in turn.",
            "steps": ["Loosen the cover.", f"Tighten it to {question.id}."],
            "part_numbers": [],
            "safety_note": "",
        }
    )
    passages: Any = ()
    if arm.retrieves:
        passages = tuple(
            Evidence(
                k, f"{question.id}{k}", "d", f"manuals/{k}.md", "Title", "", None, 0, 200,
                f"Passage {k} about {question.id}. " + "The cover is held by screws. " * 7, 0.5,
            )
            for k in (1, 2)
        )  # fmt: skip
    return Outcome(
        question.id, arm.name, "k", replace(BLANK, answer=text, evidence=passages, mode=arm.mode)
    )
