"""`groundtune demo`: documents, tickets and questions of the sample company, from end to end."""

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from assistant.answer import MODES, Answer, Ask
from assistant.config import Settings, load
from assistant.workspace import Workspace, open_workspace
from ingest.errors import GroundtuneError, NotFoundError, UsageError
from ingest.model_file import fetch

QUESTIONS = (
    "How tight should the four lid screws of the Wick 12 be?",
    "What does code E-433 on the sample cool box mean?",
)
"""About documents that no ticket touches, so that no training can have taught the answers."""

FULL_QUESTIONS = 40
"""A stratified draw; `groundtune eval run` asks all of them."""
FAST_QUESTIONS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--fast",
        action="store_true",
        help="a few training steps, questions and arms: minutes, no proof",
    )
    parser.add_argument(
        "--examples", type=Path, metavar="DIR", help="default: examples/tarnfell of the checkout"
    )


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Run the story; return the report's path and its three sentences.

    The workspace is `demo` inside the configured one, so nothing of the user's is touched.

    Raises:
        NotFoundError: the sample company is not there.
        GroundtuneError: a step failed; what came before is kept, and a second run goes on from it.
    """
    started = time.monotonic()
    examples = _examples(args.examples)
    config = examples / "groundtune.toml"
    home = (settings.home / "demo").absolute()
    demo = load(config).settings.model_copy(update={"home": home})
    _say(1, "Models: fetched once, kept for the next time")
    for name in (demo.engine.model, demo.embedding.model):
        fetch(name)
    shared = ["--config", str(config)]
    _say(2, "Documents become an index", "groundtune ingest examples/tarnfell/documents")
    tally = _step([*shared, "ingest", str(examples / "documents")], home)
    _tell(f"{tally['added']} added, {tally['unchanged']} unchanged, {tally['chunks']} passages")
    _say(3, "Before tuning: the arms that need no adapter", "groundtune ask QUESTION --mode rag")
    questions = QUESTIONS[:1] if args.fast else QUESTIONS
    _ask_all(demo, questions, [mode for mode in MODES if mode in ("base", "rag")])
    recipe = "finetune-fast.toml" if args.fast else "finetune.toml"
    _say(4, "Tickets become an adapter", f"groundtune finetune examples/tarnfell/{recipe}")
    adapter = _step([*shared, "finetune", str(examples / recipe), "--resume"], home)
    _tell(f"{adapter['name']}:{adapter['version']} in {adapter['folder']}")
    _say(5, "After tuning: all four arms", "groundtune ask QUESTION --mode combined")
    _ask_all(demo, questions, MODES)
    _say(6, "The arms become a report", "groundtune eval run examples/tarnfell/eval.toml")
    asked = ["--limit", str(FULL_QUESTIONS)]
    if args.fast:
        asked = ["--limit", str(FAST_QUESTIONS), "--arms", ",".join(MODES)]
    evaluation = _step([*shared, "eval", "run", str(examples / "eval.toml"), *asked], home)
    return {
        "report": evaluation["report"],
        "html": evaluation["html"],
        "sentences": evaluation["sentences"],
        "adapter": f"{adapter['name']}:{adapter['version']}",
        "seconds": round(time.monotonic() - started, 1),
        "fast": args.fast,
    }


def render(result: dict[str, Any]) -> str:
    """Return the ending: what the numbers say and where they are."""
    lines = ["", *result["sentences"], "", f"Report: {result['html']}"]
    if result["fast"]:
        lines.append(
            "This was --fast: too little training and too few questions to prove anything."
        )
    return "\n".join(lines)


def _examples(folder: Path | None) -> Path:
    place = folder or Path(__file__).parents[2] / "examples" / "tarnfell"
    if not (place / "groundtune.toml").is_file():
        raise NotFoundError(
            f"The sample company is not at {place}.",
            hint="Run this in a checkout of the repository, or name its folder with --examples.",
        )
    return place


def _say(number: int, title: str, command: str = "") -> None:
    sys.stderr.write(f"\n{number}. {title}\n")
    if command:
        sys.stderr.write(f"   $ {command}\n")
    sys.stderr.flush()


def _tell(line: str) -> None:
    sys.stderr.write(f"   {line}\n")
    sys.stderr.flush()


def _step(arguments: list[str], home: Path) -> dict[str, Any]:
    """Run a command as a user would, in a process of its own, so that its memory is given back."""
    import os

    command = [sys.executable, "-m", "assistant.cli", "--json", *arguments]
    environ = {**os.environ, "GROUNDTUNE_HOME": str(home)}
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == 130:
        raise KeyboardInterrupt
    if done.returncode != 0:
        kind = UsageError if done.returncode == 2 else GroundtuneError
        raise kind(f"The step `groundtune {' '.join(arguments[2:])}` failed; see above.")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _ask_all(settings: Settings, questions: Sequence[str], modes: Sequence[str]) -> None:
    """Ask in a process of its own, so that the models' memory is free for the training."""
    # Ctrl-C reaches both processes; this one says so, and the other just ends.
    with ProcessPoolExecutor(
        1,
        mp_context=get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_DFL),
    ) as pool:
        pool.submit(_ask_here, settings, questions, modes).result()


def _ask_here(settings: Settings, questions: Sequence[str], modes: Sequence[str]) -> None:
    with open_workspace(settings) as workspace:
        asyncio.run(_ask(workspace, questions, modes))


async def _ask(workspace: Workspace, questions: Sequence[str], modes: Sequence[str]) -> None:
    for question in questions:
        _tell(f"\n   Q: {question}")
        for mode in MODES:
            if mode not in modes:
                _tell(f"   {mode:<10} (no adapter yet)")
                continue
            answer = await workspace.assistant.answer(Ask(question, mode=mode))
            _tell(f"   {mode:<10} {' '.join(answer.answer.split())[:220]}")
            _tell(_sources(answer))


def _sources(answer: Answer) -> str:
    places = [f"{c.source}, {c.heading or c.page}" for c in answer.citations]
    return f"   {'':<10} from: {'; '.join(places) if places else 'nothing'}"
