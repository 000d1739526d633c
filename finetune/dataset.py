"""A data set on disk: immutable, and named after what is in it."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from finetune.dataset_card import dataset_card, describe
from finetune.example import Example, read_examples, write_examples
from ingest.errors import NotFoundError
from ingest.model_file import sha256_of

PACKAGES = ("groundtune", "torch", "transformers", "peft", "bitsandbytes", "sentence-transformers")
"""Packages whose versions a manifest names."""
WHOLE = "rows"
"""The only side of a data set that is not divided."""
SIDES = ("train", "validation", "test")
REVIEW = "review.jsonl"
"""What a person has to look at; no row of the data set."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows to learn from, rows to measure on, and where all of them came from."""

    folder: Path
    """`<name>-<hash>`; holds a file for each side, manifest.json and README.md."""
    manifest: dict[str, Any]

    @property
    def train(self) -> list[Example]:
        """The rows to learn from."""
        return read_examples(self.folder / "train.jsonl")

    @property
    def validation(self) -> list[Example]:
        """The rows to measure on; no document of theirs is in a training row's ticket."""
        return read_examples(self.folder / "validation.jsonl")

    @property
    def sides(self) -> dict[str, list[Example]]:
        """The rows of each side that there is; an undivided data set has `rows` alone."""
        return {name: read_examples(file) for name, file in self.files.items()}

    @property
    def files(self) -> dict[str, Path]:
        """The file of each side."""
        named = {name: self.folder / f"{name}.jsonl" for name in (WHOLE, *SIDES)}
        return {name: file for name, file in named.items() if file.is_file()}

    @property
    def divided(self) -> bool:
        """Whether it has sides."""
        return (self.folder / "train.jsonl").is_file()

    @property
    def name(self) -> str:
        """The name without the hash."""
        return self.folder.name.rpartition("-")[0]


@dataclass(frozen=True, slots=True)
class Content:
    """What a data set is to hold."""

    name: str
    sides: Mapping[str, Sequence[Example]]
    facts: Mapping[str, Any]
    """What the manifest says besides counts and hashes; `prompt_fingerprint` is one."""
    identity: Any
    """JSON types: what tells two data sets of the same rows apart, besides the rows."""
    side_facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What the manifest says of a side besides its counts."""
    review: Sequence[Mapping[str, Any]] = ()


def write_dataset(folder: Path, content: Content, *, now: datetime) -> Dataset:
    """Write a data set below `folder` and return it.

    The same content gives the same folder; if it is there, it is left as it is. An interruption
    leaves nothing behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{content.name}-", dir=folder))
    try:
        for side, examples in content.sides.items():
            write_examples(part / f"{side}.jsonl", examples)
        if content.review:
            lines = [json.dumps(item, ensure_ascii=False) + "\n" for item in content.review]
            (part / REVIEW).write_text("".join(lines), encoding="utf-8")
        hashes = {file.name: sha256_of(file) for file in sorted(part.glob("*.jsonl"))}
        digest = hashlib.sha256(
            json.dumps([hashes, content.identity], sort_keys=True).encode()
        ).hexdigest()
        target = folder / f"{content.name}-{digest[:12]}"
        if target.exists():
            return open_dataset(target)
        manifest = {
            "name": target.name,
            "sha256": digest,
            "created": now.isoformat(timespec="seconds"),
            "files": hashes,
            **content.facts,
            **{
                side: describe(examples) | dict(content.side_facts.get(side, {}))
                for side, examples in content.sides.items()
            },
            "to_review": len(content.review),
            "packages": package_versions(),
        }
        _write_json(part / "manifest.json", manifest)
        (part / "README.md").write_text(dataset_card(manifest), encoding="utf-8")
        part.chmod(0o755)
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


def list_datasets(folder: Path) -> list[Dataset]:
    """Return every data set below `folder`, oldest first."""
    found = [open_dataset(manifest.parent) for manifest in folder.glob("[!.]*/manifest.json")]
    return sorted(found, key=lambda d: (d.manifest.get("created", ""), d.folder.name))


def find_dataset(folder: Path, reference: str) -> Dataset:
    """Return a data set by the path of its folder, its whole name, or its name without the hash.

    Without the hash, the newest of that name is meant.

    Raises:
        NotFoundError: there is none; says which there are.
    """
    for place in (folder / reference, Path(reference)):
        if (place / "manifest.json").is_file():
            return open_dataset(place)
    there = list_datasets(folder)
    named = [dataset for dataset in there if dataset.name == reference]
    if named:
        return named[-1]
    known = ", ".join(dataset.folder.name for dataset in there) or "none yet"
    raise NotFoundError(
        f"There is no data set {reference!r}. There are: {known}.",
        hint="Build one with: groundtune dataset build CONFIG.toml",
    )


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that shape a data set or an adapter."""

    def one(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "not installed"

    return {name: one(name) for name in PACKAGES}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
