"""`groundtune dataset ...`: logs, tickets and documents become rows that are worth learning."""

import argparse
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from assistant.answer_schema import read_schema
from assistant.config import Settings, explain
from assistant.workspace import open_workspace
from finetune.check.fix import mend
from finetune.check.report import as_text, write_report
from finetune.dataset import Dataset, find_dataset, list_datasets
from finetune.difference import compare
from finetune.examine import Terms, examine
from finetune.prepare import build, derive, divide, keep_report, terms_of
from finetune.recipe import Recipe, load_recipe
from ingest.errors import ConfigError, UsageError

DATASET = "a data set: its name, its name without the hash (the newest), or its folder"
SIDES = ("rows", "train", "validation", "test")
SHOWN_CHANGES = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_build(actions.add_parser("build", help="write a data set from a recipe, or from one file"))
    _add_check(actions.add_parser("check", help="report on what would harm a training"))
    split = actions.add_parser("split", help="divide into train, validation and test")
    split.add_argument("dataset", help=DATASET)
    split.add_argument("--validation", type=float, default=0.1, metavar="SHARE", help="default 0.1")
    split.add_argument("--test", type=float, default=0.0, metavar="SHARE", help="default 0: none")
    split.add_argument("--seed", type=int, default=0, help="decides what goes where")
    diff = actions.add_parser("diff", help="what changed between two data sets")
    diff.add_argument("old", help=DATASET)
    diff.add_argument("new", help=DATASET)
    stats = actions.add_parser("stats", help="what is in one data set, or which there are")
    stats.add_argument("dataset", nargs="?", help=DATASET)


def _add_build(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "file", type=Path, metavar="CONFIG.toml|FILE", help="a recipe; or a chat log or a table"
    )
    action.add_argument("--name", help="of the data set of one FILE; default: the file's")
    action.add_argument(
        "--kind", choices=("auto", "chat", "table"), default="auto", help="what FILE is"
    )
    action.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="FIELD=COLUMN",
        help="of a table: which column is id, question, answer, documents, facts or tags",
    )
    action.add_argument("--tag", action="append", default=[], help="put on each row of FILE")
    action.add_argument("--schema", type=Path, metavar="JSON", help="the answers must meet it")
    action.add_argument("--collection", default="default", help="whose documents give the evidence")
    action.add_argument(
        "--no-evidence", action="store_true", help="of a table: rows without passages"
    )


def _add_check(action: argparse.ArgumentParser) -> None:
    action.add_argument("dataset", help=DATASET)
    action.add_argument("--recipe", type=Path, metavar="CONFIG.toml", help="window and questions")
    action.add_argument("--window", type=int, metavar="TOKENS", help="longest row; default 1024")
    action.add_argument("--use", choices=("style", "knowledge"), default="style")
    action.add_argument("--questions", type=Path, metavar="JSONL", help="evaluation questions")
    action.add_argument("--collection", help="whose passages to compare with; default: default")
    action.add_argument("--schema", type=Path, metavar="JSON", help="default: answer.schema_file")
    action.add_argument("--pattern", action="append", default=[], help="answers must match it")
    action.add_argument("--rows", type=int, default=5, metavar="N", help="rows shown a finding")
    action.add_argument("--out", type=Path, metavar="DIR", help="folder of check.html, check.json")
    action.add_argument("--fix", action="store_true", help="mend what is safe, as a new version")


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Do what was asked and return what `--json` prints.

    Raises:
        GroundtuneError: as recipe, sources, data set and check raise it.
    """
    result: dict[str, Any] = ACTIONS[args.action](args, settings)
    return result


def render(result: dict[str, Any]) -> str:
    """Return what a person reads."""
    if "findings" in result:
        return _render_check(result)
    if "datasets" in result:
        lines = [f"{d['name']}  {d['rows']} rows  {d['created']}" for d in result["datasets"]]
        return "\n".join(lines) or "No data sets yet. Build one: groundtune dataset build FILE"
    if "unchanged" in result:
        return _render_diff(result)
    return _render_stats(result)


def _build(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    recipe = load_recipe(args.file) if args.file.suffix == ".toml" else _recipe_of(args)
    with open_workspace(settings) as workspace:
        dataset = build(recipe, workspace)
    return _body(dataset)


def _recipe_of(args: argparse.Namespace) -> Recipe:
    """Return the recipe that the flags stand for.

    Raises:
        ConfigError: a flag is wrong, or makes no name.
    """
    pairs = [column.partition("=") for column in args.column]
    if wrong := [field + sign + column for field, sign, column in pairs if not (sign and column)]:
        raise ConfigError(
            f"--column {wrong[0]}: expected FIELD=COLUMN.", hint="--column question=Subject"
        )
    values = {
        "name": args.name or args.file.stem.lower().replace(" ", "-"),
        "data": {"collection": args.collection},
        "source": [
            {
                "kind": args.kind,
                "path": args.file,
                "columns": {field: column for field, _, column in pairs},
                "tags": args.tag,
                "schema_file": args.schema,
                "evidence": not args.no_evidence,
            }
        ],
    }
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError(
            explain(error, Recipe, str(args.file)), hint="Give a name: --name support"
        ) from None


def _check(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    given = terms_of(load_recipe(args.recipe)) if args.recipe else Terms()
    terms = Terms(
        window=args.window or given.window,
        use=args.use,
        collection=args.collection or given.collection,
        questions=args.questions or given.questions,
        schema=None if args.schema is None else read_schema(args.schema),
        patterns=tuple(args.pattern),
    )
    with open_workspace(settings) as workspace:
        dataset = find_dataset(workspace.home / "datasets", args.dataset)
        report, rows = examine(dataset, workspace, terms)
        result = report.as_dict() | {"shown": args.rows}
        if args.out:
            result["html"] = str(write_report(report, args.out)["html"])
        else:
            result["html"] = keep_report(report, workspace)
        if args.fix:
            mended = mend(rows, report.findings)
            how = ", ".join(f"{n} rows {name}" for name, n in mended.counts.items())
            fixed = derive(dataset, workspace, mended.sides, how) if how else dataset
            result["fixed"] = {"dataset": fixed.folder.name, **mended.counts}
    return result


def _split(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    if not (args.validation > 0 and args.test >= 0 and args.validation + args.test < 1):
        raise UsageError(
            f"--validation {args.validation:g} --test {args.test:g} leave nothing to learn from, "
            "or nothing to measure on.",
            hint="Shares of the rows: --validation 0.1 --test 0.1",
        )
    with open_workspace(settings) as workspace:
        dataset = find_dataset(workspace.home / "datasets", args.dataset)
        divided = divide(
            dataset, workspace, validation=args.validation, test=args.test, seed=args.seed
        )
    return _body(divided)


def _diff(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    folder = settings.home / "datasets"
    old, new = find_dataset(folder, args.old), find_dataset(folder, args.new)
    return {"old": old.folder.name, "new": new.folder.name, **compare(old, new).as_dict()}


def _stats(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    folder = settings.home / "datasets"
    if args.dataset:
        return _body(find_dataset(folder, args.dataset))
    listed = []
    for dataset in list_datasets(folder):
        rows = sum(dataset.manifest[side]["rows"] for side in SIDES if side in dataset.manifest)
        created = dataset.manifest["created"]
        listed.append({"name": dataset.folder.name, "rows": rows, "created": created})
    return {"datasets": listed}


def _body(dataset: Dataset) -> dict[str, Any]:
    return {"folder": str(dataset.folder), **dataset.manifest}


def _render_stats(result: dict[str, Any]) -> str:
    lines = [f"Data set {result['folder']}"]
    for side in (side for side in SIDES if side in result):
        described = result[side]
        tags = ", ".join(f"{tag} {n}" for tag, n in list(described["tags"].items())[:8])
        about = f" about {len(described['documents'])} documents" if described["documents"] else ""
        left = described.get("left_out")
        more = f"; {left} tickets left out" if left else ""
        lines.append(f"  {side}: {described['rows']} rows{about} ({tags or 'no tags'}){more}")
    for source in result.get("sources", ()):
        counts = ", ".join(f"{name} {n}" for name, n in source["counts"].items())
        lines.append(f"  from {source['name']} ({source['kind']}): {source['rows']} rows; {counts}")
    if result.get("to_review"):
        lines.append(f"  {result['to_review']} answers to look at: review.jsonl")
    return "\n".join(lines)


def _render_check(result: dict[str, Any]) -> str:
    lines = [as_text(result, rows=result["shown"]), ""]
    verdict = "errors stop a training run" if result["errors"] else "nothing stops a training run"
    lines.append(f"{result['errors']} errors, {result['warnings']} warnings: {verdict}.")
    if fixed := result.get("fixed"):
        done = ", ".join(f"{n} {name}" for name, n in fixed.items() if name != "dataset")
        lines.append(f"Mended in {fixed['dataset']}: {done}." if done else "Nothing to mend.")
    return "\n".join([*lines, f"Report: {result['html']}"])


def _render_diff(result: dict[str, Any]) -> str:
    lines = [f"{result['old']} -> {result['new']}: {result['unchanged']} rows unchanged"]
    for kind in ("added", "removed", "changed", "moved"):
        counted = result[kind]
        if counted["rows"]:
            parts = [f"{name} {n}" for name, n in counted["by_source"].items()]
            parts += [f"tag {name} {n}" for name, n in counted["by_tag"].items()]
            lines.append(f"  {kind} {counted['rows']}: {', '.join(parts)}")
    for row in result["rows"][:SHOWN_CHANGES]:
        question = " ".join(row["question"].split())[:80]
        lines.append(f"    {row['change']} {row['side']} {row['source']}: {question}")
    if len(result["rows"]) > SHOWN_CHANGES:
        lines.append(f"    and {len(result['rows']) - SHOWN_CHANGES} more; --json lists all")
    return "\n".join(lines)


ACTIONS = {"build": _build, "check": _check, "split": _split, "diff": _diff, "stats": _stats}
