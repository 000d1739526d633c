"""What compose.yaml promises, and its assistant run by hand: no Docker engine is needed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from assistant.config import load
from tests import chroma_server
from tests.ollama_server import OllamaServer
from tests.ports import free_port

ROOT = Path(__file__).parents[1]
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<word>[^}]*))?\}")
SECRET = re.compile(r"KEY|PASSWORD|SECRET|TOKEN")
FILLED_IN = {"GROUNDTUNE_ENGINE__API_KEY": "sk-test", "POSTGRES_PASSWORD": "p"}
READY_S = 300


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return found


SERVICES: dict[str, dict[str, Any]] = read("compose.yaml")["services"]


def filled(text: str, environ: Mapping[str, str]) -> str:
    """Put variables into a text as compose does."""

    def value(match: re.Match[str]) -> str:
        given = environ.get(match["name"], "")
        if not given and match["kind"] == "?":
            raise ValueError(f"{match['name']}: {match['word']}")
        return given or (match["word"] or "")

    return VARIABLE.sub(value, text)


def environment_of(service: str, environ: Mapping[str, str]) -> dict[str, str]:
    pairs = SERVICES[service]["environment"].items()
    return {name: filled(value, environ) for name, value in pairs}


def test_the_services_and_profiles_are_the_documented_ones() -> None:
    assert {name: service.get("profiles") for name, service in SERVICES.items()} == {
        "assistant": None,
        "ollama": None,
        "chroma": None,
        "vllm": ["vllm"],
        "postgres": ["postgres"],
    }


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_bounded_watched_and_pinned(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["mem_limit"]
    assert service["cpus"]
    check = service["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= check.keys()
    tag = service["image"].rpartition(":")[2]
    assert tag != "latest"
    assert re.search(r"\d", tag) or "build" in service


@pytest.mark.parametrize("name", SERVICES)
def test_no_port_is_open_to_others(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_no_two_services_want_the_same_port() -> None:
    taken = ["8000"]  # the assistant's, which listens there itself
    taken += [p.split(":")[1] for s in SERVICES.values() for p in s.get("ports", [])]
    assert len(taken) == len(set(taken))


def test_the_assistant_listens_on_the_loopback_address_alone() -> None:
    assistant = SERVICES["assistant"]
    assert assistant["network_mode"] == "host"
    assert "--host" not in " ".join(assistant["command"])  # `serve` refuses others, and needs none


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_have_no_default_and_must_be_given(name: str) -> None:
    for variable, value in SERVICES[name]["environment"].items():
        if SECRET.search(variable):
            assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), variable
            with pytest.raises(ValueError, match=r"see \.env\.example"):
                filled(value, {})


def test_the_example_of_the_environment_names_every_secret() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    given = {line.partition("=")[0] for line in lines if "=" in line and not line.startswith("# ")}
    asked = VARIABLE.finditer((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    assert {match["name"] for match in asked} == {name.lstrip("#") for name in given}
    assert {line for line in lines if line.startswith(tuple(FILLED_IN))} == {
        f"{name}=" for name in FILLED_IN
    }


def test_the_assistants_environment_is_made_of_real_settings(tmp_path: Path) -> None:
    (tmp_path / "groundtune.toml").write_text("", encoding="utf-8")
    environment = environment_of("assistant", FILLED_IN)
    settings = load(tmp_path / "groundtune.toml", environment).settings
    assert settings.home == Path("/data")
    assert (settings.engine.kind, settings.engine.url) == ("ollama", "http://127.0.0.1:11434")
    assert settings.engine.api_key.get_secret_value() == "sk-test"
    assert settings.store.vectors == "chroma:http://127.0.0.1:8002"
    assert SERVICES["chroma"]["ports"] == ["127.0.0.1:8002:8000"]
    assert environment.keys() - {"GROUNDTUNE_HOME", "GROUNDTUNE_CACHE"} == {
        name for name in environment if "__" in name
    }


def test_the_lines_of_the_example_lead_to_the_services(tmp_path: Path) -> None:
    (tmp_path / "groundtune.toml").write_text("", encoding="utf-8")
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    pairs = [line.lstrip("#").partition("=") for line in text.splitlines() if "=" in line]
    given = {n: filled(v, {"POSTGRES_PASSWORD": "p"}) for n, _, v in pairs if n.isupper()}
    environment = environment_of("assistant", given | FILLED_IN)
    settings = load(tmp_path / "groundtune.toml", environment).settings
    assert (settings.engine.kind, settings.engine.url) == ("openai", "http://127.0.0.1:8001")
    postgres = SERVICES["postgres"]
    assert settings.store.vectors == "chroma"
    assert "groundtune:p@127.0.0.1:5432/groundtune" in settings.store.state
    assert postgres["ports"] == ["127.0.0.1:5432:5432"]
    assert {postgres["environment"][f"POSTGRES_{n}"] for n in ("USER", "DB")} == {"groundtune"}


def test_every_volume_is_declared_and_adapters_lie_where_the_assistant_says() -> None:
    declared = set(read("compose.yaml")["volumes"])
    mounts = {name: service["volumes"] for name, service in SERVICES.items()}
    named = {v.partition(":")[0] for volumes in mounts.values() for v in volumes}
    assert {name for name in named if name.isalpha()} == declared
    assert "data:/data" in mounts["assistant"]
    assert "data:/data:ro" in mounts["vllm"]


def test_the_override_only_adds_gpus_to_known_services() -> None:
    override = read("compose.gpu.yaml")["services"]
    assert override.keys() == {"ollama", "vllm"}
    for service in override.values():
        assert service.keys() == {"deploy"}
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


def test_the_image_runs_as_a_user_without_rights() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^FROM python:3\.11\.\d+-slim-\w+$", text, re.MULTILINE)
    assert text.index("USER groundtune") < text.index("CMD")
    copied = re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE)
    assert all((ROOT / name).exists() for names in copied for name in names.split())


def compose(folder: Path, given: Mapping[str, str], *options: str) -> tuple[int, str]:
    """Return what compose's own client says of the files; it needs no engine for that."""
    plugin = shutil.which("docker-compose")
    client = [plugin] if plugin else [shutil.which("docker") or "", "compose"]
    if not client[0] or subprocess.run([*client, "version"], capture_output=True).returncode:
        pytest.skip("no compose client here")
    for name in ("compose.yaml", "compose.gpu.yaml"):
        shutil.copy(ROOT / name, folder)
    lines = [f"{name}={value}\n" for name, value in given.items()]
    (folder / ".env").write_text("".join(lines), encoding="utf-8")
    done = subprocess.run(
        [*client, *options, "config", "--quiet"],
        cwd=folder,
        env={name: os.environ[name] for name in ("PATH", "HOME")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


GPU = ("-f", "compose.yaml", "-f", "compose.gpu.yaml")


@pytest.mark.parametrize("gpu", [(), GPU], ids=["plain", "gpu"])
@pytest.mark.parametrize("profiles", [(), ("vllm",), ("postgres",), ("vllm", "postgres")])
def test_compose_itself_takes_the_files_with_every_profile(
    tmp_path: Path, gpu: tuple[str, ...], profiles: tuple[str, ...]
) -> None:
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    assert compose(tmp_path, FILLED_IN, *gpu, *chosen) == (0, "")


@pytest.mark.parametrize("missing", FILLED_IN)
def test_compose_itself_refuses_a_missing_secret(tmp_path: Path, missing: str) -> None:
    given = {name: value for name, value in FILLED_IN.items() if name != missing}
    code, said = compose(tmp_path, given)
    assert code != 0
    assert f"{missing} is missing a value: see .env.example" in said


@pytest.fixture
def assistant(ollama_server: OllamaServer, tmp_path: Path) -> Iterator[int]:
    """The assistant's own command and environment, and the port that it serves at."""
    if ollama_server.process is None:
        pytest.skip("it would put its base model onto a server that is not ours")
    with chroma_server.started(tmp_path / "chroma") as chroma_url:
        yield from _serving(
            tmp_path,
            {
                "GROUNDTUNE_ENGINE__URL": ollama_server.url,
                "GROUNDTUNE_STORE__VECTORS": f"chroma:{chroma_url}",
            },
        )


def _serving(tmp_path: Path, addresses: Mapping[str, str]) -> Iterator[int]:
    environment = environment_of("assistant", FILLED_IN | addresses)
    environment["GROUNDTUNE_HOME"] = str(tmp_path / "home")
    del environment["GROUNDTUNE_CACHE"]  # the models that are on this machine already
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    port = free_port()
    command = [
        word.replace("groundtune serve", f"groundtune serve --port {port}")
        for word in SERVICES["assistant"]["command"]
    ]
    kept = {k: v for k, v in os.environ.items() if k != "GROUNDTUNE_HOME" and "__" not in k}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=kept | environment, cwd=tmp_path, stdout=log, stderr=log
        )
    try:
        yield port
        assert process.poll() is None, (tmp_path / "log").read_text(encoding="utf-8")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


@pytest.mark.model
def test_the_command_in_compose_serves_and_becomes_ready(assistant: int) -> None:
    health = answered(f"http://127.0.0.1:{assistant}/healthz")
    assert health == {"status": "ok"}
    ready = answered(f"http://127.0.0.1:{assistant}/readyz")
    assert ready["ready"] is True, ready
    check = SERVICES["assistant"]["healthcheck"]["test"]
    program = check[3].replace(":8000/", f":{assistant}/")
    subprocess.run([sys.executable, check[2], program], check=True, timeout=120)


def answered(url: str) -> Any:
    """Ask until there is an answer."""
    end = time.monotonic() + READY_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=60) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            return json.load(error)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
