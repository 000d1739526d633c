"""`groundtune eval questions draft|review|accept|squad|beir|check`: where questions come from."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assistant.config import Settings
from ingest.errors import UsageError

DRAFTS = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be done about questions."""
    verbs = parser.add_subparsers(
        dest="verb", required=True, metavar="draft|review|accept|squad|beir|check"
    )
    draft = verbs.add_parser("draft", help="have the language model draft questions to review")
    draft.add_argument("review", type=Path, metavar="REVIEW.jsonl", help="the file to review")
    draft.add_argument("--collection", default="default", help="whose documents are asked about")
    draft.add_argument(
        "--each", type=int, default=3, metavar="N", help="passages of a document (3)"
    )
    draft.add_argument("--limit", type=int, default=DRAFTS, metavar="N", help=f"drafts ({DRAFTS})")
    draft.add_argument("--max-tokens", type=int, default=256, metavar="N", help="of a draft (256)")
    draft.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 is greedy")
    draft.add_argument("--seed", type=int, default=0, metavar="N", help="of the draw")
    review = verbs.add_parser("review", help="accept or reject the drafts, one after the other")
    review.add_argument("review", type=Path, metavar="REVIEW.jsonl")
    accept = verbs.add_parser("accept", help="write the accepted drafts as questions")
    accept.add_argument("review", type=Path, metavar="REVIEW.jsonl")
    accept.add_argument("questions", type=Path, metavar="QUESTIONS.jsonl")
    for name, what in (("squad", "SQuAD-style JSON"), ("beir", "a BEIR-style folder")):
        verb = verbs.add_parser(name, help=f"turn {what} into questions and their documents")
        verb.add_argument("source", type=Path, metavar="FILE" if name == "squad" else "DIR")
        verb.add_argument("folder", type=Path, metavar="OUT", help="gets documents/ and questions")
    check = verbs.add_parser("check", help="find questions that an adapter was trained on")
    check.add_argument("questions", type=Path, metavar="QUESTIONS.jsonl")
    check.add_argument("--adapter", metavar="NAME", help="`name` or `name:version`; default: all")


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Do it; the result has counts and the file that was written.

    Raises:
        UsageError: a file or an argument is wrong.
    """
    # Here and not above, so that the help answers at once.
    from eval.imported import from_beir, from_squad, write_imported
    from eval.review import accepted, counts, read_review, review, write_questions

    if args.verb == "draft":
        return _draft(args, settings)
    if args.verb == "check":
        return _check(args, settings)
    if args.verb == "review":
        return {"review": str(args.review), "counts": counts(review(args.review, input))}
    if args.verb == "accept":
        drafts = read_review(args.review)
        questions = accepted(drafts)
        write_questions(questions, args.questions)
        return {"questions": str(args.questions), "n": len(questions), "counts": counts(drafts)}
    found = (from_squad if args.verb == "squad" else from_beir)(args.source)
    path = write_imported(found, args.folder)
    return {
        "questions": str(path),
        "n": len(found.questions),
        "unanswerable": sum(not question.answerable for question in found.questions),
        "documents": len(found.documents),
        "folder": str(args.folder / "documents"),
    }


def render(result: Mapping[str, Any]) -> str:
    """Return the result in words, and what to do next."""
    if "leaks" in result:
        return _leaks(result)
    if "folder" in result:
        return (
            f"{result['n']} questions ({result['unanswerable']} unanswerable) in "
            f"{result['questions']}, {result['documents']} documents beside them.\n"
            f"Next: groundtune ingest {result['folder']}"
        )
    said = ", ".join(f"{n} {status}" for status, n in result["counts"].items())
    if "questions" in result:
        return f"{result['n']} questions in {result['questions']} ({said})."
    lines = [f"{result['review']}: {said}."]
    lines += [f"  {n} x {why}" for why, n in result.get("refused", {}).items()]
    if result["counts"]["open"]:
        lines.append(f"Next: groundtune eval questions review {result['review']}")
    elif not result["counts"]["accepted"]:
        lines.append(
            "No draft can be used. Draft with a stronger language model: [engine] in "
            "groundtune.toml. The small one that ships is unfit for this."
        )
    else:
        lines.append(f"Next: groundtune eval questions accept {result['review']} questions.jsonl")
    return "\n".join(lines)


def _check(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Look for leaks; `passed` is false where there are any, which is exit code 3."""
    from dataclasses import asdict

    from assistant.adapter import AdapterStore
    from eval.leaks import find_leaks
    from eval.question import read_questions

    questions = read_questions(args.questions)
    store = AdapterStore(settings.home / "adapters")
    adapters = [store.get(args.adapter)] if args.adapter else store.list()
    found = find_leaks(questions, adapters, settings.home)
    return {
        "questions": str(args.questions),
        "n": len(questions),
        **asdict(found),
        "passed": not found.leaks,
    }


def _leaks(result: Mapping[str, Any]) -> str:
    lines = [
        f"{leak['question_id']} {leak['similarity']:.2f} {leak['adapter']}: {leak['question']!r} "
        f"against {leak['row']!r}"
        for leak in result["leaks"]
    ]
    looked = ", ".join(f"{adapter} ({n} rows)" for adapter, n in result["rows"].items()) or "none"
    lines.append(
        f"{len({leak['question_id'] for leak in result['leaks']})} of {result['n']} questions are "
        f"near-duplicates of training rows. Adapters looked at: {looked}."
    )
    lines += [f"Not looked at: {a}, because {why}." for a, why in result["unknown"].items()]
    return "\n".join(lines)


def _draft(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    import asyncio
    from collections import Counter

    from assistant.versions import successors
    from assistant.workspace import open_workspace
    from eval.assistants import engine_name
    from eval.cache import Cache
    from eval.draft import NO_FORM, Drafting, choose, draft_all
    from eval.progress import Bar
    from eval.review import counts, merged, read_review, write_review

    for name in ("each", "limit", "max_tokens"):
        if getattr(args, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} {getattr(args, name)}: it starts at 1.")
    before = read_review(args.review) if args.review.exists() else []
    with (
        open_workspace(settings) as workspace,
        Cache(settings.home / "cache" / "evaluation.sqlite") as cache,
    ):
        workspace.check_collection(args.collection)
        old = successors(workspace.registry.documents(args.collection))
        passages = choose(
            (
                chunk
                for page in workspace.registry.pages(args.collection, size=1000)
                for chunk in page
                if chunk.document_id not in old
            ),
            each=args.each,
            limit=args.limit,
            seed=args.seed,
        )
        model = f"{engine_name(settings)} {workspace.base_sha256}"
        how = Drafting(model, args.max_tokens, args.temperature, args.seed)
        parallel = 1 if settings.engine.kind == "embedded" else settings.engine.parallel
        with Bar(len(passages), doing="drafting", done="drafted") as bar:
            drafts = asyncio.run(
                draft_all(passages, workspace.engine, how, cache, bar, parallel=parallel)
            )
    every = merged(before, drafts)
    write_review(every, args.review)
    # Each has other words behind it, and the reason alone can be counted.
    reasons = Counter(
        NO_FORM if d.why.startswith(NO_FORM) else d.why for d in drafts if d.status == "refused"
    )
    refused = dict(reasons.most_common())
    return {"review": str(args.review), "counts": counts(every), "refused": refused}
