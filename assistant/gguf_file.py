"""The base model's GGUF file: where it lies on this machine, and how it gets there.

Beside the names of `ingest/model_file.py`, `ollama:name` is a model of an Ollama server on this
machine, whose file is linked and not copied, and `hf:org/repo` or `hf:org/repo/file.gguf` a file of
the Hugging Face hub. Fetching decides which bytes these names stand for; a model that has changed
there is another base model here only after it was fetched again.
"""

import os
import re
import shlex
from pathlib import Path

from assistant.gguf_header import open_header
from ingest.errors import EngineError, MissingModelError, UsageError
from ingest.model_file import (
    FETCH,
    cache_folder,
    convert,
    converted_path,
    fetch,
    resolve,
    split_name,
)

LINKED = ("ollama", "hf")
"""Schemes whose files stay where they are."""


def resolve_gguf(name: str) -> Path:
    """Return where the GGUF file of the model called `name` lies. Asks no server.

    Raises:
        MissingModelError: it is not here yet; the hint is the command that fetches it.
        ConfigError: the name has no known scheme, package or conversion.
    """
    plain, conversion = split_name(name)
    if _scheme(plain) not in LINKED:
        return resolve(name)
    path = _link_of(plain)
    if conversion is not None:
        path = converted_path(path, conversion)
    if not path.exists():
        raise MissingModelError(f"{name} is not on this machine.", hint=f"{FETCH} '{name}'")
    return path


def fetch_gguf(name: str, *, ollama_url: str = "") -> Path:
    """Bring the GGUF file of the model called `name` onto this machine and return its place.

    `ollama_url` is the server that knows `ollama:` names; empty takes the one on this machine.

    Raises:
        MissingModelError: the server or the hub does not have it, or its file cannot be read here.
        UsageError: it is of several files, or none of them is GGUF.
        EngineError: the server or the hub cannot be reached, or broke off.
        ConfigError: the name has no known scheme, package or conversion.
    """
    plain, conversion = split_name(name)
    scheme = _scheme(plain)
    if scheme not in LINKED:
        return fetch(name)
    rest = plain.removeprefix(f"{scheme}:")
    file = installed_file(rest, ollama_url) if scheme == "ollama" else hub_file(rest)
    with open_header(file):  # it says so if this is no GGUF file
        pass
    path = _linked(_link_of(plain), file)
    if conversion is None:
        return path
    target = converted_path(path, conversion)
    if not target.exists():
        convert(path, target, conversion)
    return target


def installed_file(name: str, url: str = "") -> Path:
    """Return the file of the model that an Ollama server calls `name`.

    Raises:
        MissingModelError: the server does not have the model, or this machine cannot read its file.
        UsageError: it is a base model with an adapter on top.
        EngineUnavailableError: no such server.
    """
    from assistant.engines.ollama_models import OllamaModels  # its client is slow to import

    with OllamaModels(url or os.environ.get("OLLAMA_HOST", "")) as models:
        try:
            shown = models.show(name)
        except MissingModelError as error:
            raise MissingModelError(error.message, hint=f"ollama pull {name}") from None
        where = models.url
    lines = (line.partition(" ") for line in str(shown.get("modelfile") or "").splitlines())
    made_of = [(key, rest.strip()) for key, _, rest in lines if key in ("FROM", "ADAPTER")]
    if any(key == "ADAPTER" for key, _ in made_of):
        raise UsageError(
            f"The model {name} at {where} is a base model with an adapter on top.",
            hint="Name its base model: ollama list",
        )
    path = Path(made_of[0][1] if made_of else "")
    if not path.is_absolute() or not os.access(path, os.R_OK) or not path.is_file():
        raise MissingModelError(
            f"The file of {name} is {path} where the Ollama server at {where} runs, and cannot be "
            "read from here.",
            hint=f"Copy it here, such as: sudo cp {shlex.quote(str(path))} model.gguf; then set "
            'engine.model = "file:model.gguf".',
        )
    return path


def hub_file(name: str, *, endpoint: str | None = None) -> Path:
    """Return a GGUF file of the hub, downloaded into the hub's own cache.

    `name` is `org/repo/file.gguf`, or `org/repo` where that has one GGUF file. `endpoint` None
    takes `HF_ENDPOINT`, or the public hub.

    Raises:
        MissingModelError: there is no such repository or file.
        UsageError: the repository has several GGUF files, or none.
        EngineError: the hub cannot be reached.
    """
    import httpx2
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError

    repo, file = _repository(name)
    try:
        if not file:
            siblings = HfApi(endpoint=endpoint).model_info(repo).siblings or []
            names = (sibling.rfilename for sibling in siblings)
            file = _only_gguf(repo, sorted(n for n in names if n.endswith(".gguf")))
        return Path(hf_hub_download(repo, file, endpoint=endpoint))
    except RepositoryNotFoundError:
        raise MissingModelError(
            f"The hub has no repository {repo}, or shows it to its members alone.",
            hint="Log in with: hf auth login",
        ) from None
    except RemoteEntryNotFoundError:
        raise MissingModelError(f"The repository {repo} has no file {file}.") from None
    except (OSError, httpx2.HTTPError) as error:
        raise EngineError(
            f"The hub did not give {name}: {str(error)[:300]}",
            hint='Fetch the file another way and set engine.model = "file:PATH".',
        ) from None


def _repository(name: str) -> tuple[str, str]:
    org, _, rest = name.partition("/")
    repo, _, file = rest.partition("/")
    if not org or not repo or (file and not file.endswith(".gguf")):
        raise UsageError(f"hf:{name} is no name; write hf:org/repo or hf:org/repo/file.gguf.")
    return f"{org}/{repo}", file


def _only_gguf(repo: str, files: list[str]) -> str:
    if len(files) == 1:
        return files[0]
    if not files:
        raise UsageError(
            f"The repository {repo} has no GGUF file, and answers are generated from one.",
            hint="Look for a repository whose name ends with -GGUF.",
        )
    raise UsageError(
        f"The repository {repo} has {len(files)} GGUF files: {', '.join(files)}.",
        hint=f'Choose one: engine.model = "hf:{repo}/{files[0]}"',
    )


def _scheme(name: str) -> str:
    return name.partition(":")[0]


def _link_of(name: str) -> Path:
    """Return where the link for `name` is, or would be; each name has a folder of its own."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name.removesuffix(".gguf"))
    return cache_folder() / "models" / slug / f"{slug}.gguf"


def _linked(link: Path, file: Path) -> Path:
    """Make `link` another name of `file`; what was converted from an older one is removed."""
    if link.exists() and link.samefile(file):
        return link
    link.parent.mkdir(parents=True, exist_ok=True)
    part = link.with_name(f"{link.name}.{os.getpid()}.part")
    try:
        os.link(file.resolve(), part)  # it stays ours when Ollama throws its name away
    except OSError:  # another disk, or another user's file
        part.symlink_to(file)
    for old in link.parent.glob("*.gguf"):
        old.unlink()
    part.replace(link)
    return link
