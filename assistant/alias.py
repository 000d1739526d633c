"""Which version of an adapter serves: `adapters/<name>/aliases.json`, replaced in one stroke."""

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock

from ingest.errors import GateError, NotFoundError, UsageError

if TYPE_CHECKING:
    from assistant.adapter import Adapter, AdapterStore

FILE = "aliases.json"
ALIASES = ("production", "previous")
MIN_PROMPTS = 20
"""A comparison with training on fewer prompts says too little to put an adapter into production."""
VERSION = re.compile(r"v([1-9][0-9]{0,5})")


class Aliases(NamedTuple):
    """Versions by what they are for; empty where there is none."""

    production: str = ""
    """Answers whoever names the adapter without a version."""
    previous: str = ""
    """Was in production before; `rollback` brings it back."""

    def of(self, version: str) -> list[str]:
        """Return the aliases that stand for `version`."""
        return [alias for alias, pointed in self._asdict().items() if pointed == version]


def read_aliases(folder: Path) -> Aliases:
    """Read the aliases of the adapter in `folder`; empty if none were ever given.

    Raises:
        UsageError: the file is damaged.
    """
    path = folder / FILE
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        aliases = Aliases(**content)
    except FileNotFoundError:
        return Aliases()
    except (ValueError, TypeError) as error:
        raise _damaged(path, str(error)) from None
    if not all(isinstance(v, str) and (not v or VERSION.fullmatch(v)) for v in aliases):
        raise _damaged(path, f"found {content}")
    return aliases


def promote(adapter: "Adapter", *, engine: str) -> Aliases:
    """Put `adapter` into production; what was there becomes `previous`.

    `engine` is the kind of engine that serves: the comparison with training must have passed on it.
    Where an evaluation of the adapter went through a gate, it must have passed that as well.

    Raises:
        GateError: the adapter was not compared on this engine, or failed, or its gate stopped it.
        NotFoundError: it was removed meanwhile.
    """
    parity = (adapter.manifest.get("parity") or {}).get(engine)
    command = f"groundtune adapters parity {adapter.reference} --engine {engine}"
    if parity is None:
        raise GateError(
            f"Nobody has checked that {adapter.reference} serves on {engine} as it was trained.",
            hint=command,
        )
    if not parity["passed"]:
        failures = "; ".join(parity["failures"])
        raise GateError(
            f"{adapter.reference} does not serve on {engine} as it was trained: {failures}",
            hint=f"Mend the cause, then check again: {command}",
        )
    if parity["prompts"] < MIN_PROMPTS:
        raise GateError(
            f"{adapter.reference} was compared with training on {parity['prompts']} prompts; "
            f"at least {MIN_PROMPTS} are needed.",
            hint=command,
        )
    _check_gate(adapter)
    folder = adapter.folder.parent
    with locked(folder.parent):
        if not adapter.folder.is_dir():
            raise NotFoundError(f"{adapter.reference} was removed meanwhile.")
        now = read_aliases(folder)
        if now.production == adapter.version:
            return now
        return _write(folder, Aliases(adapter.version, now.production))


def _check_gate(adapter: "Adapter") -> None:
    """Refuse an adapter whose last gated evaluation did not pass.

    Raises:
        GateError: names both reports.
    """
    found = adapter.manifest.get("evaluation")
    if found and not found["passed"]:
        old, new = (Path(found[side]).name for side in ("a", "b"))
        raise GateError(
            f"{adapter.reference} did not pass its gate: report {new} is worse than {old} beyond "
            "the margins.",
            hint=f"See why: groundtune eval compare {old} {new} --gate GATE.toml   A later report "
            "of this adapter that passes takes its place.",
        )


def rollback(store: "AdapterStore", name: str) -> Aliases:
    """Swap `production` and `previous` of the adapter called `name`; twice changes nothing.

    Raises:
        NotFoundError: no such adapter, nothing was in production before, or its version is gone.
    """
    with locked(store.folder):
        folder = store.get(f"{name}@previous").folder.parent
        now = read_aliases(folder)
        return _write(folder, Aliases(now.previous, now.production))


def locked(store: Path) -> FileLock:
    """Return a lock on the aliases in the folder `store`, among all processes of this machine."""
    return FileLock(store / ".lock")


def _write(folder: Path, aliases: Aliases) -> Aliases:
    """Replace the file, so that a reader sees the old aliases or the new ones, never a part."""
    part = folder / f".{FILE}.{os.getpid()}.part"
    with part.open("w", encoding="utf-8") as file:
        json.dump(aliases._asdict(), file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / FILE)
    return aliases


def _damaged(path: Path, found: str) -> UsageError:
    return UsageError(
        f"{path} is damaged: {found}.",
        hint=f'Expected an object such as {{"production": "v2", "previous": "v1"}} in {path}.',
    )
