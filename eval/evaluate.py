"""One evaluation from recipe to report."""

import asyncio
import json
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from assistant.workspace import Workspace
from eval.assistants import WorkspaceAssistants
from eval.cache import Cache
from eval.cluster import Cluster
from eval.judge import Judge
from eval.judged import (
    Judged,
    Judgements,
    Noise,
    judge_all,
    noise_of,
    read_labels,
    summarise_judged,
)
from eval.metrics import score_all
from eval.outcome import Outcome
from eval.plan import Plan
from eval.price import Prices
from eval.probe import Agreement, probe, read_probe
from eval.progress import Bar
from eval.question import clusters_of
from eval.recipe import Arm, Recipe, read_avoided
from eval.report import HTML, JSON, write_report
from eval.result import Report
from eval.run import Progress, answer_all
from eval.score import Score
from eval.settle import settle
from eval.summary import summarise

PACKAGES = (
    "groundtune",
    "ragas",
    "scipy",
    "statsmodels",
    "numpy",
    "xllamacpp",
    "sentence-transformers",
    "chromadb",
)
STAMP = "%Y%m%dT%H%M%SZ"


def evaluate(
    recipe: Recipe,
    workspace: Workspace,
    *,
    now: datetime,
    out: Path | None = None,
    cluster: Cluster | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
    progress: Callable[[int], AbstractContextManager[Progress]] = Bar,
) -> dict[str, Any]:
    """Run `recipe` in `workspace` and write the report; return its place and its numbers.

    `out` None takes a new folder under the workspace's `reports/`. Answers that the workspace has
    already are not asked for again, so a run that was stopped goes on where it was. Models that run
    in process run on the `cluster`, where there is one. `loop` is the event loop that the
    workspace's model belongs to, where that is not the run's own; `progress` gets the number of
    answers and is told of each.

    Raises:
        UsageError: the recipe, its questions or its adapter does not fit the workspace.
    """
    started = time.perf_counter()
    with (
        WorkspaceAssistants(
            workspace, (*recipe.arm, *_judge_arm(recipe)), cluster, loop
        ) as assistants,
        Cache(workspace.home / "cache" / "evaluation.sqlite") as cache,
    ):
        plan, inputs = settle(recipe, workspace, assistants)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)  # one that cannot be written is known at once
        parallel = recipe.parallel
        if cluster is not None:
            parallel = max(parallel, cluster.workers(workspace.settings.engine.threads)[0])
        outcomes, cards = asyncio.run(
            _answer_and_score(recipe, plan, workspace, assistants, cache, progress, parallel)
        )
        judgements, judged = _judge(recipe, plan, outcomes, workspace, assistants, cache)
    summary = summarise(
        plan.questions, plan.arms, outcomes, cards, seed=recipe.seed, resamples=recipe.resamples
    )
    manifest = {
        **inputs,
        **_facts(recipe, plan, outcomes),
        "seconds": round(time.perf_counter() - started, 1),
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
        parallel=parallel,
        judged=judged,
        judgements=judgements,
    )
    reports = workspace.home / "reports"
    return _written(report, out or reports / f"{now.strftime(STAMP)}-{plan.fingerprint()}")


def _facts(recipe: Recipe, plan: Plan, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "run": plan.fingerprint(),
        "recipe": recipe.model_dump(mode="json"),
        "questions": len(plan.questions),
        "answers": len(outcomes),
        "answers_from_cache": sum(outcome.cached for outcome in outcomes),
        "python": platform.python_version(),
        "packages": _versions(),
    }


def _written(report: Report, folder: Path) -> dict[str, Any]:
    """Write the report; return its place and its numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = write_report(report, folder)
    written = json.loads(paths[JSON].read_text(encoding="utf-8"))
    return {
        "report": str(folder),
        "html": str(paths[HTML]),
        "unanswered": sum(report.summary.failed.values()),
        "summary": written["summary"],
        "sentences": written["sentences"],
    }


async def _answer_and_score(
    recipe: Recipe,
    plan: Plan,
    workspace: Workspace,
    assistants: WorkspaceAssistants,
    cache: Cache,
    progress: Callable[[int], AbstractContextManager[Progress]],
    parallel: int,
) -> tuple[list[Outcome], list[dict[str, Score]]]:
    avoided = () if recipe.terms is None else read_avoided(recipe.terms)
    answers = sum(plan.repeats(arm) for arm in plan.arms) * len(plan.questions)
    with progress(answers) as bar:
        outcomes = await answer_all(plan, assistants, cache, bar, parallel=parallel)
    cards = score_all(
        {question.id: question for question in plan.questions},
        {arm.name: arm for arm in plan.arms},
        outcomes,
        schema=plan.schema,
        avoided=avoided,
        embedder=workspace.embedder,
        cache=cache,
        prices=Prices(recipe.price),
    )
    return outcomes, cards


def _judge_arm(recipe: Recipe) -> tuple[Arm, ...]:
    """Return what opens the judge's language model, as arms open theirs."""
    if recipe.judge is None:
        return ()
    return (Arm(name="the-judge", mode="base", engine=recipe.judge.engine),)


def _judge(
    recipe: Recipe,
    plan: Plan,
    outcomes: Sequence[Outcome],
    workspace: Workspace,
    assistants: WorkspaceAssistants,
    cache: Cache,
) -> tuple[Judgements, Judged | None]:
    settings = recipe.judge
    if settings is None:
        return {}, None
    labels = [] if settings.agreement is None else read_labels(settings.agreement)
    (arm,) = _judge_arm(recipe)
    assistants.of(arm)  # closes the model of the last arm
    home = assistants.workspace(arm)
    judge = Judge(
        home.engine,
        f"{assistants.engine(arm)} {home.base_sha256}",
        workspace.embedder,
        cache,
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        rubric=settings.rubric,
    )
    questions = {question.id: question for question in plan.questions}

    async def go() -> tuple[Agreement, Judgements, Noise]:
        pairs = read_probe()
        scores = sum(o.repeat == 0 for o in outcomes) * len(settings.metrics)
        with Bar(len(pairs) + scores, doing="judging", done="judged") as bar:
            fitness = await probe(judge, pairs, bar)
            found = await judge_all(judge, settings, questions, outcomes, bar, seed=recipe.seed)
        noise = await noise_of(judge, settings, questions, outcomes, found, seed=recipe.seed)
        return fitness, found, noise

    fitness, judgements, noise = asyncio.run(go())
    return judgements, summarise_judged(
        assistants.engine(arm),
        fitness,
        settings,
        [a.name for a in plan.arms],
        judgements,
        noise,
        labels,
        clusters_of(plan.questions),
        seed=recipe.seed,
        resamples=recipe.resamples,
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
