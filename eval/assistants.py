"""Who answers for an arm: one workspace's documents, by each arm's own settings."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager

from assistant.answer import Answer, Ask
from assistant.assistant import Assistant
from assistant.config import Settings
from assistant.engines.engine import Engine
from assistant.workspace import Workspace
from eval.cluster import Cluster
from eval.recipe import Arm


class Elsewhere:
    """An assistant whose model belongs to another event loop than the run's."""

    def __init__(self, assistant: Assistant, loop: asyncio.AbstractEventLoop) -> None:
        self._assistant = assistant
        self._loop = loop

    async def answer(self, ask: Ask) -> Answer:
        """Return the cited answer."""
        answer = self._assistant.answer(ask)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(answer, self._loop))


class WorkspaceAssistants(AbstractContextManager["WorkspaceAssistants"]):
    """The assistants of a run; besides the workspace's own, one model is open at a time."""

    def __init__(
        self,
        workspace: Workspace,
        arms: Sequence[Arm],
        cluster: Cluster | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Take the arms' settings; no model is loaded yet.

        With a `cluster`, models that run in process run on its machines instead. `loop` is where
        the workspace's own model is asked; None asks it in the run's own.

        Raises:
            ConfigError: the engine or retrieval keys of an arm are wrong.
        """
        self._own = workspace
        self._cluster = cluster
        self._loop = loop
        variants: dict[str, Workspace] = {}
        self._workspaces: dict[str, Workspace] = {}
        for arm in arms:
            settings = arm.settings(workspace.settings)
            name = settings.model_dump_json()
            if settings == workspace.settings and cluster is None:
                variants[name] = workspace
            elif name not in variants:
                variants[name] = workspace.variant(settings)
            self._workspaces[arm.name] = variants[name]
        self._guest: tuple[str, Engine] | None = None

    def workspace(self, arm: Arm) -> Workspace:
        """Return the workspace as `arm` sees it."""
        return self._workspaces[arm.name]

    def engine(self, arm: Arm) -> str:
        """Return the name of the language model that answers for `arm`; equal for equal models."""
        return engine_name(self._workspaces[arm.name].settings)

    def of(self, arm: Arm) -> Assistant | Elsewhere:
        """Return the assistant of `arm`, and close the model of an arm with another one.

        The workspace's own model stays open.

        Raises:
            GroundtuneError: its model cannot be started.
        """
        workspace = self._workspaces[arm.name]
        name = self.engine(arm)
        if workspace is self._own:
            own = workspace.assistant
            return own if self._loop is None else Elsewhere(own, self._loop)
        if name == engine_name(self._own.settings) and self._cluster is None:
            workspace.engine = self._own.engine
        elif self._guest is not None and self._guest[0] == name:
            workspace.engine = self._guest[1]
        else:
            self.close()
            self._guest = name, self._opened(workspace)
        return workspace.assistant

    def _opened(self, workspace: Workspace) -> Engine:
        settings = workspace.settings
        if self._cluster is not None and settings.engine.kind == "embedded":
            workspace.engine = self._cluster.engine(settings)
        return workspace.engine

    def close(self) -> None:
        """Close the model that is open besides the workspace's own."""
        if self._guest is not None:
            self._guest[1].close()
            self._guest = None

    def __exit__(self, *_: object) -> None:
        self.close()


def engine_name(settings: Settings) -> str:
    """Name a language model and where it runs."""
    engine = settings.engine
    return " ".join(
        part for part in (engine.kind, engine.model, engine.served_name, engine.url) if part
    )
