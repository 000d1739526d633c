"""`groundtune adapters list|show|parity`: what was trained, and whether it serves as trained."""

import argparse
from typing import Any

from assistant.adapter import Adapter, check_fit
from assistant.config import Settings
from assistant.workspace import Workspace, open_workspace
from finetune.base_model import training_folder
from finetune.dataset import open_dataset
from finetune.parity import adapter_parity
from finetune.tuning import write_manifest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="every adapter of the workspace")
    show = actions.add_parser("show", help="the manifest of one")
    parity = actions.add_parser("parity", help="compare the served adapter with the trained one")
    for action in (show, parity):
        action.add_argument("name", metavar="NAME", help="name or name:version")
    parity.add_argument(
        "--prompts", type=int, default=6, metavar="N", help="validation rows to compare on"
    )


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Return the list, the manifest, or the outcome of the comparison.

    Raises:
        NotFoundError: no such adapter, or its data set is gone.
        MismatchError: the adapter is for another base model or prompt.
    """
    with open_workspace(settings) as workspace:
        if args.action == "list":
            return {"adapters": [_line(adapter) for adapter in workspace.adapters.list()]}
        adapter = workspace.adapters.get(args.name)
        if args.action == "show":
            return {"folder": str(adapter.folder), **adapter.manifest}
        return _parity(adapter, workspace, args.prompts)


def render(result: dict[str, Any]) -> str:
    """Return what a person reads."""
    if "adapters" in result:
        lines = [
            f"{a['name']}:{a['version']}  {a['created']}  base {a['base']}  "
            f"parity {_parity_word(a['parity'])}"
            for a in result["adapters"]
        ]
        return "\n".join(lines) or "There is no adapter yet. Train one: groundtune finetune CONFIG"
    if "top1_agreement" in result:
        verdict = "Served as trained." if result["passed"] else "NOT served as trained."
        numbers = (
            f"{result['identical']} of {result['prompts']} answers identical, "
            f"{result['top1_agreement']:.1%} of the tokens agree ({result['engine']})."
        )
        return "\n".join([f"{verdict} {numbers}", *result["failures"]])
    return "\n".join(f"{key}: {value}" for key, value in result.items() if key != "losses")


def _parity(adapter: Adapter, workspace: Workspace, prompts: int) -> dict[str, Any]:
    check_fit(
        adapter,
        prompt_fingerprint=workspace.prompt_fingerprint,
        base_sha256=workspace.base_sha256,
    )
    dataset = open_dataset(workspace.home / "datasets" / adapter.manifest["dataset"]["name"])
    chosen = [example.prompt for example in dataset.validation[:prompts]]
    base = training_folder(workspace.model_file, workspace.base_sha256)
    body = adapter_parity(adapter, base, workspace.engine, chosen).body()
    write_manifest(adapter.folder, {**adapter.manifest, "parity": body})
    return body


def _line(adapter: Adapter) -> dict[str, Any]:
    return {
        "name": adapter.name,
        "version": adapter.version,
        "aliases": [],
        "base": adapter.manifest.get("base"),
        "created": adapter.manifest.get("created"),
        "parity": adapter.manifest.get("parity"),
        "evaluation": adapter.manifest.get("evaluation"),
    }


def _parity_word(parity: dict[str, Any] | None) -> str:
    if parity is None:
        return "not checked"
    return "passed" if parity["passed"] else "FAILED"
