"""A recipe and a workspace become a plan: everything is read, hashed and checked."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assistant import __version__
from assistant.adapter import AUTO, Adapter
from assistant.strength import Calibration, read_calibration
from assistant.workspace import Workspace
from eval.assistants import WorkspaceAssistants
from eval.calibrate import refuse_fitted
from eval.leaks import Search, find_leaks
from eval.plan import Plan
from eval.question import Question, check_documents, read_questions, sample
from eval.recipe import Arm, Recipe
from eval.standard import arms_of
from ingest.errors import ConfigError, DataError, NotFoundError

ENGINE_KEYS = {"kind", "url", "served_name", "model", "context_tokens"}


def settle(
    recipe: Recipe, workspace: Workspace, assistants: WorkspaceAssistants
) -> tuple[Plan, dict[str, Any]]:
    """Return the plan, and what the report says that its answers rest on.

    Raises:
        UsageError: the recipe, its questions or its adapter does not fit the workspace.
    """
    workspace.check_collection(recipe.collection)
    records = workspace.registry.documents(recipe.collection)
    done = [record for record in records if record.status == "done"]
    index = hashlib.sha256("\n".join(sorted(f"{r.source} {r.sha256}" for r in done)).encode())
    read = _read(recipe, {record.source for record in done}, workspace.home)
    adapters = {a.name: _adapter(recipe, a, assistants) for a in recipe.arm if a.tuned}
    tuned = list({adapter.reference: adapter for adapter in adapters.values()}.values())
    questions, leaks = _asked(recipe, read, tuned, workspace.home)
    settled = arms_of(recipe, workspace, questions, _teacher(recipe, workspace, tuned))
    rests_on = {
        arm.name: _rests_on(
            arm, assistants, adapters.get(arm.name), index.hexdigest(), recipe.collection
        )
        for arm in settled.arms
    }
    plan = Plan(
        questions=tuple(questions),
        arms=settled.arms,
        examples={name: shown.turns for name, shown in settled.shown.items()},
        collection=recipe.collection,
        schema=workspace.schema,
        contexts={name: json.dumps(values, sort_keys=True) for name, values in rests_on.items()},
        engines={arm.name: assistants.engine(arm) for arm in settled.arms},
        adapters={name: adapter.reference for name, adapter in adapters.items()},
        max_tokens=recipe.max_tokens,
        temperature=recipe.temperature,
        seed=recipe.seed,
        repeat=recipe.repeat,
    )
    used = sorted(adapter.reference for adapter in tuned)
    inputs = {
        "questions_sha256": _sha256(recipe.questions),
        "index_sha256": index.hexdigest(),
        "adapter": used[0] if len(used) == 1 else None,
        "adapters": {a.reference: _lineage(a) for a in tuned},
        "leaks": asdict(leaks),
        "arms": rests_on,
        "worked_examples": {name: list(s.rows) for name, s in settled.shown.items() if s.rows},
        "left_out": dict(settled.left_out),
    }
    return plan, inputs


def _read(recipe: Recipe, known: set[str], home: Path) -> list[Question]:
    """Return the questions of a recipe.

    Raises:
        DataError: a question is wrong, names an unknown document, or was calibrated on.
    """
    questions = read_questions(recipe.questions)
    check_documents(questions, known, f"collection {recipe.collection!r}")
    if any(arm.retrieves for arm in recipe.arm):
        refuse_fitted(questions, read_calibration(home, recipe.collection))
    return questions


def _asked(
    recipe: Recipe, questions: list[Question], adapters: Sequence[Adapter], home: Path
) -> tuple[list[Question], Search]:
    """Return the questions to ask, and what the search for leaks among all of them found.

    Raises:
        DataError: a question, or every one, was trained on.
    """
    leaks = find_leaks(questions, adapters, home)
    if recipe.leaks == "refuse":
        leaks.refuse()
    questions = [question for question in questions if question.id not in leaks.ids]
    if not questions:
        raise DataError(f"Every question of {recipe.questions} was trained on.")
    if recipe.limit is not None:
        questions = sample(questions, recipe.limit, seed=recipe.seed)
    return questions, leaks


def _adapter(recipe: Recipe, arm: Arm, assistants: WorkspaceAssistants) -> Adapter:
    """Return the adapter of a tuned arm; refuse one that misfits its model or prompt."""
    workspace = assistants.workspace(arm)
    named = arm.adapter or recipe.adapter or workspace.settings.answer.adapter
    if named == AUTO:
        raise ConfigError(
            f"Arm {arm.name!r} is to have the adapter 'auto', and arms are compared by what they "
            "have: name one.",
            hint='adapter = "house" in the recipe or the arm; `groundtune eval choice` measures '
            "the choice.",
        )
    try:
        adapter = workspace.adapters.get(named or None)
    except NotFoundError as error:
        hint = f"{error.hint or ''}\nWithout one, compare the arms that need none: --arms base,rag"
        raise NotFoundError(error.message, hint=hint.strip()) from None
    workspace.check_fit(adapter)
    return adapter


def _teacher(recipe: Recipe, workspace: Workspace, tuned: Sequence[Adapter]) -> Adapter | None:
    """Return the adapter whose training rows serve as worked examples; None without one."""
    if tuned or not any(arm.shots for arm in recipe.arm):
        return tuned[0] if tuned else None
    named = recipe.adapter or workspace.settings.answer.adapter or None
    try:
        return workspace.adapters.get(None if named == AUTO else named)
    except NotFoundError:
        return None


def _rests_on(
    arm: Arm,
    assistants: WorkspaceAssistants,
    adapter: Adapter | None,
    index_sha256: str,
    collection: str,
) -> dict[str, Any]:
    """Return everything besides the question that shapes the answers of an arm, and only that.

    A new adapter must not ask the untuned arms again, nor a new document those that read none.
    """
    workspace = assistants.workspace(arm)
    settings = workspace.settings
    name = "" if adapter is None else adapter.name
    spoken = {"system", "refusal", "abstention", "max_tokens"}
    values: dict[str, Any] = {
        "groundtune": __version__,
        "prompt_fingerprint": workspace.contract_of(name),
        "base_sha256": workspace.base_sha256,
        "engine": settings.engine.model_dump(mode="json", include=ENGINE_KEYS),
        "answer": settings.voice_of(name).model_dump(mode="json", include=spoken),
        "schema_sha256": _schema_sha256(workspace.schema),
    }
    if arm.retrieves:
        values["index_sha256"] = index_sha256
        calibration = read_calibration(workspace.home, collection)
        values["calibration"] = None if calibration is None else _numbers(calibration)
        for section in (settings.embedding, settings.ingest, settings.retrieval):
            name = type(section).__name__.removesuffix("Settings").lower()
            values[name] = section.model_dump(mode="json")
    if adapter is not None:
        values["adapter"] = adapter.reference
        values["adapter_sha256"] = _sha256(adapter.file.gguf)
    return values


def _numbers(calibration: Calibration) -> dict[str, Any]:
    """Return what shapes answers of a calibration; what it was fitted to does not."""
    return {key: value for key, value in asdict(calibration).items() if key != "fitted"}


def _schema_sha256(schema: Mapping[str, Any] | None) -> str | None:
    if schema is None:
        return None
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()


def _lineage(adapter: Adapter) -> dict[str, Any]:
    """Return what an adapter says of where it comes from."""
    keep = ("dataset", "base", "base_sha256", "created", "seed")
    return {key: adapter.manifest[key] for key in keep if key in adapter.manifest}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
