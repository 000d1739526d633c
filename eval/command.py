"""`groundtune eval run|compare|questions|retrieval|choice|obedience|open|forget`."""

import argparse
import webbrowser
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assistant.config import Settings
from eval import questions_command
from ingest.errors import UsageError

HTML = "report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of the command `eval`."""
    actions = parser.add_subparsers(
        dest="action",
        required=True,
        metavar="run|compare|questions|retrieval|choice|obedience|open|forget",
    )
    run_ = actions.add_parser("run", help="answer the questions by every arm and report")
    run_.add_argument("recipe", type=Path, metavar="CONFIG.toml", help="questions and arms")
    run_.add_argument("--limit", type=int, metavar="N", help="draw N questions, each kind fairly")
    run_.add_argument("--out", type=Path, metavar="DIR", help="report folder")
    run_.add_argument(
        "--repeat", type=int, metavar="N", help="answers to each question by arms that sample"
    )
    run_.add_argument(
        "--agreement", type=Path, metavar="FILE", help="human labels to hold the judge against"
    )
    run_.add_argument(
        "--ray", metavar="ADDRESS", help="run the models on the machines of a Ray cluster"
    )
    run_.add_argument("--arms", metavar="A,B", help="only these arms")
    compare_ = actions.add_parser(
        "compare", help="what changed from report A to report B, paired by question"
    )
    compare_.add_argument("a", metavar="A", help="the old report: a folder, its name, or 'latest'")
    compare_.add_argument("b", metavar="B", help="the new one")
    compare_.add_argument(
        "--gate", type=Path, metavar="GATE.toml", help="exit 3 where B is worse beyond its margins"
    )
    compare_.add_argument(
        "--junit", type=Path, metavar="FILE", help="the gate's rules as JUnit XML"
    )
    questions_command.add_arguments(
        actions.add_parser("questions", help="draft, review, import and check questions")
    )
    _add_measures(actions)
    open_ = actions.add_parser("open", help="show a report in the browser and print its path")
    open_.add_argument("run", metavar="RUN", help="a report folder, its name, or 'latest'")
    forget_ = actions.add_parser(
        "forget", help="remove kept answers, and reports: they quote documents that were deleted"
    )
    forget_.add_argument(
        "reports", nargs="*", metavar="REPORT", help="names of reports to remove too, or 'all'"
    )


def _add_measures(actions: Any) -> None:
    """Add what measures one part: search, the choice of an adapter, its obedience."""
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
    choice_ = actions.add_parser(
        "choice", help="how well questions find their adapter, and the threshold that serves best"
    )
    choice_.add_argument(
        "sets", nargs="+", metavar="NAME=FILE", help="questions for an adapter, or for none"
    )
    obedience_ = actions.add_parser(
        "obedience", help="whether an adapter follows evidence that contradicts its training"
    )
    obedience_.add_argument("adapter", nargs="?", metavar="ADAPTER", help="default: the newest")
    obedience_.add_argument("--rows", type=int, default=80, metavar="N", help="rows asked again")
    obedience_.add_argument("--out", type=Path, metavar="FILE", help="keep the answers, JSONL")
    for action in (choice_, obedience_):
        action.add_argument("--seed", type=int, default=0, metavar="N", help="of the draw")


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Do what the command line asks for.

    Raises:
        UsageError: the recipe, the questions, an arm, a gate or a report's name is wrong.
    """
    if args.action == "open":
        return _open(args.run, settings.home / "reports")
    if args.action == "forget":
        from eval.forget import forget

        return forget(settings.home, args.reports)
    if args.action == "compare":
        return _compare(args, settings)
    if args.action == "questions":
        return questions_command.run(args, settings)
    if args.action == "run":
        return _run(args, settings)
    return _measure(args, settings)


def render(result: Mapping[str, Any]) -> str:
    """Return the result in words."""
    if "forgotten" in result:
        from eval.forget import render as forgot

        return forgot(result)
    if "changes" in result:
        from eval.compare_text import render_comparison

        return render_comparison(result)
    if "review" in result or "questions" in result:
        return questions_command.render(result)
    if "systems" in result:
        from eval.retrieval import render as table

        return table(result)
    if "fitted" in result:
        from eval.choice import render as found

        return found(result)
    if "obedience" in result:
        from eval.obedience import render as obeyed

        return obeyed(result)
    if "sentences" not in result:
        return str(result["html"])
    lines = [f"{n}. {sentence}" for n, sentence in enumerate(result["sentences"], start=1)]
    if result.get("unanswered"):
        failed = f"{result['unanswered']} answer{'s' if result['unanswered'] > 1 else ''} failed"
        lines += ["", f"{failed}: left out, and shown in the report."]
        lines.append("Run the same command again to ask for those alone.")
    return "\n".join([*lines, "", f"Report: {result['html']}"])


def _run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    # Here and not above, so that the help answers at once.
    from assistant.workspace import open_workspace
    from eval.cluster import Cluster
    from eval.evaluate import evaluate
    from eval.recipe import read_recipe

    recipe = read_recipe(args.recipe)
    if args.arms is not None:
        recipe = recipe.only([name.strip() for name in args.arms.split(",") if name.strip()])
    for name in ("limit", "repeat"):
        value = getattr(args, name)
        if value is not None:
            if value < 1:
                raise UsageError(f"--{name} {value}: it starts at 1.")
            recipe = recipe.model_copy(update={name: value})
    if args.agreement is not None:
        if recipe.judge is None:
            raise UsageError(
                "--agreement compares a judge with people, and the recipe has none.",
                hint="Add a [judge] table to it; docs/evaluation.md shows one.",
            )
        judge = recipe.judge.model_copy(update={"agreement": args.agreement})
        recipe = recipe.model_copy(update={"judge": judge})
    with (
        Cluster(args.ray) if args.ray else nullcontext() as cluster,
        open_workspace(settings) as workspace,
    ):
        return evaluate(recipe, workspace, now=datetime.now(UTC), out=args.out, cluster=cluster)


def _measure(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Measure one part: search, the choice of an adapter, or its obedience."""
    if args.action == "retrieval":
        from eval.retrieval import evaluate_retrieval

        return evaluate_retrieval(args.folder, settings, whole=args.whole, baseline=args.baseline)
    from assistant.workspace import open_workspace

    with open_workspace(settings) as workspace:
        if args.action == "choice":
            from eval.choice import evaluate_choice

            return evaluate_choice(args.sets, workspace, seed=args.seed)
        from eval.obedience import evaluate_obedience

        return evaluate_obedience(
            workspace, args.adapter, rows=args.rows, seed=args.seed, out=args.out
        )


def _compare(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from eval.compare import compare
    from eval.compare_text import write_junit
    from eval.gate import read_gate
    from eval.past import find_report, read_report

    if args.junit is not None and args.gate is None:
        raise UsageError("--junit needs the rules of a gate.", hint="Add: --gate GATE.toml")
    gate = None if args.gate is None else read_gate(args.gate)
    reports = settings.home / "reports"
    a, b = (read_report(find_report(name, reports)) for name in (args.a, args.b))
    found = compare(a, b, gate)
    if args.junit is not None:
        write_junit(found, args.junit)
    if gate is not None:
        _remember(settings, b.manifest.get("adapter"), found.body())
    return found.body()


def _remember(settings: Settings, reference: str | None, body: Mapping[str, Any]) -> None:
    """Write into the new report's adapter whether it passed its gate, if the adapter is here."""
    from assistant.adapter import AdapterStore, record_evaluation

    known = {a.reference: a for a in AdapterStore(settings.home / "adapters").list()}
    if reference in known:
        keep = ("passed", "a", "b", "questions")
        record_evaluation(known[reference], {key: body[key] for key in keep})


def _open(name: str, reports: Path) -> dict[str, Any]:
    from eval.past import find_report

    folder = find_report(name, reports, HTML)
    html = (folder / HTML).resolve()
    return {"report": str(folder), "html": str(html), "opened": webbrowser.open(html.as_uri())}
