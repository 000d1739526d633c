"""`groundtune dataset build`: tickets and documents become a data set."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assistant.config import Settings
from assistant.evidence import passage
from assistant.workspace import Workspace, open_workspace
from finetune.dataset import Dataset, build_dataset
from finetune.recipe import Recipe, load_recipe
from finetune.rows import Found, House


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    action = actions.add_parser("build", help="write the data set of a recipe")
    action.add_argument("recipe", type=Path, metavar="CONFIG.toml", help="the recipe")


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Build the data set and return its folder and manifest.

    Raises:
        GroundtuneError: as the recipe and the data set raise it.
    """
    recipe = load_recipe(args.recipe)
    with open_workspace(settings) as workspace:
        dataset = build(recipe, workspace)
    return {"folder": str(dataset.folder), **dataset.manifest}


def render(result: dict[str, Any]) -> str:
    """Return what a person reads of a data set."""
    lines = [f"Data set {result['folder']}"]
    for side in ("train", "validation"):
        described = result[side]
        kinds = ", ".join(f"{kind} {n}" for kind, n in described["kinds"].items())
        lines.append(
            f"  {side}: {described['rows']} rows about {len(described['documents'])} documents "
            f"({kinds}); {described['left_out']} tickets left out"
        )
    return "\n".join(lines)


def build(recipe: Recipe, workspace: Workspace) -> Dataset:
    """Build the data set of `recipe` with the evidence that `workspace` would show.

    Raises:
        NotFoundError: the collection holds no documents.
        DataError: wrong tickets.
    """
    collection = recipe.data.collection
    workspace.check_collection(collection)

    retrieval = workspace.settings.retrieval
    shown = retrieval.sentences or retrieval.top_k

    def retrieve(question: str, k: int) -> Sequence[Found]:
        hits = workspace.retriever.evidence(
            question, k=retrieval.top_k, collection=collection, spare=k - shown
        )
        return [Found(hit.chunk.source, passage(hit.chunk)) for hit in hits]

    voice = workspace.settings.voice_of(recipe.name)
    house = House(voice.system, voice.abstention or voice.refusal, shown)
    return build_dataset(
        recipe,
        retrieve,
        house,
        folder=workspace.home / "datasets",
        prompt_fingerprint=workspace.contract_of(recipe.name),
        now=datetime.now(UTC),
    )
