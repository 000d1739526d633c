"""`groundtune eval run CONFIG.toml` and `groundtune eval open RUN`."""

import argparse
import webbrowser
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assistant.config import Settings
from ingest.errors import NotFoundError, UsageError

HTML = "report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `run` and `open` to the command `eval`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="run|retrieval|open")
    run_ = actions.add_parser("run", help="answer the questions by every arm and report")
    run_.add_argument("recipe", type=Path, metavar="CONFIG.toml", help="questions and arms")
    run_.add_argument("--limit", type=int, metavar="N", help="draw N questions, each kind fairly")
    run_.add_argument(
        "--out", type=Path, metavar="DIR", help="report folder; one that was stopped goes on"
    )
    run_.add_argument("--arms", metavar="A,B", help="only these arms")
    retrieval_ = actions.add_parser(
        "retrieval", help="score search on a labelled collection in the BEIR layout"
    )
    retrieval_.add_argument("folder", type=Path, metavar="DIR", help="corpus, queries and qrels")
    retrieval_.add_argument(
        "--whole", action="store_true", help="one passage a document, cut by the embedding model"
    )
    retrieval_.add_argument(
        "--baseline", action="store_true", help="score plain reciprocal-rank fusion as well"
    )
    open_ = actions.add_parser("open", help="show a report in the browser and print its path")
    open_.add_argument("run", metavar="RUN", help="a report folder, its name, or 'latest'")


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Do what the command line asks for.

    Raises:
        UsageError: the recipe, the questions, an arm or the report's name is wrong.
    """
    if args.action == "open":
        return _open(args.run, settings.home / "reports")
    if args.action == "retrieval":
        from eval.retrieval import evaluate_retrieval

        return evaluate_retrieval(args.folder, settings, whole=args.whole, baseline=args.baseline)
    # Here and not above, so that the help answers at once.
    from assistant.workspace import open_workspace
    from eval.evaluate import evaluate
    from eval.recipe import read_recipe

    recipe = read_recipe(args.recipe)
    if args.arms is not None:
        recipe = recipe.only([name.strip() for name in args.arms.split(",") if name.strip()])
    if args.limit is not None:
        if args.limit < 1:
            raise UsageError(f"--limit {args.limit}: it starts at 1.")
        recipe = recipe.model_copy(update={"limit": args.limit})
    with open_workspace(settings) as workspace:
        return evaluate(recipe, workspace, now=datetime.now(UTC), out=args.out)


def render(result: Mapping[str, Any]) -> str:
    """Return the result in words."""
    if "systems" in result:
        from eval.retrieval import render as table

        return table(result)
    if "sentences" not in result:
        return str(result["html"])
    lines = [f"{n}. {sentence}" for n, sentence in enumerate(result["sentences"], start=1)]
    return "\n".join([*lines, "", f"Report: {result['html']}"])


def _open(name: str, reports: Path) -> dict[str, Any]:
    finished = sorted(path.parent for path in reports.glob(f"*/{HTML}"))
    if name == "latest" and finished:
        folder = finished[-1]
    else:
        places = (Path(name), reports / name)
        folder = next((p for p in places if (p / HTML).is_file()), Path())
        if folder == Path():
            known = ", ".join(path.name for path in finished) or "none yet"
            raise NotFoundError(
                f"There is no report {name!r} in {reports}. Reports: {known}.",
                hint="Make one with: groundtune eval run CONFIG.toml",
            )
    html = (folder / HTML).resolve()
    return {"report": str(folder), "html": str(html), "opened": webbrowser.open(html.as_uri())}
