"""An evaluation inside a service that goes on answering: its model, its index, its event loop."""

import asyncio
import json
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from assistant.evaluations import Order
from assistant.workspace import Workspace
from eval.evaluate import evaluate
from eval.recipe import Recipe
from ingest.errors import DataError


class Steps:
    """Tells a function how far a run is."""

    def __init__(self, total: int, told: Callable[[int, int], None]) -> None:
        self._done = 0
        self._total = total
        self._told = told

    def __enter__(self) -> "Steps":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is left to tell."""

    def advance(self) -> None:
        """One more answer is there."""
        self._done += 1
        self._told(self._done, self._total)


def evaluate_served(
    workspace: Workspace,
    order: Order,
    *,
    loop: asyncio.AbstractEventLoop,
    on_answer: Callable[[int, int], None],
) -> Mapping[str, Any]:
    """Compare standard arms, one question after the other, so that others are hardly held up.

    `loop` is the one that the workspace's model belongs to; `on_answer` gets how many answers there
    are, and of how many.

    Raises:
        DataError: a question is wrong, or needs a document that is not there.
        UsageError: there is no adapter, or it does not fit.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "questions.jsonl"
        lines = [json.dumps(question, ensure_ascii=False) for question in order.questions]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        recipe = Recipe(
            questions=path,
            collection=order.collection,
            limit=order.limit,
            adapter=order.adapter,
            parallel=1,
        )
        if order.arms is not None:
            recipe = recipe.only(order.arms)
        try:
            result = evaluate(
                recipe,
                workspace,
                now=datetime.now(UTC),
                loop=loop,
                progress=lambda total: Steps(total, on_answer),
            )
        except DataError as error:  # the file's place means nothing to whoever sent its lines
            said = error.message.replace(f"{path}", "questions")
            raise DataError(said, hint=error.hint) from None
    return {
        "report": Path(result["report"]).name,
        "sentences": result["sentences"],
        "unanswered": result["unanswered"],
    }
