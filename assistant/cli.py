"""`groundtune`: finds the command, loads only that one, and turns errors into one line.

A command is a module with `add_arguments(parser)`, `run(args, settings) -> dict` and
`render(result) -> str`. What `run` returns is what `--json` prints. Modules are named here and
imported when they are called, so that `--help` needs none of them.
"""

import argparse
import errno
import json
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from assistant import __version__
from ingest.errors import GroundtuneError, MissingExtraError, UsageError


class Command(NamedTuple):
    """Where a command lives."""

    module: str
    summary: str
    extra: str = ""
    """The optional packages it needs."""
    owns: bool = False
    """Whether it must be the only one at work in the workspace."""
    beside: str = ""
    """A module of a folder that it may not import, which it loads when it needs it."""


COMMANDS = {
    "demo": Command("assistant.commands.demo", "the whole story on the sample company"),
    "doctor": Command("assistant.commands.doctor", "what works on this machine, and what does not"),
    "models": Command("assistant.commands.models", "bring a model onto this machine"),
    "config": Command("assistant.commands.config", "show the settings and where they come from"),
    "ingest": Command("assistant.commands.ingest", "index files, folders and globs"),
    "documents": Command("assistant.commands.documents", "list, show and delete documents"),
    "index": Command("assistant.commands.index", "copy, re-embed or show the index", "", True),
    "search": Command("assistant.commands.search", "find passages; no model is asked"),
    "ask": Command("assistant.commands.ask", "ask a question, get a cited answer"),
    "serve": Command(
        "assistant.commands.serve", "the HTTP service and the web page", beside="eval.served"
    ),
    "backup": Command("assistant.commands.backup", "the whole workspace in one file"),
    "restore": Command("assistant.commands.restore", "a backup becomes the workspace", "", True),
    "mcp": Command("assistant.commands.mcp", "search, ask and ingest as tools (MCP)", "mcp"),
    "keys": Command("assistant.commands.keys", "access keys of the service, and its audit log"),
    "dataset": Command(
        "finetune.dataset_command", "build, check, split, compare training data", "finetune", True
    ),
    "finetune": Command("finetune.command", "train an adapter", "finetune", True),
    "adapters": Command("finetune.adapters_command", "check, deploy, promote adapters", "finetune"),
    "calibrate": Command(
        "eval.calibrate_command", "fit when evidence is enough to answer", "eval", True
    ),
    "eval": Command("eval.command", "compare the arms and report", "eval", True),
}

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What a disk says that takes no more; elsewhere an OSError is ours to foresee."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code: 0 done, 1 failed, 2 the caller's mistake, 3 a gate."""
    argv = list(sys.argv[1:] if argv is None else argv)
    # Before any third-party package is loaded: none of them may call home or print over a command.
    os.environ.setdefault("ANONYMIZED_TELEMETRY", "False")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAGAS_DO_NOT_TRACK", "true")
    try:
        args, command = _parse(argv)
        return _run(args, command)
    except GroundtuneError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nStopped. What was finished is kept.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        if error.errno not in FULL:
            return _ours()
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror}. What was stored is kept.", file=sys.stderr)
        return 1
    except Exception:
        return _ours()


def _ours() -> int:
    traceback.print_exc()
    print("error: this is a fault of ours, not yours; the lines above say where.", file=sys.stderr)
    return 1


def _parse(argv: list[str]) -> tuple[argparse.Namespace, Command]:
    """Find the command's name first, because only its own module knows its arguments."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, metavar="PATH", help="default: ./groundtune.toml")
    common.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    given, rest = common.parse_known_args(argv)
    name = next((word for word in rest if not word.startswith("-")), None)
    if name in COMMANDS and rest[0] == name:
        command = COMMANDS[name]
        parser = argparse.ArgumentParser(
            prog=f"groundtune {name}", description=command.summary, parents=[common]
        )
        module = _load(command)
        module.add_arguments(parser)
        args = parser.parse_args(rest[1:])
        args.config, args.json = given.config, given.json
        args.module = module
        args.beside = (
            partial(_load, Command(command.beside, "", "eval")) if command.beside else None
        )
        args.command = name
        return args, command
    listed = "\n".join(f"  {name:<11}{command.summary}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="groundtune",
        usage="groundtune [--config PATH] [--json] COMMAND ...",
        description="Assistants that are grounded in your documents and tuned to your style.",
        epilog=f"commands:\n{listed}\n\n`groundtune COMMAND --help` says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
    )
    parser.add_argument("--version", action="version", version=f"groundtune {__version__}")
    parser.parse_args([word for word in rest if word.startswith("-")])
    if name is None:
        parser.print_help()
        raise SystemExit(2)
    raise UsageError(
        f"There is no command {name!r}. There are: {', '.join(COMMANDS)}.",
        hint="groundtune --help",
    )


def _load(command: Command) -> Any:
    try:
        return import_module(command.module)
    except ModuleNotFoundError as error:
        if not command.extra or (error.name or "").split(".")[0] in {"assistant", "ingest"}:
            raise
        raise MissingExtraError(
            f"This command needs the package `{error.name}`.",
            hint=f"Install it with: pip install 'groundtune[{command.extra}]'",
        ) from None


def _run(args: argparse.Namespace, command: Command) -> int:
    from assistant.config import load

    _quieten()
    settings = load(args.config).settings
    # Of the processes that `accelerate launch` starts, the first owns the workspace for all.
    owns = command.owns and os.environ.get("RANK", "0") == "0"
    with _owned(settings.home, args.command) if owns else nullcontext():
        result = args.module.run(args, settings)
    if args.json:
        print(json.dumps(result, ensure_ascii=False))
    elif text := args.module.render(result):
        print(text)
    if result.get("passed") is False:
        return 3
    return 1 if result.get("failed") else 0


def _owned(home: Path, command: str) -> Any:
    from contextlib import contextmanager

    from assistant.ownership import Owner, own
    from ingest.errors import ConflictError

    @contextmanager
    def holding() -> Any:
        with own(home, command) as claim:
            if isinstance(claim, Owner):
                raise ConflictError(
                    f"The server at {claim.url} works on this workspace, and `{command}` needs it.",
                    hint=f"Stop the server (process {claim.pid}) first.",
                )
            yield claim

    return holding()


def _quieten() -> None:
    """Keep what libraries tell their own developers away from the user's terminal."""
    warnings.filterwarnings("ignore")
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    for name in ("bitsandbytes", "transformers", "sentence_transformers", "chromadb", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
