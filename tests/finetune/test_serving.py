"""Which server the commands talk to."""

from pathlib import Path

import pytest

from assistant.config import EngineSettings, Settings
from finetune.serving import deploy_adapter, parity_of, remove_adapter
from ingest.errors import NotFoundError, UsageError


def settings_of(home: Path, **engine: str) -> Settings:
    return Settings(home=home, engine=EngineSettings.model_validate(engine))


@pytest.mark.parametrize(
    ("kind", "other", "default"),
    [("ollama", "openai", "127.0.0.1:8001"), ("openai", "ollama", "127.0.0.1:11434")],
)
def test_the_address_of_one_kind_of_server_is_not_taken_for_that_of_another(
    tmp_path: Path, kind: str, other: str, default: str
) -> None:
    settings = settings_of(tmp_path, kind=kind, url="http://far.example:9")
    for command in (deploy, remove, parity):
        with pytest.raises(UsageError, match=rf"far\.example:9(.|\n)*--url http://{default}"):
            command(settings, other, None)
        with pytest.raises(NotFoundError, match="no tuned adapter"):  # it goes on to look for one
            command(settings, other, "http://near.example:9")
        with pytest.raises(NotFoundError, match="no tuned adapter"):
            command(settings, kind, None)


def deploy(settings: Settings, kind: str, url: str | None) -> None:
    deploy_adapter(settings, "tickets", merged=None, kind=kind, url=url)  # type: ignore[arg-type]


def remove(settings: Settings, kind: str, url: str | None) -> None:
    remove_adapter(settings, "tickets", kind=kind, url=url)  # type: ignore[arg-type]


def parity(settings: Settings, kind: str, url: str | None) -> None:
    parity_of(settings, "tickets", kind, 20, url)  # type: ignore[arg-type]


def test_an_address_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--url localhost.*http://127\.0\.0\.1:11434"):
        deploy(settings_of(tmp_path, kind="ollama"), "ollama", "localhost:11434")
    with pytest.raises(UsageError, match="has no address"):
        parity(settings_of(tmp_path), "embedded", "http://127.0.0.1:1")
