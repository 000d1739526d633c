"""Tuned adapters as they go over the wire."""

from typing import Any

from assistant.api.wire import Wire


class AdapterReply(Wire):
    """A version of a tuned adapter."""

    name: str
    version: str
    aliases: list[str]
    base: Any
    created: Any
    parity: Any
    evaluation: Any


class AdaptersReply(Wire):
    """All tuned adapters."""

    adapters: list[AdapterReply]


class AliasesReply(Wire):
    """Which versions of an adapter its aliases stand for; empty where there is none."""

    name: str
    production: str
    previous: str
