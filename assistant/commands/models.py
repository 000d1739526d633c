"""`groundtune models fetch [NAME]`: bring models to where they are used, once."""

import argparse
from pathlib import Path
from typing import Any

from assistant.config import EngineSettings, Settings
from assistant.gguf_file import fetch_gguf, resolve_gguf
from ingest.model_file import fetch, sha256_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="fetch")
    one = actions.add_parser("fetch", help="download a model, if it is not here yet")
    one.add_argument("name", nargs="?", help="default: the models of the configuration")


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Fetch, and return where each model lies; the base model also goes onto a model server.

    Raises:
        EngineError: a download failed, or the server refused the model.
        ConfigError: not a model's name.
    """
    engine = settings.engine
    names = [args.name] if args.name else [engine.model, settings.embedding.model]
    places = {name: str(_fetched(name, settings)) for name in names}
    if not args.name and engine.kind == "ollama":
        places[f"{engine.model} on the server"] = _to_ollama(engine)
    return {"models": places}


def _fetched(name: str, settings: Settings) -> Path:
    if name == settings.embedding.model:
        return fetch(name)
    engine = settings.engine
    return fetch_gguf(name, ollama_url=engine.url if engine.kind == "ollama" else "")


def _to_ollama(engine: EngineSettings) -> str:
    """Put the base model onto the Ollama server, if it is not there, and say where it is."""
    from assistant.engines.ollama_models import OllamaModels, base_name, push_base
    from assistant.engines.tokenizer import GgufTokenizer

    gguf = resolve_gguf(engine.model)
    sha256 = sha256_of(gguf)
    with OllamaModels(engine.url, timeout=engine.timeout_s) as models:
        models.version()
        if not models.exists(base_name(sha256)):
            push_base(models, gguf, sha256=sha256, stop=GgufTokenizer(gguf).end_tokens)
        return f"{models.url}: {base_name(sha256)}"


def render(result: dict[str, Any]) -> str:
    """Return the models with their places."""
    return "\n".join(f"{name}\n    {path}" for name, path in result["models"].items())
