"""One evaluation from recipe to report."""

import asyncio
import hashlib
import json
import platform
import time
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from assistant.adapter import check_fit
from assistant.workspace import Workspace
from eval.metrics import score_all
from eval.outcome import Outcome
from eval.progress import Bar
from eval.question import check_documents, read_questions, sample
from eval.recipe import Recipe, read_avoided, read_examples
from eval.report import HTML, JSON, Report, write_report
from eval.run import Plan, answer_all
from eval.score import Score
from eval.summary import summarise

PACKAGES = (
    "groundtune",
    "ragas",
    "scipy",
    "numpy",
    "xllamacpp",
    "sentence-transformers",
    "chromadb",
)
STAMP = "%Y%m%dT%H%M%SZ"


def evaluate(
    recipe: Recipe, workspace: Workspace, *, now: datetime, out: Path | None = None
) -> dict[str, Any]:
    """Run `recipe` in `workspace` and write the report; return its place and its numbers.

    `out` None takes a new folder under the workspace's `reports/`, or the one that a stopped run
    of the very same recipe has left there.

    Raises:
        UsageError: the recipe, its questions or its adapter does not fit the workspace.
    """
    started = time.perf_counter()
    inputs = _inputs(recipe, workspace)
    plan = _plan(recipe, workspace, inputs)
    folder = out if out is not None else _folder(workspace.home / "reports", plan, now)
    folder.mkdir(parents=True, exist_ok=True)
    outcomes, cards = asyncio.run(_answer_and_score(recipe, plan, workspace, folder))
    summary = summarise(
        plan.questions, plan.arms, outcomes, cards, seed=recipe.seed, resamples=recipe.resamples
    )
    manifest = {
        **inputs,
        "run": plan.fingerprint(),
        "recipe": recipe.model_dump(mode="json"),
        "questions": len(plan.questions),
        "seconds": round(time.perf_counter() - started, 1),
        "python": platform.python_version(),
        "packages": _versions(),
    }
    report = Report(
        title="What retrieval and tuning are worth",
        created=now.strftime("%Y-%m-%d %H:%M UTC"),
        arms=plan.arms,
        questions=plan.questions,
        outcomes=tuple(outcomes),
        cards=tuple(cards),
        summary=summary,
        manifest=manifest,
        parallel=recipe.parallel,
    )
    paths = write_report(report, folder)
    written = json.loads(paths[JSON].read_text(encoding="utf-8"))
    return {
        "report": str(folder),
        "html": str(paths[HTML]),
        "summary": written["summary"],
        "sentences": written["sentences"],
    }


async def _answer_and_score(
    recipe: Recipe, plan: Plan, workspace: Workspace, folder: Path
) -> tuple[list[Outcome], list[dict[str, Score]]]:
    avoided = () if recipe.terms is None else read_avoided(recipe.terms)
    with Bar(len(plan.questions) * len(plan.arms)) as bar:
        outcomes = await answer_all(
            plan, workspace.assistant, folder, bar, parallel=recipe.parallel
        )
    cards = await score_all(
        {question.id: question for question in plan.questions},
        {arm.name: arm for arm in plan.arms},
        outcomes,
        schema=plan.schema,
        avoided=avoided,
        embedder=workspace.embedder,
    )
    return outcomes, cards


def _inputs(recipe: Recipe, workspace: Workspace) -> dict[str, Any]:
    """Return the hashes of everything that the answers rest on; refuse an adapter that misfits."""
    workspace.check_collection(recipe.collection)
    records = workspace.registry.documents(recipe.collection)
    index = "\n".join(sorted(f"{r.source} {r.sha256}" for r in records if r.status == "done"))
    inputs: dict[str, Any] = {
        "questions_sha256": _sha256(recipe.questions),
        "index_sha256": hashlib.sha256(index.encode()).hexdigest(),
        "prompt_fingerprint": workspace.prompt_fingerprint,
        "base_model": workspace.settings.engine.model,
        "base_sha256": workspace.base_sha256,
        "adapter": None,
        # What shapes answers but stands in no hash above.
        "settings": workspace.settings.model_dump(
            mode="json", include={"engine", "embedding", "ingest", "retrieval", "answer"}
        ),
    }
    if any(arm.tuned for arm in recipe.arm):
        adapter = workspace.adapters.get(recipe.adapter)
        check_fit(
            adapter,
            prompt_fingerprint=workspace.prompt_fingerprint,
            base_sha256=workspace.base_sha256,
        )
        inputs["adapter"] = adapter.reference
        inputs["adapter_sha256"] = _sha256(adapter.file.gguf)
    return inputs


def _plan(recipe: Recipe, workspace: Workspace, inputs: Mapping[str, Any]) -> Plan:
    questions = read_questions(recipe.questions)
    records = workspace.registry.documents(recipe.collection)
    known = {record.source for record in records if record.status == "done"}
    check_documents(questions, known, f"collection {recipe.collection!r}")
    if recipe.limit is not None:
        questions = sample(questions, recipe.limit, seed=recipe.seed)
    shaping = {key: value for key, value in inputs.items() if key != "questions_sha256"}
    return Plan(
        questions=tuple(questions),
        arms=recipe.arm,
        examples={a.name: read_examples(a.examples) for a in recipe.arm if a.examples},
        collection=recipe.collection,
        adapter=inputs["adapter"],
        schema=workspace.schema,
        max_tokens=recipe.max_tokens,
        seed=recipe.seed,
        context=json.dumps(shaping, sort_keys=True),
    )


def _folder(reports: Path, plan: Plan, now: datetime) -> Path:
    fingerprint = plan.fingerprint()
    stopped = [f for f in sorted(reports.glob(f"*-{fingerprint}")) if not (f / JSON).exists()]
    return stopped[-1] if stopped else reports / f"{now.strftime(STAMP)}-{fingerprint}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
