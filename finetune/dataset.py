"""A data set on disk: immutable, and named after what is in it."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from finetune.example import Example, read_examples, write_examples
from finetune.recipe import Recipe
from finetune.rows import House, Retrieve, Rows, build_rows
from finetune.split import split_by_document
from finetune.ticket import Ticket, read_tickets
from ingest.errors import NotFoundError
from ingest.model_file import sha256_of

PACKAGES = ("groundtune", "torch", "transformers", "peft", "bitsandbytes", "sentence-transformers")
"""Packages whose versions a manifest names."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows to learn from, rows to measure on, and where all of them came from."""

    folder: Path
    """`<name>-<hash>`; holds train.jsonl, validation.jsonl, manifest.json and README.md."""
    manifest: dict[str, Any]

    @property
    def train(self) -> list[Example]:
        """The rows to learn from."""
        return read_examples(self.folder / "train.jsonl")

    @property
    def validation(self) -> list[Example]:
        """The rows to measure on; no document of theirs is in a training row's ticket."""
        return read_examples(self.folder / "validation.jsonl")


def build_dataset(
    recipe: Recipe,
    retrieve: Retrieve,
    house: House,
    *,
    folder: Path,
    prompt_fingerprint: str,
    now: datetime,
) -> Dataset:
    """Write the data set of `recipe` below `folder` and return it.

    The same tickets, evidence and recipe give the same folder; if it is there, it is left as it
    is. An interruption leaves nothing behind.

    Args:
        recipe: says what to build.
        retrieve: finds the evidence; the retriever that serves.
        house: the system text, the refusal and the number of passages that serve.
        folder: holds all data sets.
        prompt_fingerprint: of the prompt contract that the rows are built with.
        now: written down as the time of building.

    Raises:
        DataError: wrong lines in the tickets, or tickets that cannot be divided; nothing is
            written.
    """
    tickets = read_tickets(recipe.data.tickets)
    split = split_by_document(
        tickets, heldout_fraction=recipe.data.heldout_fraction, seed=recipe.data.seed
    )
    train = build_rows(split.train, retrieve, recipe.data, house)
    if recipe.data.max_rows:
        train = Rows(train.examples[: recipe.data.max_rows], train.counts)
    validation = build_rows(split.validation, retrieve, recipe.data, house)
    folder.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{recipe.name}-", dir=folder))
    try:
        write_examples(part / "train.jsonl", train.examples)
        write_examples(part / "validation.jsonl", validation.examples)
        hashes = {file.name: sha256_of(file) for file in sorted(part.glob("*.jsonl"))}
        digest = _digest(hashes, recipe.dump()["data"], prompt_fingerprint)
        target = folder / f"{recipe.name}-{digest[:12]}"
        if target.exists():
            return open_dataset(target)
        manifest = {
            "name": target.name,
            "sha256": digest,
            "created": now.isoformat(timespec="seconds"),
            "files": hashes,
            **_sources(recipe, len(tickets)),
            "top_k": house.shown,
            "prompt_fingerprint": prompt_fingerprint,
            "train": _describe(train, split.train),
            "validation": _describe(validation, split.validation),
            "packages": package_versions(),
        }
        _write_json(part / "manifest.json", manifest)
        (part / "README.md").write_text(_card(manifest), encoding="utf-8")
        part.rename(target)
        return Dataset(target, manifest)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def open_dataset(folder: Path) -> Dataset:
    """Return the data set in `folder`.

    Raises:
        NotFoundError: there is none.
    """
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise NotFoundError(
            f"There is no data set in {folder}.",
            hint="Build one with: groundtune dataset build CONFIG.toml",
        )
    return Dataset(folder, json.loads(manifest.read_text(encoding="utf-8")))


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that shape a data set or an adapter."""
    from importlib.metadata import PackageNotFoundError

    def one(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "not installed"

    return {name: one(name) for name in PACKAGES}


def _sources(recipe: Recipe, tickets: int) -> dict[str, Any]:
    """Return what a manifest says of where its rows come from."""
    return {
        "tickets": {
            "file": recipe.data.tickets.name,
            "sha256": sha256_of(recipe.data.tickets),
            "count": tickets,
        },
        "recipe": recipe.dump()["data"],
        "seed": recipe.data.seed,
    }


def _describe(rows: Rows, tickets: Sequence[Ticket]) -> dict[str, Any]:
    kinds: dict[str, int] = {}
    for example in rows.examples:
        kinds[example.tags[-1]] = kinds.get(example.tags[-1], 0) + 1
    total = len(rows.examples)
    return {
        "tickets": len(tickets),
        "documents": sorted({document for t in tickets for document in t.documents}),
        "rows": total,
        "left_out": rows.counts.get("left_out", 0),
        "kinds": dict(sorted(kinds.items())),
        "shares": {kind: round(n / total, 3) for kind, n in sorted(kinds.items())},
    }


def _digest(hashes: dict[str, str], recipe: dict[str, Any], fingerprint: str) -> str:
    content = json.dumps([hashes, recipe, fingerprint], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _card(manifest: dict[str, Any]) -> str:
    lines = [
        f"# Data set {manifest['name']}",
        "",
        f"Built {manifest['created']} from {manifest['tickets']['count']} tickets of "
        f"`{manifest['tickets']['file']}`, {manifest['top_k']} passages a row.",
        "",
        "| side | tickets | documents | rows | left out | kinds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for side in ("train", "validation"):
        d = manifest[side]
        kinds = ", ".join(f"{kind} {n}" for kind, n in d["kinds"].items())
        lines.append(
            f"| {side} | {d['tickets']} | {len(d['documents'])} | {d['rows']} | {d['left_out']} "
            f"| {kinds} |"
        )
    lines += [
        "",
        "- `answer`: the passages hold the facts; the target cites them by number.",
        "- `insufficient`: the passages lack a fact; the target is the refusal.",
        "- `refusal`: nobody could answer; the target is the refusal.",
        "- `no_evidence`: no passages; the target is the ticket's answer without sources.",
        "- left out: tickets whose passages lack the answer, beyond the share asked for.",
        "",
        "No document of a validation ticket is a document of a training ticket.",
    ]
    return "\n".join(lines) + "\n"
