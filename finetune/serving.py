"""What `groundtune adapters deploy|remove|promote|rollback|parity` do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, get_args

from pydantic import ValidationError

from assistant.adapter import Adapter
from assistant.alias import promote, rollback
from assistant.audit import Audit
from assistant.config import EngineSettings, Settings
from assistant.engines import ollama_models, openai_models
from assistant.engines.ollama_models import OllamaModels
from assistant.engines.openai_models import OpenAIModels
from assistant.engines.server import PREFIX
from assistant.workspace import Workspace, open_workspace
from finetune.base_model import training_folder
from finetune.dataset import open_dataset
from finetune.deploy import BaseFile, Deployer, undeploy
from finetune.deploy_openai import load_adapter, unload_adapter
from finetune.merge import WeightType
from finetune.parity import check_parity
from finetune.parity_prompts import parity_prompts
from finetune.probe import probe_of
from finetune.reference import Reference
from finetune.tuning import write_manifest
from ingest.errors import ConflictError, UsageError

Kind = Literal["embedded", "ollama", "openai"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Server = Literal["ollama", "openai"]
SERVERS: tuple[Server, ...] = get_args(Server)
"""The kinds of engine that adapters are deployed to; the embedded one reads them where they lie."""

DEFAULT_URLS = {"ollama": ollama_models.DEFAULT_URL, "openai": openai_models.DEFAULT_URL}

Report = Callable[[str, int, int], None]


class _Deployed(NamedTuple):
    """What was done on a server."""

    url: str
    entry: dict[str, str]
    """What the adapter's manifest remembers."""
    uploaded: int
    """Bytes."""


def deploy_adapter(
    settings: Settings,
    name: str,
    *,
    merged: WeightType | None,
    kind: Server | None = None,
    url: str | None = None,
    prefix: str = PREFIX,
) -> dict[str, Any]:
    """Put an adapter onto a server and return what stands there.

    `kind` None takes the configured server, or Ollama; `url` None takes engine.url if that is of
    this kind. What was known of an earlier deployment's parity is forgotten where another file
    stands now.

    Raises:
        NotFoundError: no such adapter.
        MismatchError: it is for another base model or prompt.
        EngineError: the server is not there, or refused it.
    """
    kind = kind or _server_kind(settings)
    settings = _with_engine(settings, kind, url)
    with open_workspace(settings) as workspace:
        adapter = _fitting(workspace, name)
        if kind == "openai":
            done = _load(settings, adapter, merged, prefix)
        else:
            done = _send(workspace, adapter, merged, prefix)
    before = (adapter.manifest.get("deployed") or {}).get(kind)
    parity = _by_engine(adapter)
    if before != done.entry:
        parity.pop(kind, None)
    deployed = {**(adapter.manifest.get("deployed") or {}), kind: done.entry}
    write_manifest(
        adapter.folder, {**adapter.manifest, "deployed": deployed, "parity": parity or None}
    )
    body = {"adapter": adapter.reference, "engine": kind, "url": done.url, **done.entry}
    return {**body, "uploaded_bytes": done.uploaded}


def remove_adapter(
    settings: Settings,
    name: str,
    *,
    kind: Server | None = None,
    url: str | None = None,
    prefix: str = PREFIX,
) -> dict[str, Any]:
    """Take an adapter off a server again; the adapter itself stays in the workspace.

    Its base model goes with it, unless somebody needs that.

    Raises:
        NotFoundError: no such adapter.
        ConflictError: it is in production there.
        EngineError: the server is not there.
    """
    kind = kind or _server_kind(settings)
    serving = settings.engine.kind
    settings = _with_engine(settings, kind, url)
    with open_workspace(settings) as workspace:
        adapter = workspace.adapters.newest(name)
        aliases = workspace.adapters.aliases(adapter.name)
        if serving == kind and aliases.production == adapter.version:
            raise ConflictError(
                f"{adapter.reference} is in production on this server.",
                hint="Promote another version first, or go back: "
                f"groundtune adapters rollback {adapter.name}",
            )
        if kind == "openai":
            with _openai(settings) as served:
                done: dict[str, Any] = {"removed": unload_adapter(served, adapter, prefix=prefix)}
        else:
            asked = serving == kind and adapter.manifest["base_sha256"] == workspace.base_sha256
            with OllamaModels(settings.engine.url) as models:
                done = undeploy(models, adapter, prefix=prefix, asked=asked)._asdict()
    deployed = {**(adapter.manifest.get("deployed") or {})}
    deployed.pop(kind, None)
    parity = _by_engine(adapter)
    parity.pop(kind, None)
    write_manifest(
        adapter.folder, {**adapter.manifest, "deployed": deployed, "parity": parity or None}
    )
    return {"adapter": adapter.reference, **done}


def promote_adapter(settings: Settings, name: str, kind: Kind | None) -> dict[str, Any]:
    """Put a version into production.

    Raises:
        GateError: it was not found to serve as it was trained.
        MismatchError: it is for another base model or prompt.
    """
    with open_workspace(settings) as workspace:
        adapter = _fitting(workspace, name)
        aliases = promote(adapter, engine=kind or settings.engine.kind)
        Audit(workspace.registry.engine).note("promote", adapter.reference)
    return {"name": adapter.name, **aliases._asdict()}


def rollback_adapter(settings: Settings, name: str) -> dict[str, Any]:
    """Put the previous version back into production.

    Raises:
        NotFoundError: there is none.
    """
    with open_workspace(settings) as workspace:
        aliases = rollback(workspace.adapters, name)
        Audit(workspace.registry.engine).note("rollback", f"{name}:{aliases.production}")
    return {"name": name, **aliases._asdict()}


def parity_of(
    settings: Settings,
    name: str,
    kind: Kind | None,
    rows: int,
    url: str | None = None,
    *,
    max_tokens: int = 96,
) -> dict[str, Any]:
    """Compare an adapter as it is served with what was trained, and remember the outcome.

    Raises:
        NotFoundError: no such adapter, or its data set is gone.
        MismatchError: it is for another base model or prompt.
        EngineError: the engine failed.
    """
    if rows < 1:
        raise UsageError(f"--prompts {rows}: at least 1 row is needed.")
    settings = _with_engine(settings, kind, url)
    engine = settings.engine.kind
    with open_workspace(settings) as workspace, _bar() as report:
        adapter = _fitting(workspace, name)
        dataset = open_dataset(workspace.home / "datasets" / adapter.manifest["dataset"]["name"])
        probe = probe_of(workspace.engine)
        probe.facts(adapter.file)  # a missing model must not cost the loading of the reference
        base = training_folder(workspace.model_file, workspace.base_sha256)
        parity = check_parity(
            Reference(base, adapter.folder),
            workspace.engine,
            probe,
            adapter.file,
            parity_prompts(dataset, rows),
            kind=engine,
            max_tokens=max_tokens,
            report=lambda done, total: report("comparing, prompts", done, total),
        )
    body = parity.body()
    kept = {**_by_engine(adapter), engine: body}
    write_manifest(adapter.folder, {**adapter.manifest, "parity": kept})
    return body


def _fitting(workspace: Workspace, name: str) -> Adapter:
    adapter = workspace.adapters.newest(name)
    workspace.check_fit(adapter)
    return adapter


def _by_engine(adapter: Adapter) -> dict[str, Any]:
    return dict(adapter.manifest.get("parity") or {})


def _send(
    workspace: Workspace, adapter: Adapter, merged: WeightType | None, prefix: str
) -> _Deployed:
    """Make `adapter` a model of the Ollama server."""
    engine = workspace.settings.engine
    with OllamaModels(engine.url) as models, _bar() as report:
        base = BaseFile(workspace.model_file, workspace.base_sha256)
        deployer = Deployer(models, base, prefix=prefix, report=report)
        parameters = {"num_ctx": engine.context_tokens, "temperature": 0}
        entry = deployer.deploy(adapter, merged=merged, parameters=parameters).entry()
        return _Deployed(models.url, entry, deployer.uploaded)


def _load(
    settings: Settings, adapter: Adapter, merged: WeightType | None, prefix: str
) -> _Deployed:
    """Have the vLLM server load `adapter`."""
    if merged is not None:
        raise UsageError(
            "--merge and --quantize make a model for Ollama; vLLM loads the adapter as it is.",
            hint=f"groundtune adapters deploy {adapter.reference} --engine openai",
        )
    with _openai(settings) as models:
        entry = load_adapter(
            models, adapter, served_name=settings.engine.served_name, prefix=prefix
        )
        return _Deployed(models.url, entry, 0)


def _openai(settings: Settings) -> OpenAIModels:
    key = settings.engine.api_key.get_secret_value()
    return OpenAIModels(settings.engine.url, api_key=key, timeout=settings.engine.timeout_s)


def _server_kind(settings: Settings) -> Server:
    return "openai" if settings.engine.kind == "openai" else "ollama"


def _with_engine(settings: Settings, kind: Kind | None, url: str | None) -> Settings:
    """Return the settings with another kind of engine, at `url`."""
    configured = settings.engine
    kind = kind or configured.kind
    if kind == "embedded" and url:
        raise UsageError("--url: the embedded engine is in this process and has no address.")
    if url is None and kind not in (configured.kind, "embedded") and configured.url:
        raise UsageError(
            f"engine.url = {configured.url!r} is where the {configured.kind} engine runs; where "
            f"the {kind} server is, is not said.",
            hint=f"Add --url, such as: --engine {kind} --url {DEFAULT_URLS[kind]}",
        )
    changes = {"kind": kind, "url": configured.url if url is None else url}
    try:
        engine = EngineSettings.model_validate({**dict(configured), **changes})
    except ValidationError:
        raise UsageError(
            f"--url {url}: an address such as {DEFAULT_URLS['ollama']} is expected."
        ) from None
    return settings.model_copy(update={"engine": engine})


@contextmanager
def _bar() -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %, ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        yield report
