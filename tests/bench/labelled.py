"""Labelled collections that anybody can make: Python's own docstrings, in the BEIR layout.

`python -m tests.bench.labelled known DIR`: what follows the first sentence of a docstring of the
standard library is a document, and 400 of these first sentences are the queries.
`python -m tests.bench.labelled functions DIR`: a function with its docstring is a document, and the
questions of `examples/stdlib/build.py` that can be answered are the queries.
"""

import contextlib
import importlib
import inspect
import json
import pkgutil
import random
import re
import runpy
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
ODD = re.compile(
    r"_|test|idlelib|turtle|lib2to3|antigravity|this$|tkinter|ensurepip|distutils|venv"
)
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
LEAST = 150
"""Characters of a document."""
QUERIES, SEED = 400, 7


class Labelled(NamedTuple):
    """Documents with their titles by id, queries by id, and the document that each is about."""

    documents: Mapping[str, tuple[str, str]]
    queries: Mapping[str, str]
    answers: Mapping[str, str]


def known_items() -> Labelled:
    """Return docstrings without their first sentence, and a draw of these sentences."""
    texts: dict[str, str] = {}  # what follows the first sentence -> the sentence
    openings: set[str] = set()
    for module in _modules():
        for thing in _things(module):
            parts = SENTENCE_END.split(_docstring(thing), maxsplit=1)
            first, rest = " ".join(parts[0].split()), parts[-1].strip()
            told = 5 <= len(first.split()) <= 30 and "(" not in first and "->" not in first
            if len(parts) == 2 and told and len(rest) >= LEAST and rest[:LEAST] not in openings:
                openings.add(rest[:LEAST])
                texts[rest] = first
    drawn = random.Random(SEED).sample(range(len(texts)), QUERIES)
    asked = dict(enumerate(texts.values()))
    return Labelled(
        {f"d{number}": ("", text) for number, text in enumerate(texts)},
        {f"q{number}": asked[number] for number in sorted(drawn)},
        {f"q{number}": f"d{number}" for number in drawn},
    )


def functions() -> Labelled:
    """Return what `examples/stdlib/build.py` makes, a function a document."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "squad.json"
        with contextlib.redirect_stdout(sys.stderr):
            runpy.run_path(str(ROOT / "examples" / "stdlib" / "build.py"))["main"](path)
        articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    documents, queries, answers = {}, {}, {}
    for article in articles:
        for number, paragraph in enumerate(article["paragraphs"]):
            name = f"{article['title']}-{number}"
            documents[name] = (article["title"], paragraph["context"])
            for asked in paragraph["qas"]:
                if not asked["is_impossible"]:
                    queries[asked["id"]] = asked["question"]
                    answers[asked["id"]] = name
    return Labelled(documents, queries, answers)


def write(labelled: Labelled, folder: Path) -> None:
    """Write a collection in the BEIR layout."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    corpus = [
        {"_id": name, "title": title, "text": text}
        for name, (title, text) in labelled.documents.items()
    ]
    queries = [{"_id": name, "text": text} for name, text in labelled.queries.items()]
    _write_lines(folder / "corpus.jsonl", [json.dumps(row) for row in corpus])
    _write_lines(folder / "queries.jsonl", [json.dumps(row) for row in queries])
    judged = [f"{query}\t{labelled.answers[query]}\t1" for query in labelled.queries]
    _write_lines(folder / "qrels" / "test.tsv", ["query-id\tcorpus-id\tscore", *judged])


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _modules() -> Iterator[ModuleType]:
    for name in sorted(name for name in sys.stdlib_module_names if not ODD.match(name)):
        with contextlib.suppress(ImportError, AttributeError):
            module = importlib.import_module(name)
            yield module
            for inner in pkgutil.iter_modules(getattr(module, "__path__", ())):
                if not ODD.match(inner.name):
                    with contextlib.suppress(ImportError, AttributeError):
                        yield importlib.import_module(f"{name}.{inner.name}")


def _things(module: ModuleType) -> Iterator[object]:
    """Yield the public functions and classes of a module, and the methods of its classes."""
    for name, thing in inspect.getmembers(module):
        if name.startswith("_") or not (inspect.isroutine(thing) or inspect.isclass(thing)):
            continue
        yield thing
        if inspect.isclass(thing) and thing.__module__ == module.__name__:
            yield from (v for k, v in vars(thing).items() if callable(v) and not k.startswith("_"))


def _docstring(thing: object) -> str:
    said: Any = inspect.getdoc(thing)
    return said if isinstance(said, str) else ""


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # old modules announce their end
    kind, target = sys.argv[1:]
    made = {"known": known_items, "functions": functions}[kind]()
    write(made, Path(target))
    sys.stdout.write(f"{len(made.documents)} documents, {len(made.queries)} queries\n")
