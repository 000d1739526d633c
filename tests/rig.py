"""A workspace that can be evaluated in seconds: three documents, and a model that copies."""

from assistant.config import Settings
from assistant.engines.engine import Request
from assistant.workspace import Workspace
from tests.fakes import ScriptedEngine, SmallWorkspace

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
