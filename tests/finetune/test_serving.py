"""Which server the commands talk to."""

from pathlib import Path

import pytest

from assistant.config import AnswerSettings, EngineSettings, Settings
from finetune.serving import deploy_adapter, parity_of, promote_adapter, remove_adapter
from ingest.errors import MismatchError, NotFoundError, UsageError
from tests.finetune.random_adapter import install


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


def deploy(settings: Settings, kind: str, url: str | None, name: str = "tickets") -> None:
    deploy_adapter(settings, name, merged=None, kind=kind, url=url)  # type: ignore[arg-type]


def remove(settings: Settings, kind: str, url: str | None) -> None:
    remove_adapter(settings, "tickets", kind=kind, url=url)  # type: ignore[arg-type]


def parity(settings: Settings, kind: str, url: str | None, name: str = "tickets") -> None:
    parity_of(settings, name, kind, 20, url)  # type: ignore[arg-type]


def test_an_address_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--url localhost.*http://127\.0\.0\.1:11434"):
        deploy(settings_of(tmp_path, kind="ollama"), "ollama", "localhost:11434")
    with pytest.raises(UsageError, match="has no address"):
        parity(settings_of(tmp_path), "embedded", "http://127.0.0.1:1")


@pytest.mark.model
def test_another_base_model_or_system_text_in_the_configuration_refuses_the_adapter(
    tmp_path: Path,
) -> None:
    settings = settings_of(tmp_path)
    install(settings)
    packaged = EngineSettings().model.partition("#")[0]  # the same model, with other weights
    other_base = settings_of(tmp_path, model=packaged)
    other_text = settings.model_copy(update={"answer": AnswerSettings(system="Be brief.")})
    for changed, what in ((other_base, "another base model"), (other_text, "another prompt")):
        for command in (deploy, parity):
            with pytest.raises(MismatchError, match=what):
                command(changed, "ollama", None, "random")
        with pytest.raises(MismatchError, match=what):
            promote_adapter(changed, "random", "embedded")
