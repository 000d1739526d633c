"""Models of an Ollama server: what it holds, and how a model gets onto it and off it again.

The server is handed GGUF files alone, as blobs under their SHA-256, and is told template and stop
texts each time: what it would guess for itself is not what training saw.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import ollama
from pydantic import ValidationError

from assistant.engines.engine import Message
from assistant.engines.server import FRESH, PREFIX, ServerErrors, is_loopback
from ingest.errors import (
    EngineUnavailableError,
    GroundtuneError,
    MissingModelError,
)
from ingest.model_file import sha256_of

DEFAULT_URL = "http://127.0.0.1:11434"
OLDEST = (0, 12, 11)
"""The first version that reports log-probabilities, which parity compares."""
UPLOAD_CHUNK = 1 << 20  # bytes
VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class Loaded(NamedTuple):
    """A model that the server holds in memory."""

    name: str
    bytes: int
    context_tokens: int


def base_name(sha256: str, prefix: str = PREFIX) -> str:
    """Return what the base model with this SHA-256 is called on the server."""
    return f"{prefix}{sha256[:12]}:latest"


def base_url(url: str) -> str:
    """Return `url` without a slash at its end; empty stands for the server on this machine."""
    return (url or DEFAULT_URL).rstrip("/")


def errors_of(url: str) -> ServerErrors:
    """Return the words for what the server at `url` does wrong."""
    return ServerErrors("Ollama", url, "ollama serve")


def check_version(url: str, version: str) -> None:
    """Refuse a server that is too old; one built from source calls itself 0.0.0 and is taken.

    Raises:
        EngineUnavailableError: names both versions.
    """
    found = VERSION.match(version)
    if found is None:
        raise EngineUnavailableError(
            f"{url} says that its Ollama version is {version!r}, which is no version.",
            hint="Is another program listening there? Set engine.url to an Ollama server.",
        )
    numbers = tuple(int(part) for part in found.groups())
    if (0, 0, 0) < numbers < OLDEST:
        oldest = ".".join(str(part) for part in OLDEST)
        raise EngineUnavailableError(
            f"The Ollama server at {url} has version {version}; {oldest} is the oldest that works.",
            hint="Install a newer one: https://ollama.com/download",
        )


class OllamaModels(contextlib.AbstractContextManager["OllamaModels"]):
    """The models of the Ollama server at one address. Calls block until they are done."""

    def __init__(self, url: str = "", *, timeout: float = 120.0) -> None:
        """Talk to the server at `url`; empty takes the one on this machine.

        `timeout` is in seconds, for connecting and for each silence of the server.
        """
        self.url = base_url(url)
        trust = not is_loopback(self.url)
        self._ollama = ollama.Client(self.url, timeout=timeout, trust_env=trust, limits=FRESH)
        # The official client knows neither version nor HEAD on a blob nor the debug rendering.
        self._http = httpx.Client(base_url=self.url, timeout=timeout, trust_env=trust, limits=FRESH)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._ollama.close()  # type: ignore[no-untyped-call]
        self._http.close()

    def version(self) -> str:
        """Return the server's version.

        Raises:
            EngineUnavailableError: it is not there, or too old.
        """
        with self._translated():
            version = str(self._http.get("/api/version").raise_for_status().json()["version"])
        check_version(self.url, version)
        return version

    def exists(self, name: str) -> bool:
        """Return whether the server has a model called `name`."""
        try:
            with self._translated():
                self._ollama.show(name)
        except MissingModelError:
            return False
        return True

    def show(self, name: str) -> Mapping[str, Any]:
        """Return template, parameters and details of the model called `name`.

        Raises:
            MissingModelError: the server does not have it.
        """
        with self._translated():
            return self._ollama.show(name).model_dump()

    def names(self) -> list[str]:
        """Return the names of all models on the server, sorted."""
        with self._translated():
            return sorted(str(model.model) for model in self._ollama.list().models)

    def loaded(self) -> list[Loaded]:
        """Return the models that are in the server's memory."""
        with self._translated():
            return [
                Loaded(str(model.model), int(model.size or 0), model.context_length or 0)
                for model in self._ollama.ps().models
            ]

    def has_blob(self, sha256: str) -> bool:
        """Return whether the server holds a file with this SHA-256 (64 hex digits)."""
        with self._translated():
            response = self._http.head(f"/api/blobs/sha256:{sha256}")
            if response.status_code == 404:
                return False
            response.raise_for_status()
            return True

    def upload(
        self, path: Path, sha256: str, on_bytes: Callable[[int], None] = lambda count: None
    ) -> None:
        """Send the file at `path` to the server, which checks its SHA-256.

        `on_bytes` is called with the number of bytes of each part that was sent.

        Raises:
            EngineError: the server refused it; a wrong SHA-256 is one reason.
        """

        def parts() -> Iterator[bytes]:
            with path.open("rb") as file:
                while part := file.read(UPLOAD_CHUNK):
                    yield part
                    on_bytes(len(part))

        with self._translated():
            self._http.post(
                f"/api/blobs/sha256:{sha256}",
                content=parts(),
                headers={"Content-Length": str(path.stat().st_size)},
            ).raise_for_status()

    def create(
        self,
        name: str,
        *,
        base: tuple[str, str],
        template: str,
        stop: Sequence[str],
        adapter: tuple[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the model `name` from blobs that the server holds; an older one is replaced.

        Args:
            name: `name:tag`.
            base: file name and SHA-256 of the base model's GGUF.
            template: a Go template, for those who call the model without us.
            stop: texts that end an answer.
            adapter: file name and SHA-256 of the LoRA's GGUF.
            parameters: further defaults of the model, such as `temperature`.

        Raises:
            EngineError: the server refused it.
        """
        with self._translated():
            self._ollama.create(
                name,
                files=_files(base),
                adapters=_files(adapter) if adapter else None,
                template=template,
                parameters={**(parameters or {}), "stop": list(stop)},
            )

    def delete(self, name: str) -> bool:
        """Take the model `name` off the server; return whether it was there."""
        try:
            with self._translated():
                self._ollama.delete(name)
        except MissingModelError:
            return False
        return True

    def render(self, name: str, messages: Sequence[Message]) -> str:
        """Return the prompt that the server's own template makes of `messages`.

        Raises:
            EngineError: the server cannot say.
        """
        turns = [{"role": m.role, "content": m.content} for m in messages]
        body = {"model": name, "messages": turns, "stream": False, "_debug_render_only": True}
        with self._translated():
            reply = self._http.post("/api/chat", json=body).raise_for_status().json()
            return str(reply["_debug_info"]["rendered_template"])

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what the two clients raise into our errors."""
        try:
            yield
        except (ConnectionError, httpx.TransportError) as error:
            raise errors_of(self.url).absent(error) from None
        except httpx.HTTPStatusError as error:
            # Its own error class knows how to find the message in such a body.
            said = ollama.ResponseError(error.response.text, error.response.status_code)
            raise self._refused(said) from None
        except ollama.ResponseError as error:
            raise self._refused(error) from None
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise errors_of(self.url).garbage(error) from None

    def _refused(self, error: ollama.ResponseError) -> GroundtuneError:
        message = str(error.error).strip()
        if error.status_code == 404:
            return MissingModelError(f"The Ollama server at {self.url} says: {message[:400]}")
        return errors_of(self.url).refused(error.status_code, message)


def _files(blob: tuple[str, str]) -> dict[str, str]:
    name, sha256 = blob
    return {name: f"sha256:{sha256}"}


def push_base(
    models: OllamaModels,
    gguf: Path,
    *,
    sha256: str = "",
    prefix: str = PREFIX,
    template: str = "{{ .Prompt }}",
    stop: Sequence[str] = (),
    on_bytes: Callable[[int], None] = lambda count: None,
) -> str:
    """Make the base model in `gguf` a model of the server and return its name there.

    Nothing is uploaded that the server already holds. `sha256` saves reading the file when it is
    known.
    """
    sha256 = sha256 or sha256_of(gguf)
    if not models.has_blob(sha256):
        models.upload(gguf, sha256, on_bytes)
    name = base_name(sha256, prefix)
    models.create(name, base=(gguf.name, sha256), template=template, stop=stop)
    return name
