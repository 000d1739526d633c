"""A tuned adapter is loaded by a vLLM server while it runs, and unloaded again.

Nothing is sent: the server reads the adapter's folder itself, so it must see the workspace under
the same path as we do.
"""

from assistant.adapter import Adapter
from assistant.engines.openai_models import OpenAIModels, base_of, served_adapter
from assistant.engines.server import PREFIX
from ingest.errors import UsageError
from ingest.model_file import sha256_of

WEIGHTS = "adapter_model.safetensors"
"""What the server reads, beside `adapter_config.json`."""


def load_adapter(
    models: OpenAIModels, adapter: Adapter, *, served_name: str = "", prefix: str = PREFIX
) -> dict[str, str]:
    """Have the server load `adapter`, unless it has, and return what the manifest remembers.

    Args:
        models: of the server.
        adapter: it must have been trained for the base model that the server serves.
        served_name: what the server calls the base model; empty takes the first that it lists.
        prefix: of the adapter's name on the server.

    Raises:
        UsageError: the adapter's files are gone, or the server loads none while it runs.
        EngineError: the server is not there, or cannot load this one.
    """
    folder = adapter.folder.resolve()
    if not (folder / WEIGHTS).is_file():
        raise UsageError(
            f"{adapter.reference} has no {WEIGHTS} in {folder}.",
            hint="Train it again: groundtune finetune CONFIG.toml",
        )
    name = served_adapter(adapter.reference, prefix)
    served = models.list()
    base = served_name or base_of(served, models.url).name
    there = next((model for model in served if model.name == name), None)
    if there is not None and there.root != str(folder):
        models.unload_adapter(name)
        there = None
    if there is None:
        models.load_adapter(name, str(folder))
    return {
        "model": name,
        "base": base,
        "weights": "lora",
        "sha256": sha256_of(folder / WEIGHTS),
        "template": "raw",
    }


def unload_adapter(models: OpenAIModels, adapter: Adapter, *, prefix: str = PREFIX) -> bool:
    """Have the server forget `adapter`; return whether it was there."""
    return models.unload_adapter(served_adapter(adapter.reference, prefix))
