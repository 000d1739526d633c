"""`groundtune adapters ...`: what was trained, where it serves, and if it serves as trained."""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from assistant.bodies import adapter_body
from assistant.config import Settings
from assistant.garbage import collect, garbage, size_of
from assistant.workspace import open_workspace
from finetune.lineage import lineage
from finetune.merge import WEIGHT_TYPES
from finetune.serving import (
    KINDS,
    SERVERS,
    deploy_adapter,
    parity_of,
    promote_adapter,
    remove_adapter,
    rollback_adapter,
)

NAMED = {
    "show": "the manifest of one, and its lineage",
    "deploy": "make it a model of the Ollama server, or have vLLM load it",
    "remove": "take it off the server again; it stays in the workspace",
    "parity": "compare the served adapter with the trained one",
    "promote": "put a version into production",
    "rollback": "put the previous version back into production",
}
"""Actions on one adapter."""

NEWEST = "name (its newest version), name:version or name@production"
SHAPES = {
    "show": "name (in production, or its newest version), name:version or name@production",
    "rollback": "name",
}
"""How an adapter is named, where it is not the newest that is meant."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="every adapter of the workspace")
    gc = actions.add_parser("gc", help="remove old versions; never one that an alias stands for")
    gc.add_argument(
        "--keep", type=int, default=3, metavar="N", help="newest versions of each name (default: 3)"
    )
    gc.add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")
    named = {name: actions.add_parser(name, help=summary) for name, summary in NAMED.items()}
    for name, action in named.items():
        action.add_argument("name", metavar="NAME", help=SHAPES.get(name, NEWEST))
    for name in ("parity", "promote"):
        named[name].add_argument(
            "--engine", choices=KINDS, help="serves the adapter; default: engine.kind"
        )
    for name in ("deploy", "remove"):
        named[name].add_argument(
            "--engine", choices=SERVERS, help="kind of server; default: engine.kind, or ollama"
        )
    for name in ("deploy", "remove", "parity"):
        named[name].add_argument(
            "--url", help="where the server is; default: engine.url, if it is of that kind"
        )
    named["parity"].add_argument(
        "--prompts",
        type=int,
        default=20,
        metavar="N",
        help="held-out rows to compare on, each with and without evidence (default: 20)",
    )
    named["deploy"].add_argument(
        "--merge", action="store_true", help="send one whole model instead of base and LoRA"
    )
    named["deploy"].add_argument(
        "--quantize", choices=WEIGHT_TYPES, help="weights of the whole model (default: q8_0)"
    )


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Do what was asked and return what `--json` prints.

    Raises:
        NotFoundError: no such adapter, or its data set is gone.
        MismatchError: the adapter is for another base model or prompt.
        GateError: it was not found to serve as it was trained.
        EngineError: the engine failed.
    """
    actions: Mapping[str, Callable[[], dict[str, Any]]] = {
        "list": lambda: _list(settings),
        "gc": lambda: _collect(settings, keep=args.keep, dry=args.dry_run),
        "show": lambda: _show(settings, args.name),
        "deploy": lambda: deploy_adapter(
            settings,
            args.name,
            merged=(args.quantize or "q8_0") if args.merge or args.quantize else None,
            kind=args.engine,
            url=args.url,
        ),
        "remove": lambda: remove_adapter(settings, args.name, kind=args.engine, url=args.url),
        "parity": lambda: parity_of(settings, args.name, args.engine, args.prompts, args.url),
        "promote": lambda: promote_adapter(settings, args.name, args.engine),
        "rollback": lambda: rollback_adapter(settings, args.name),
    }
    return actions[args.action]()


def render(result: dict[str, Any]) -> str:
    """Return what a person reads."""
    if "adapters" in result:
        lines = [_line(adapter) for adapter in result["adapters"]]
        return "\n".join(lines) or "There is no adapter yet. Train one: groundtune finetune CONFIG"
    if "collected" in result:
        return _collected_lines(result)
    if "lineage" in result:
        return _shown_lines(result)
    if "top1_agreement" in result:
        return "\n".join(_parity_lines(result))
    if "uploaded_bytes" in result:
        return _deployed_line(result)
    if "removed" in result:
        return _removed_lines(result)
    if "production" in result:
        previous = result["previous"] or "none"
        return f"{result['name']}: production {result['production']}, previous {previous}"
    raise AssertionError(f"no words for {sorted(result)}")


def _list(settings: Settings) -> dict[str, Any]:
    with open_workspace(settings) as workspace:
        return {"adapters": [adapter_body(adapter) for adapter in workspace.adapters.list()]}


def _show(settings: Settings, name: str) -> dict[str, Any]:
    with open_workspace(settings) as workspace:
        adapter = workspace.adapters.get(name)
        steps = lineage(adapter, workspace.home / "datasets")
        return {"folder": str(adapter.folder), **adapter.manifest, "lineage": steps}


def _collect(settings: Settings, *, keep: int, dry: bool) -> dict[str, Any]:
    with open_workspace(settings) as workspace:
        store = workspace.adapters
        found = garbage(store, keep=keep)
        size = sum(size_of(adapter.folder) for adapter in found)
        if not dry:
            found = collect(store, keep=keep)
        kept = [a.reference for a in store.list() if a not in found]
    return {
        "collected": [adapter.reference for adapter in found],
        "bytes": size,
        "dry_run": dry,
        "kept": kept,
    }


def _collected_lines(body: dict[str, Any]) -> str:
    if not body["collected"]:
        return "Nothing to remove."
    verb = "Would remove" if body["dry_run"] else "Removed"
    return f"{verb} {', '.join(body['collected'])} ({body['bytes'] / 1e6:.1f} MB)."


def _shown_lines(body: dict[str, Any]) -> str:
    lines = [f"{key}: {value}" for key, value in body.items() if key not in ("losses", "lineage")]
    lines.append("lineage:")
    for step in body["lineage"]:
        missing = "  (no longer in the workspace)" if step.get("missing") else ""
        digest = (step["sha256"] or "no hash")[:16]
        lines.append(f"  {step['what']:<11}{step['name']}  {digest}{missing}")
    return "\n".join(lines)


def _line(body: dict[str, Any]) -> str:
    aliases = "".join(f" @{alias}" for alias in body["aliases"])
    parity = body["parity"] or {}
    words = [f"{kind} {'passed' if p['passed'] else 'FAILED'}" for kind, p in parity.items()]
    return (
        f"{body['name']}:{body['version']}{aliases}  {body['created']}  base {body['base']}  "
        f"parity {', '.join(words) or 'not checked'}"
    )


def _parity_lines(body: dict[str, Any]) -> list[str]:
    verdict = "Served as trained." if body["passed"] else "NOT served as trained."
    prompts = body["prompts"]
    rows = [
        ("", "found", "expected"),
        ("prompt texts equal", f"{body['equal_texts']} of {prompts}", "all"),
        ("prompt token ids equal", f"{body['equal_tokens']} of {prompts}", "all"),
        ("stop tokens", ", ".join(body["served_ends"]), f"{body['end_token']} among them"),
        ("greedy answers identical", f"{body['identical']} of {prompts}", ""),
        (
            "next tokens that agree",
            f"{body['top1_agreement']:.2%} of {body['tokens']}",
            f"at least {body['threshold']:.1%} with {body['weights']}",
        ),
        (
            "widest margin where they part",
            f"{body['widest_margin']:.2f} nats",
            f"at most {body['most_margin']:g}",
        ),
    ]
    lines = [f"{verdict} ({body['engine']}, {body['weights']} weights)"]
    lines += [f"  {what:<30}{found:<22}{expected}".rstrip() for what, found, expected in rows]
    lines += body["failures"]
    for place in body["divergences"]:
        lines.append(
            f"prompt {place['prompt']}, token {place['place']}, behind {place['before']!r} "
            f"(a margin of {place['margin']:.2f} nats)"
        )
        for side in ("reference", "served"):
            likely = "  ".join(f"{text!r} {logprob:.2f}" for text, logprob in place[side])
            lines.append(f"  {side:<10}{likely}")
    return lines


def _removed_lines(body: dict[str, Any]) -> str:
    lines = [f"{body['adapter']} " + ("is removed." if body["removed"] else "was not there.")]
    if users := body.get("base_stays_for"):
        lines.append(f"Its base model {body['base']} stays for {', '.join(users)}.")
    elif "base" in body:
        lines.append(f"Its base model {body['base']} is not there any more: nobody needs it.")
    return "\n".join(lines)


def _deployed_line(body: dict[str, Any]) -> str:
    sent = f"{body['uploaded_bytes'] / 1e6:.1f} MB sent" if body["uploaded_bytes"] else "was there"
    if body["engine"] == "openai":
        sent = "read from the adapter's folder"
    how = "LoRA beside its base" if body["weights"] == "lora" else f"merged, {body['weights']}"
    lines = [f"{body['adapter']} is {body['model']} at {body['url']} ({how}; {sent})."]
    if body["template"] == "raw" and body["engine"] == "ollama":
        lines.append("The server cannot render its chat template: ask it through groundtune only.")
    lines.append(f"Next: groundtune adapters parity {body['adapter']} --engine {body['engine']}")
    return "\n".join(lines)
