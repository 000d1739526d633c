"""Tuned adapters on disk: `adapters/<name>/<version>/` with a manifest."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.alias import ALIASES, VERSION, Aliases, read_aliases
from assistant.engines.engine import AdapterFile
from ingest.errors import MismatchError, NotFoundError, UsageError

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
AUTO = "auto"
"""In place of a name: the adapter that the question is for (`assistant/choice.py`)."""
REFERENCE = re.compile(r"(?P<name>[^:@]+)(?::(?P<version>[^:@]+)|@(?P<alias>[^:@]+))?")


@dataclass(frozen=True, slots=True)
class Adapter:
    """One version of a tuned adapter."""

    name: str
    version: str
    """`v1`, `v2`, ...; counted up by each training run."""
    folder: Path
    manifest: dict[str, Any]

    @property
    def reference(self) -> str:
        """`name:version`."""
        return f"{self.name}:{self.version}"

    @property
    def file(self) -> AdapterFile:
        """What an engine loads."""
        return AdapterFile(self.reference, self.folder / "lora.gguf")


class AdapterStore:
    """All adapters of a workspace. A version without a manifest is unfinished and not shown."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def list(self) -> list[Adapter]:
        """Return every finished version, by name, then oldest first."""
        found = []
        for manifest in sorted(self.folder.glob("*/v*/manifest.json")):
            version = manifest.parent
            if VERSION.fullmatch(version.name) and NAME.fullmatch(version.parent.name):
                content = json.loads(manifest.read_text(encoding="utf-8"))
                found.append(Adapter(version.parent.name, version.name, version, content))
        return sorted(found, key=lambda a: (a.name, int(a.version[1:])))

    def get(self, reference: str | None) -> Adapter:
        """Return an adapter.

        `name` is the version in production, or the newest while none was promoted; `name:v2` and
        `name@production` say which. None takes the newest that is in production under any name,
        or the newest of all.

        Raises:
            NotFoundError: there is none; says which exist.
        """
        adapters = self.list()
        if not adapters:
            raise NotFoundError(
                "There is no tuned adapter in this workspace yet.",
                hint="Train one with: groundtune finetune CONFIG.toml",
            )
        if reference is None:
            return self._newest(adapters)
        parts = REFERENCE.fullmatch(reference)
        own = [a for a in adapters if parts and a.name == parts["name"]]
        if parts is None or not own:
            raise _unknown(reference, adapters)
        if parts["version"]:
            return _of_version(reference, parts["version"], own, adapters)
        if parts["alias"]:
            return self._of_alias(reference, parts["alias"], own)
        production = self.aliases(own[0].name).production
        if not production:
            return own[-1]
        return _of_version(f"{reference}@production", production, own, adapters)

    def newest(self, reference: str) -> Adapter:
        """Return the newest version called `name`, whatever is in production, or the one named.

        This is what is meant where a version is on its way into production.

        Raises:
            NotFoundError: there is none; says which exist.
        """
        own = [a for a in self.list() if a.name == reference]
        return own[-1] if own else self.get(reference)

    def aliases(self, name: str) -> Aliases:
        """Return which versions of the adapter called `name` its aliases stand for."""
        return read_aliases(self.folder / name)

    def _newest(self, adapters: Sequence[Adapter]) -> Adapter:
        serving = [a for a in adapters if self.aliases(a.name).production == a.version]
        return sorted(serving or adapters, key=lambda a: str(a.manifest.get("created", "")))[-1]

    def _of_alias(self, reference: str, alias: str, own: Sequence[Adapter]) -> Adapter:
        if alias not in ALIASES:
            raise NotFoundError(f"{reference!r}: known after the @ are {' and '.join(ALIASES)}.")
        version: str = getattr(self.aliases(own[0].name), alias)
        if not version:
            raise NotFoundError(
                f"{own[0].name} has no {alias} version.",
                hint=f"groundtune adapters promote {own[0].name}:VERSION",
            )
        return _of_version(reference, version, own, own)

    def next_version(self, name: str) -> str:
        """Return the version that the next training run of `name` gets.

        Raises:
            UsageError: `name` cannot be a folder's name on every system.
        """
        if not NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot name an adapter: use lower-case letters, digits, '.', '_', '-'."
            )
        if name == AUTO:
            raise UsageError(f"{name!r} cannot name an adapter: it lets the question choose one.")
        numbers = [int(a.version[1:]) for a in self.list() if a.name == name]
        return f"v{max(numbers, default=0) + 1}"


def record_evaluation(adapter: Adapter, evaluation: Mapping[str, Any]) -> None:
    """Keep in the adapter's manifest what its last gated evaluation found."""
    part = adapter.folder / "manifest.part"
    manifest = {**adapter.manifest, "evaluation": dict(evaluation)}
    part.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(adapter.folder / "manifest.json")


def check_fit(adapter: Adapter, *, prompt_fingerprint: str, base_sha256: str) -> None:
    """Refuse an adapter that was trained for another prompt or another base model.

    Raises:
        MismatchError: names what differs and how to mend it.
    """
    expected = {"prompt_fingerprint": prompt_fingerprint, "base_sha256": base_sha256}
    what = {
        "prompt_fingerprint": "prompt (system text, evidence layout or chat template)",
        "base_sha256": "base model",
    }
    for key, value in expected.items():
        trained = adapter.manifest.get(key)
        if trained != value:
            raise MismatchError(
                f"Adapter {adapter.reference} was trained for another {what[key]}: "
                f"{trained}, and this assistant uses {value}.",
                hint="Restore the configuration it was trained with, or train again: "
                f"groundtune finetune CONFIG.toml (its recipe is in {adapter.folder}).",
            )


def check_engine(adapter: Adapter, aliases: Aliases, engine: str) -> None:
    """Refuse a version in production that was not found to serve on `engine` as it was trained.

    It was promoted for another kind of engine, and the configuration has changed since. A version
    that is not in production reaches only those who ask for it.

    Raises:
        MismatchError: says what to run.
    """
    parity = (adapter.manifest.get("parity") or {}).get(engine)
    if aliases.production == adapter.version and not (parity and parity["passed"]):
        raise MismatchError(
            f"Adapter {adapter.reference} is in production, but was not found to serve on {engine} "
            "as it was trained.",
            hint=f"groundtune adapters parity {adapter.reference} --engine {engine}",
        )


def _of_version(
    reference: str, version: str, own: Sequence[Adapter], known: Sequence[Adapter]
) -> Adapter:
    found = next((a for a in own if a.version == version), None)
    if found is None:
        raise _unknown(reference, known)
    return found


def _unknown(reference: str, known: Sequence[Adapter]) -> NotFoundError:
    listed = ", ".join(a.reference for a in known)
    return NotFoundError(f"No adapter called {reference!r}. There are: {listed}.")
