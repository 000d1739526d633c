"""Questions about Python's standard library, made from the docstrings of the running interpreter.

    python examples/stdlib/build.py squad.json

writes SQuAD-style JSON: an article a module, a paragraph a function, as `help()` shows it. Answers
are read off the functions themselves, so nobody has to believe this file. Needs nothing but Python;
another version of Python has other docstrings.
"""

import importlib
import inspect
import json
import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MODULES = [
    "ast",
    "asyncio.streams",
    "asyncio.tasks",
    "bz2",
    "calendar",
    "codecs",
    "difflib",
    "doctest",
    "email.utils",
    "fnmatch",
    "functools",
    "getpass",
    "glob",
    "gzip",
    "heapq",
    "html",
    "http.server",
    "inspect",
    "json",
    "linecache",
    "lzma",
    "mimetypes",
    "os",
    "pickletools",
    "platform",
    "plistlib",
    "pprint",
    "reprlib",
    "shelve",
    "shutil",
    "socket",
    "statistics",
    "string",
    "tempfile",
    "textwrap",
    "timeit",
    "tokenize",
    "urllib.parse",
    "uuid",
    "xmlrpc.client",
]
KINDS = {"default": 40, "function": 16, "unanswerable": 16}
INVENTED = ("retries", "colour", "verbosity", "dialect", "precision", "backlog_limit")
PLAIN = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_. -]*")
SEED = 7


def functions(module: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the public functions of a module that say what they do."""
    found = importlib.import_module(module)
    for name, function in inspect.getmembers(found, inspect.isfunction):
        documented = len(inspect.getdoc(function) or "") >= 40
        if function.__module__ == module and not name.startswith("_") and documented:
            yield name, function


def paragraph(module: str, name: str, function: Callable[..., Any]) -> str:
    """Return a function as `help()` shows it: its signature, then its docstring."""
    text = f"{module}.{name}{inspect.signature(function)}\n\n{inspect.getdoc(function)}"
    return re.sub(r" at 0x[0-9a-f]+", "", text)  # another one in each process


def defaults(module: str, name: str, function: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """Yield what a parameter's default is, where it is a number or a word."""
    for parameter in inspect.signature(function).parameters.values():
        value = parameter.default
        telling = type(value) in (int, float, str) and value not in (0, 1, -1)
        if telling and PLAIN.fullmatch(str(value)):
            question = f"What is the default of `{parameter.name}` in {module}.{name}?"
            yield asked(f"default-{module}.{name}-{parameter.name}", question, str(value))


def purpose(module: str, name: str, function: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """Yield which function does what the first sentence says, unless the sentence names it."""
    words = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split()).rstrip(".")
    if 6 <= len(words.split()) <= 20 and name.lower() not in words.lower() and "(" not in words:
        question = f'Which function of the module {module} does this: "{words}"?'
        yield asked(f"function-{module}.{name}", question, name)


def impossible(module: str, name: str, function: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """Yield what the default of a parameter is that the function does not have."""
    invented = random.Random(f"{SEED}:{module}.{name}").choice(INVENTED)
    question = f"What is the default of `{invented}` in {module}.{name}?"
    yield asked(f"unanswerable-{module}.{name}", question, "") | {
        "answers": [],
        "is_impossible": True,
    }


def asked(name: str, question: str, answer: str) -> dict[str, Any]:
    """Return a question as SQuAD has it."""
    answers = [{"text": answer, "answer_start": -1}]
    return {"id": name, "question": question, "answers": answers, "is_impossible": False}


def main(path: Path) -> None:
    """Write the questions, a draw of each kind, at most one of a kind about a function."""
    makers = {"default": defaults, "function": purpose, "unanswerable": impossible}
    pool: dict[str, list[str]] = {kind: [] for kind in makers}
    places: dict[str, tuple[str, dict[str, Any]]] = {}
    articles = []
    for module in MODULES:
        paragraphs = []
        for name, function in functions(module):
            context = paragraph(module, name, function)
            paragraphs.append({"context": context, "qas": []})
            for kind, make in makers.items():
                for row in list(make(module, name, function))[:1]:
                    pool[kind].append(row["id"])
                    places[row["id"]] = (context, row)
        if paragraphs:
            articles.append({"title": module, "paragraphs": paragraphs})
    chosen = {
        name
        for kind, n in KINDS.items()
        for name in random.Random(f"{SEED}:{kind}").sample(pool[kind], min(n, len(pool[kind])))
    }
    by_context: dict[str, list[dict[str, Any]]] = {}
    for name in sorted(chosen):
        context, row = places[name]
        by_context.setdefault(context, []).append(row)
    for article in articles:
        for each in article["paragraphs"]:
            each["qas"] = by_context.get(each["context"], [])
    content = {"version": f"Python {sys.version.split()[0]}", "data": articles}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    counts = {kind: sum(name.startswith(kind) for name in chosen) for kind in KINDS}
    print(f"{path}: {len(articles)} modules, {counts}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
