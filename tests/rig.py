"""A workspace that can be evaluated in seconds: three documents, and a model that copies."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assistant.config import Settings
from assistant.engines.engine import Request
from assistant.workspace import Workspace
from tests.fakes import ScriptedEngine, SmallWorkspace

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FACTS = {"Osprey 77": "61 N·m", "Bodkin 260": "25 N·m", "Wick 12": "9 N·m"}


def reply(request: Request) -> str:
    """Copy the first torque of the evidence; without evidence, guess."""
    prompt = request.messages[-1].content
    shown = [fact for fact in FACTS.values() if fact in prompt]
    return f"It is {min(shown, key=prompt.index)}." if shown else "It is 5 N·m."


class Counter:
    """Progress that is counted."""

    def __init__(self) -> None:
        self.seen = 0

    def advance(self) -> None:
        self.seen += 1


class Rig(SmallWorkspace):
    """A workspace whose arms may name other engines, each scripted as well."""

    def __init__(self, settings: Settings, engine: ScriptedEngine) -> None:
        super().__init__(settings, engine)
        self.scripted = engine
        self.others: list[Rig] = []

    def variant(self, settings: Settings) -> Workspace:
        other = Rig(settings, ScriptedEngine(self.scripted._reply))
        other.registry, other.index, other.adapters = self.registry, self.index, self.adapters
        self.others.append(other)
        return other


def numbers(result: dict[str, Any]) -> dict[str, Any]:
    """Return `report.json` without what a clock put there."""
    content = json.loads((Path(result["report"]) / "report.json").read_text(encoding="utf-8"))
    content.pop("created")
    for key in ("seconds", "answers_from_cache"):
        content["manifest"].pop(key)
    for row in content["scores"]:
        for name in ("total_ms", "first_token_ms"):
            row["scores"].pop(name)
    for costs in content["summary"]["costs"].values():
        for name in ("total_ms", "first_token_ms"):
            costs.pop(name)
    return dict(content)
