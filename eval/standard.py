"""What the arms that a recipe need not name rest on: worked examples, and a schema.

Few-shot and schema-constrained retrieval are rivals that need no training, so they are compared
without being asked for. What cannot be carried out in a workspace is left out, with the reason.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from assistant.adapter import Adapter
from assistant.prompt import Turn, passages_of, question_of
from assistant.workspace import Workspace
from eval.leaks import trained_on
from eval.question import Question
from eval.recipe import Arm, Recipe, read_examples
from ingest.errors import ConfigError, DataError

CHARS_PER_TOKEN = 3
"""Fewer than nearly every text has, so that what fits by it fits."""
ROOM = 0.5
"""Share of the context that worked examples may take: evidence and answer need the rest."""
LONGER = 2
"""A constrained answer fills what the schema allows, so it gets the room to end."""
HINT = 'Name a file of them in an arm: examples = "worked_examples.jsonl"'


class Shown(NamedTuple):
    """Worked examples of an arm."""

    turns: tuple[Turn, ...]
    rows: tuple[str, ...] = ()
    """What the training rows were made of, where they were drawn."""


class Arms(NamedTuple):
    """The arms of a run."""

    arms: tuple[Arm, ...]
    shown: Mapping[str, Shown]
    """Arm name -> its worked examples, if it has any."""
    left_out: Mapping[str, str]
    """Standard arm -> why it cannot be carried out."""


def arms_of(
    recipe: Recipe,
    workspace: Workspace,
    questions: Sequence[Question],
    adapter: Adapter | None,
) -> Arms:
    """Return the arms of `recipe`; examples are drawn from what `adapter` was trained on.

    Raises:
        DataError: an arm that the recipe names has no examples to show.
        ConfigError: it is constrained to a schema, and there is none.
    """
    arms: list[Arm] = []
    shown: dict[str, Shown] = {}
    left_out: dict[str, str] = {}
    for arm in recipe.arm:
        try:
            _check_schema(arm, workspace.schema, questions)
            found = _shown(arm, workspace, adapter, recipe.seed)
        except (ConfigError, DataError) as error:
            if not recipe.standard:
                raise
            left_out[arm.name] = error.message
            continue
        if found.turns:
            shown[arm.name] = found
        arms.append(_with_room(arm, recipe, workspace) if recipe.standard else arm)
    return Arms(tuple(arms), shown, left_out)


def drawn(adapter: Adapter, workspace: Workspace, n: int, *, seed: int) -> Shown:
    """Return up to `n` of the rows that `adapter` was trained on, those that show passages.

    Fewer where they would not leave half of the model's context to the question.

    Raises:
        DataError: the data set is not here, or none of its rows will do.
    """
    said = f"Worked examples are drawn from what {adapter.reference} was trained on, and"
    try:
        rows = [row for row in trained_on(adapter, workspace.home, _row) if row is not None]
    except DataError as error:
        raise DataError(f"{said} {error.message}.", hint=HINT) from None
    rows.sort(key=lambda row: hashlib.sha256(f"{seed}:{row[0]}:{row[1]}".encode()).hexdigest())
    room = ROOM * CHARS_PER_TOKEN * workspace.settings.engine.context_tokens
    kept: list[tuple[str, Turn]] = []
    for source, turn in rows:
        size = sum(len(p.label) + len(p.text) for p in turn.passages) + len(turn.answer)
        size += 2 * len(turn.question)
        if size <= room and len(kept) < n:
            room -= size
            kept.append((source, turn))
    if not kept:
        raise DataError(
            f"{said} no row of its data set shows passages and leaves room for a question.",
            hint=HINT,
        )
    return Shown(tuple(turn for _, turn in kept), tuple(source for source, _ in kept))


def _shown(arm: Arm, workspace: Workspace, adapter: Adapter | None, seed: int) -> Shown:
    if arm.examples is not None:
        return Shown(read_examples(arm.examples))
    if not arm.shots:
        return Shown(())
    if adapter is None:
        raise DataError(
            f"The worked examples of arm {arm.name!r} are drawn from what an adapter was trained "
            "on, and there is none.",
            hint=HINT,
        )
    return drawn(adapter, workspace, arm.shots, seed=seed)


def _row(row: Mapping[str, Any]) -> tuple[str, Turn] | None:
    """Return a training row as a worked example; None where it shows no passages."""
    asked, answer = (str(message["content"]) for message in row["messages"][-2:])
    passages = passages_of(asked)
    if not passages:
        return None
    return str(row.get("source", "")), Turn(question_of(asked), answer, passages)


def _check_schema(arm: Arm, house: Mapping[str, Any] | None, questions: Sequence[Question]) -> None:
    if arm.constrain and house is None and any(q.json_schema is None for q in questions):
        raise ConfigError(
            f"Arm {arm.name!r} is constrained to a schema, and there is none.",
            hint="Name one in groundtune.toml: [answer] schema_file = 'answer.schema.json'",
        )


def _with_room(arm: Arm, recipe: Recipe, workspace: Workspace) -> Arm:
    """Return a standard arm; a constrained one may write longer answers than the others."""
    if not arm.constrain:
        return arm
    settings = workspace.settings
    usual = recipe.max_tokens or settings.answer.max_tokens
    longer = max(usual, min(LONGER * usual, settings.engine.context_tokens // 4))
    return arm.model_copy(update={"max_tokens": longer})
