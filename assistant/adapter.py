"""Tuned adapters on disk: `adapters/<name>/<version>/` with a manifest."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.engines.engine import AdapterFile
from ingest.errors import MismatchError, NotFoundError, UsageError

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
VERSION = re.compile(r"v([1-9][0-9]{0,5})")


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
        """Return the adapter called `name:version`, the newest called `name`, or the newest of all.

        Raises:
            NotFoundError: there is none; says which exist.
        """
        adapters = self.list()
        if reference is None:
            chosen = sorted(adapters, key=lambda a: str(a.manifest.get("created", "")))
        else:
            name, _, version = reference.partition(":")
            chosen = [a for a in adapters if a.name == name and version in ("", a.version)]
        if chosen:
            return chosen[-1]
        if not adapters:
            raise NotFoundError(
                "There is no tuned adapter in this workspace yet.",
                hint="Train one with: groundtune finetune CONFIG.toml",
            )
        known = ", ".join(a.reference for a in adapters)
        raise NotFoundError(f"No adapter called {reference!r}. There are: {known}.")

    def next_version(self, name: str) -> str:
        """Return the version that the next training run of `name` gets.

        Raises:
            UsageError: `name` cannot be a folder's name on every system.
        """
        if not NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot name an adapter: use lower-case letters, digits, '.', '_', '-'."
            )
        numbers = [int(a.version[1:]) for a in self.list() if a.name == name]
        return f"v{max(numbers, default=0) + 1}"


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
