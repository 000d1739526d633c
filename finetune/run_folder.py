"""Where a run lives until it is an adapter: `adapters/<name>/.run/`, one for each name.

It is hidden from the store of adapters, so nothing half-written is ever seen there.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from finetune.checkpoint import CHECKPOINT, load_checkpoint
from ingest.errors import ConflictError, MismatchError

FACTS = "run.json"
COMMAND = "groundtune finetune CONFIG.toml"


def run_folder(versions: Path) -> Path:
    """Return the folder of the run beside `versions`, whether there is one or not."""
    return versions / ".run"


def interrupted(versions: Path) -> dict[str, Any] | None:
    """Return the facts of a run that was cut off behind a checkpoint; None if there is none."""
    folder = run_folder(versions)
    if not (folder / CHECKPOINT).is_file() or not (folder / FACTS).is_file():
        return None
    facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    finished = versions.glob("v*/manifest.json")
    if any(json.loads(m.read_text(encoding="utf-8")).get("run") == facts["id"] for m in finished):
        return None  # it was cut off while it cleaned up
    return facts


def run_id(folder: Path) -> str:
    """Return what names the run in `folder`; the manifest of what it makes holds it too."""
    return str(json.loads((folder / FACTS).read_text(encoding="utf-8"))["id"])


def begin(versions: Path, facts: Mapping[str, Any], *, resume: bool, restart: bool) -> Path:
    """Return the folder for the run that `facts` describe: a fresh one, or that to go on in.

    A run that was cut off before its first checkpoint is nothing to go on from.

    Raises:
        ConflictError: a run was cut off, and neither `resume` nor `restart` says what of it.
        MismatchError: it is to go on, but with other inputs; names them.
    """
    folder = run_folder(versions)
    before = interrupted(versions)
    if before is not None and not restart:
        if not resume:
            found = load_checkpoint(folder)
            step = found[0].step if found else 0
            raise ConflictError(
                f"A run of {versions.name} was cut off behind step {step}.",
                hint=f"Go on: {COMMAND} --resume; throw it away and begin again: "
                f"{COMMAND} --restart",
            )
        _check_same(before, facts, versions.name)
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    part = folder / f".{FACTS}.part"
    content = {"id": uuid4().hex, **facts}
    part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(folder / FACTS)
    return folder


def _check_same(before: Mapping[str, Any], now: Mapping[str, Any], name: str) -> None:
    then, today = _flat(before), _flat(now)
    changed = [
        f"{key}: {then.get(key)!r}, now {today.get(key)!r}"
        for key in sorted({*then, *today})
        if key != "id" and then.get(key) != today.get(key)
    ]
    if changed:
        raise MismatchError(
            f"The run of {name} that was cut off had other inputs: {'; '.join(changed)}.",
            hint=f"Put them back to go on, or begin again: {COMMAND} --restart",
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
