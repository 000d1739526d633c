"""`groundtune doctor`: what works on this machine, what does not, and the command that mends it."""

import argparse
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

from assistant.config import Settings
from assistant.gguf_file import resolve_gguf
from assistant.stores import open_registry, open_vectors, state_path
from ingest.embedding_model import REEMBED, remembered
from ingest.errors import GroundtuneError
from ingest.model_file import FETCH, resolve, sha256_of
from ingest.registry import Registry

FREE_GB = 3
SERVER_S = 5.0  # it need only say its version and the names of its models
EXTRAS = {"finetune": ["peft", "bitsandbytes", "matplotlib"], "eval": ["ragas", "scipy"]}
SCALE = {"qdrant": "qdrant_client", "postgresql": "pg8000"}
"""What a store needs besides the core."""


class Finding(NamedTuple):
    """What one check found."""

    check: str
    ok: bool
    detail: str
    fix: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments: none."""


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Run every check; none of them stops another."""
    checks: list[Callable[[Settings], list[Finding]]] = [
        _system,
        _models,
        _server,
        _stores,
        _extras,
        _workspace,
    ]
    findings = [finding for check in checks for finding in check(settings)]
    return {
        "ok": all(finding.ok for finding in findings),
        "findings": [finding._asdict() for finding in findings],
    }


def render(result: dict[str, Any]) -> str:
    """Return one line a check."""
    lines = []
    for finding in result["findings"]:
        lines.append(f"{'ok ' if finding['ok'] else 'NO '} {finding['check']}: {finding['detail']}")
        if finding["fix"]:
            lines.append(f"      {finding['fix']}")
    return "\n".join(lines)


def _system(settings: Settings) -> list[Finding]:
    version = sys.version.split()[0]
    place = settings.home if settings.home.exists() else settings.home.absolute().parent
    free = shutil.disk_usage(place).free / 1e9
    fts = (
        sqlite3.connect(":memory:")
        .execute("SELECT sqlite_compileoption_used('ENABLE_FTS5')")
        .fetchone()[0]
    )
    return [
        Finding("Python", sys.version_info >= (3, 11), version, ""),
        Finding("processor cores", True, str(os.cpu_count())),
        Finding(
            "free disk", free > FREE_GB, f"{free:.0f} GB", "" if free > FREE_GB else "Make room."
        ),
        Finding("SQLite full text", bool(fts), sqlite3.sqlite_version),
    ]


def _models(settings: Settings) -> list[Finding]:
    findings = []
    names = {settings.engine.model: resolve_gguf, settings.embedding.model: resolve}
    for name, place_of in names.items():
        try:
            findings.append(Finding("model", True, f"{name} at {place_of(name)}"))
        except GroundtuneError as error:
            findings.append(Finding("model", False, error.message, error.hint))
    return findings


def _server(settings: Settings) -> list[Finding]:
    if settings.engine.kind == "openai":
        return [_openai(settings)]
    if settings.engine.kind != "ollama":
        return []
    from assistant.engines.ollama_models import OllamaModels, base_name

    with OllamaModels(settings.engine.url, timeout=SERVER_S) as models:
        try:
            found = [Finding("Ollama server", True, f"version {models.version()} at {models.url}")]
            name = base_name(sha256_of(resolve_gguf(settings.engine.model)))
            there = models.exists(name)
        except GroundtuneError as error:
            return [Finding("Ollama server", False, error.message, error.hint)]
    detail = f"{name} " + ("is there" if there else "is not there")
    found.append(Finding("base model on the server", there, detail, "" if there else FETCH))
    return found


def _openai(settings: Settings) -> Finding:
    from assistant.engines.openai_models import OpenAIModels, base_of

    engine = settings.engine
    key = engine.api_key.get_secret_value()
    with OpenAIModels(engine.url, api_key=key, timeout=SERVER_S) as models:
        try:
            base = base_of(models.list(), models.url)
        except GroundtuneError as error:
            return Finding("OpenAI-compatible server", False, error.message, error.hint)
        return Finding("OpenAI-compatible server", True, f"serves {base.name} at {models.url}")


def _stores(settings: Settings) -> list[Finding]:
    """Try the stores; a folder in the workspace that a server may be using is left alone."""
    store = settings.store
    missing = [
        module
        for kind, module in SCALE.items()
        if kind in f"{store.vectors} {store.state}" and find_spec(module) is None
    ]
    if missing:
        fix = "pip install 'groundtune[scale]'"
        return [Finding("stores", False, f"missing {', '.join(missing)}", fix)]
    if store.state == "sqlite" and not state_path(settings.home).exists():
        return [Finding("documents", True, f"{state_path(settings.home)} is not there yet")]
    try:
        registry = open_registry(store.state, settings.home)
    except GroundtuneError as error:
        return [Finding("documents", False, error.message, error.hint)]
    try:
        return [_documents(registry), *_vectors(registry, settings)]
    except GroundtuneError as error:
        return [Finding("vectors", False, error.message, error.hint)]
    finally:
        registry.close()


def _documents(registry: Registry) -> Finding:
    known = remembered(registry)
    made = "" if known is None else f", embedded with {known.name}"
    passages = sum(registry.sizes().values())
    return Finding("documents", True, f"{passages} passages in {registry.place}{made}")


def _vectors(registry: Registry, settings: Settings) -> list[Finding]:
    known = remembered(registry)
    spec = settings.store.vectors
    if "://" not in spec or known is None:
        return []
    vectors = open_vectors(spec, settings.home, index=registry.index_id, model=known.fingerprint)
    try:
        lost = [n for n, size in registry.sizes().items() if vectors.count(n) < size]
    finally:
        vectors.close()
    detail = f"lost in {', '.join(lost)}" if lost else f"all at {vectors.place}"
    return [Finding("vectors", not lost, detail, REEMBED if lost else "")]


def _extras(settings: Settings) -> list[Finding]:
    findings = []
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        fix = f"pip install 'groundtune[{extra}]'" if missing else ""
        detail = f"missing {', '.join(missing)}" if missing else "installed"
        findings.append(Finding(f"extra [{extra}]", not missing, detail, fix))
    return findings


def _workspace(settings: Settings) -> list[Finding]:
    home = settings.home
    place = home
    while not place.exists():
        place = place.absolute().parent
    writable = os.access(place, os.W_OK)
    detail = f"{home} " + ("is there" if home.exists() else "will be made at the first ingest")
    return [Finding("workspace", writable, detail if writable else f"{place} cannot be written")]
