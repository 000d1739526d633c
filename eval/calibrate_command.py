"""`groundtune calibrate QUESTIONS.jsonl`: when is the evidence enough to answer?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.config import Settings

if TYPE_CHECKING:
    from assistant.hit import Hit
    from assistant.workspace import Workspace
    from eval.calibrate import Example

from eval.question import Question


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "questions",
        type=Path,
        metavar="QUESTIONS.jsonl",
        help="questions with `documents`, and others with `answerable` false; none of them "
        "used for evaluation",
    )
    parser.add_argument("--collection", default="default", help="whose evidence is judged")
    parser.add_argument(
        "--not",
        dest="kept_out",
        type=Path,
        action="append",
        default=[],
        metavar="QUESTIONS.jsonl",
        help="an evaluation set: refuse to fit on any question of it; may be repeated",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the folds")


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Fit, store and report.

    Raises:
        DataError: the questions are wrong, too few, or in an evaluation set.
        NotFoundError: there is no such collection.
    """
    # Here and not above, so that the help answers at once.
    from assistant.strength import write_calibration
    from assistant.workspace import open_workspace
    from eval.calibrate import ASKED, calibrate, refuse_known
    from eval.question import read_questions

    questions = read_questions(args.questions)
    for path in args.kept_out:
        refuse_known(questions, read_questions(path), str(path))
    with open_workspace(settings) as workspace:
        workspace.check_collection(args.collection)
        found = examples(questions, workspace, args.collection)
        fitted = calibrate(
            found,
            fingerprint=workspace.evidence_fingerprint,
            collection=args.collection,
            asked=[question.question for question in questions],
            seed=args.seed,
        )
        path = write_calibration(fitted, workspace.home)
    return {
        "calibration": str(path),
        "collection": args.collection,
        "threshold": round(fitted.threshold, 4),
        "rule": fitted.rule,
        "left_out": len(questions) - len(found),
        "weights": dict(zip(fitted.names, (round(w, 3) for w in fitted.weights), strict=True)),
        **{key: value for key, value in fitted.fitted.items() if key != ASKED},
    }


def render(result: Mapping[str, Any]) -> str:
    """Return the fit in words."""
    abstention = result["abstention"]
    lines = [
        f"{result['n']} questions, {result['enough']} with enough evidence; "
        f"{result['left_out']} left out (answerable, and they name no document).",
        f"Cross-fitted in {result['folds']} folds by document: Brier score {result['brier']:.3f} "
        f"(the share alone {result['brier_of_the_share']:.3f}), calibration error "
        f"{result['ece']:.3f}.",
        f"Threshold {result['threshold']:.3f}: {result['rule']}.",
        f"Kept {_percent(result['kept'])}; abstentions right {_percent(abstention['precision'])}, "
        f"weak evidence noticed {_percent(abstention['recall'])}.",
        "Answered, strongest first -> without enough evidence: "
        + ", ".join(f"{r['coverage']:.0%} -> {r['risk']:.1%}" for r in result["risk_coverage"]),
        f"Stored in {result['calibration']}",
    ]
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.0%}"


def examples(questions: Sequence[Question], workspace: Workspace, collection: str) -> list[Example]:
    """Return what the assistant would see of each question's evidence, and whether it is enough.

    Enough is evidence from a document that the question names, with every key fact in it where the
    question says which those are. A question that can be answered without any document is left out.
    """
    # Here and not above, so that the help answers at once.
    from eval.calibrate import Example
    from eval.progress import Bar

    found = []
    top_k = workspace.settings.retrieval.top_k
    with Bar(len(questions), doing="searching", done="searched") as bar:
        for question in questions:
            bar.advance()
            if question.answerable and not question.documents:
                continue
            asked = question.question
            hits = workspace.retriever.evidence(asked, k=top_k, collection=collection)
            found.append(
                Example(
                    id=question.id,
                    group=question.documents[0] if question.documents else question.id,
                    values=workspace.judge.features(asked, hits, collection),
                    enough=question.answerable and _holds(hits, question),
                )
            )
    return found


def _holds(hits: Sequence[Hit], question: Question) -> bool:
    from eval.metrics import says  # it is heavy, and help answers at once

    if not {hit.chunk.source for hit in hits} & set(question.documents):
        return False
    said = " ".join(hit.chunk.text for hit in hits)
    return all(says(said, fact) for fact in question.facts)
