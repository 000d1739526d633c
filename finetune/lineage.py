"""From an adapter back to the files that its rows came from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assistant.adapter import Adapter
from finetune.dataset import open_dataset
from ingest.errors import NotFoundError


def lineage(adapter: Adapter, datasets: Path) -> list[dict[str, Any]]:
    """Return what an adapter was made of, each `{"what", "name", "sha256"}`, nearest first.

    A data set that is no longer in the folder `datasets` is listed as the adapter remembers it,
    with `"missing": true`, and nothing follows it.
    """
    manifest = adapter.manifest
    found = [
        _step("adapter", adapter.reference, manifest.get("lora_sha256")),
        _step("base model", manifest.get("base"), manifest.get("base_sha256")),
    ]
    origin: Mapping[str, Any] | None = manifest.get("dataset")
    while origin:
        step = _step("data set", origin["name"], origin["sha256"])
        found.append(step)
        try:
            content = open_dataset(datasets / origin["name"]).manifest
        except NotFoundError:
            step["missing"] = True
            return found
        origin = content.get("made_from")
        if not origin:
            found += [_source(source) for source in _sources(content)]
    return found


def _sources(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    tickets = [manifest["tickets"]] if isinstance(manifest.get("tickets"), Mapping) else []
    return [*tickets, *manifest.get("sources", ())]


def _source(source: Mapping[str, Any]) -> dict[str, Any]:
    return _step("source", source.get("file") or source.get("name"), source.get("sha256"))


def _step(what: str, name: Any, sha256: Any) -> dict[str, Any]:
    return {"what": what, "name": name, "sha256": sha256}
