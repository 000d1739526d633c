import asyncio
import json
from pathlib import Path

import pytest

from assistant.answer import Ask
from finetune.dataset_command import build
from finetune.recipe import DataRecipe, Recipe
from ingest.files import Upload
from tests.fakes import ScriptedEngine, small_workspace

MAKERS = ("Loach", "Burbot", "Sculpin", "Gudgeon", "Lamprey", "Wimble")


@pytest.mark.parametrize("sentences", [0, 2])
def test_a_row_is_word_for_word_what_the_assistant_asks_about_its_question(
    tmp_path: Path, sentences: int
) -> None:
    engine = ScriptedEngine("So.")
    workspace = small_workspace(
        tmp_path / "home",
        engine,
        retrieval={"sentences": sentences, "top_k": 3, "min_similarity": -1.0},
        answer={"system": "Speak as the house does.", "refusal": "No."},
    )
    uploads = [
        Upload(
            f"{name}.md",
            None,
            f"# {name}\n\n## Screws\n\nThe screws of the {name} take {n + 11} N.m. Grease them "
            f"thinly.\n\n## Oil\n\nThe {name} holds {n + 31} ml of oil.\n".encode,
        )
        for n, name in enumerate(MAKERS)
    ]
    workspace.pipeline.run(uploads, collection="default")
    tickets = [
        {
            "id": f"T-{n}-{what}",
            "question": f"What do the {what} of the {name} take?",
            "answer": {"answer": f"{fact} {unit}.", "sources": [f"{name}.md"]},
            "documents": [f"{name}.md"],
            "facts": [[f"{fact} {unit}"]],
        }
        for n, name in enumerate(MAKERS)
        for what, fact, unit in (("screws", n + 11, "N.m"), ("oil", n + 31, "ml"))
    ]
    path = tmp_path / "tickets.jsonl"
    path.write_text("".join(json.dumps(t) + "\n" for t in tickets), encoding="utf-8")
    recipe = Recipe(
        name="house",
        data=DataRecipe(
            tickets=path, without_evidence=0.2, insufficient=0, heldout_fraction=0.3, seed=3
        ),
    )
    dataset = build(recipe, workspace)
    asked = {str(t["id"]): str(t["question"]) for t in tickets}
    rows = [*dataset.train, *dataset.validation]
    kinds = {row.tags[-1] for row in rows}
    assert kinds == {"answer", "no_evidence"}
    for row in rows:
        mode = "rag" if row.evidence else "base"
        asyncio.run(workspace.assistant.answer(Ask(asked[row.source], mode)))  # type: ignore[arg-type]
        assert tuple(engine.requests[-1].messages) == row.prompt
