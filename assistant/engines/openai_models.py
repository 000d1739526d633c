"""Models of an OpenAI-compatible server: which it serves, and adapters on vLLM."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import httpx

from assistant.engines.server import FRESH, PREFIX, ServerErrors, is_loopback, patience
from ingest.errors import EngineError, MissingModelError, UsageError

DEFAULT_URL = "http://127.0.0.1:8001"
"""One above our own, which is also the one that vLLM takes unless it is told otherwise."""
WHAT = "OpenAI-compatible"
START = "vllm serve MODEL --enable-lora --port 8001"
DTYPES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
UPDATING = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"


class ServedModel(NamedTuple):
    """A model as the server lists it."""

    name: str
    parent: str
    """What an adapter stands on; empty for a base model."""
    root: str
    """Where it lies, as the server sees it."""
    context_tokens: int
    """Its window; 0 where the server does not say."""


def base_url(url: str) -> str:
    """Return `url` without `/v1` and a slash at its end; empty is the server on this machine."""
    return (url or DEFAULT_URL).rstrip("/").removesuffix("/v1").rstrip("/")


def served_adapter(reference: str, prefix: str = PREFIX) -> str:
    """Return what the server calls the adapter `name:version`."""
    return prefix + reference


def errors_of(url: str) -> ServerErrors:
    """Return the words for what the server at `url` does wrong."""
    return ServerErrors(WHAT, url, START)


def headers_of(api_key: str) -> dict[str, str]:
    """Return what each request carries."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def message_of(body: str, api_key: str = "") -> str:
    """Return the error message in an answer, without the key should the server repeat it."""
    with contextlib.suppress(ValueError):
        found: Any = json.loads(body)
        for part in ("error", "message"):
            if isinstance(found, Mapping) and part in found:
                found = found[part]
        body = str(found)
    return body.replace(api_key, "***") if api_key else body


def denied(errors: ServerErrors, status: int, message: str) -> EngineError:
    """Return our error for an answer with `status`."""
    if status in (401, 403):
        return EngineError(
            f"The {errors.what} server at {errors.url} wants another key ({status}).",
            hint="Set the environment variable GROUNDTUNE_ENGINE__API_KEY.",
        )
    if (memory := errors.out_of_memory(message)) is not None:
        return memory
    return errors.refused(status, message)


def base_of(models: list[ServedModel], url: str) -> ServedModel:
    """Return the first model that is no adapter.

    Raises:
        MissingModelError: there is none.
    """
    for model in models:
        if not model.parent and not model.name.startswith(PREFIX):
            return model
    raise MissingModelError(
        f"The server at {url} lists no base model.", hint="Set engine.served_name to its name."
    )


class OpenAIModels(contextlib.AbstractContextManager["OpenAIModels"]):
    """The models of the server at one address. Calls block until they are done."""

    def __init__(self, url: str = "", *, api_key: str = "", timeout: float = 120.0) -> None:
        """Talk to the server at `url`; empty takes port 8001 of this machine.

        `timeout` is in seconds, for each silence of the server.
        """
        self.url = base_url(url)
        self._key = api_key
        self._errors = errors_of(self.url)
        self._timeout_s = timeout
        self._http = httpx.Client(
            base_url=self.url,
            timeout=patience(timeout),
            headers=headers_of(api_key),
            trust_env=not is_loopback(self.url),
            limits=FRESH,
        )

    def list(self) -> list[ServedModel]:
        """Return what the server serves, base models and adapters.

        Raises:
            EngineUnavailableError: no such server.
            EngineError: it is no such server, or wants a key.
        """
        with self._translated():
            response = self._http.get("/v1/models")
            self._accept(response)
            return [
                ServedModel(
                    str(model["id"]),
                    str(model.get("parent") or ""),
                    str(model.get("root") or ""),
                    int(model.get("max_model_len") or (model.get("meta") or {}).get("n_ctx") or 0),
                )
                for model in response.json()["data"]
            ]

    def weights(self, name: str) -> str:
        """Return the type of weights that the model called `name` is computed with, or "".

        llama.cpp's server says it in its list (`q8_0`, `f16`, ...). vLLM says it (`bf16`, `f16`,
        `f32`, or how they are quantised) only where VLLM_SERVER_DEV_MODE=1.
        """
        with self._translated():
            for model in self._http.get("/v1/models").json()["data"]:
                if model["id"] == name and (model.get("meta") or {}).get("ftype"):
                    return str(model["meta"]["ftype"]).lower()
            response = self._http.get("/server_info", params={"config_format": "json"})
            if response.status_code != 200:
                return ""
            config = response.json()["vllm_config"]["model_config"]
            if config.get("quantization"):
                return str(config["quantization"])
            return DTYPES.get(str(config["dtype"]).removeprefix("torch."), "")

    def load_adapter(self, name: str, folder: str) -> None:
        """Load the PEFT adapter in `folder`, as the server sees it, under `name`.

        Raises:
            UsageError: the server loads no adapters while it runs.
            EngineError: it cannot load this one.
        """
        with self._translated():
            body = {"lora_name": name, "lora_path": folder}
            response = self._http.post("/v1/load_lora_adapter", json=body)
            if response.status_code == 404 and "error" not in response.text:
                raise self._static()
            if response.status_code in (400, 404, 500):
                said = message_of(response.text, self._key)
                raise EngineError(
                    f"The server at {self.url} cannot load the adapter {name}: {said[:400]}",
                    hint=f"It must see the folder {folder} under this very path, and have been "
                    "started with --enable-lora and a large enough --max-lora-rank.",
                )
            self._accept(response)

    def unload_adapter(self, name: str) -> bool:
        """Take the adapter called `name` off the server; return whether it was there.

        Raises:
            UsageError: the server unloads no adapters while it runs.
        """
        with self._translated():
            response = self._http.post("/v1/unload_lora_adapter", json={"lora_name": name})
            if response.status_code == 404:
                if "error" not in response.text:
                    raise self._static()
                return False
            self._accept(response)
            return True

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _static(self) -> UsageError:
        return UsageError(
            f"The server at {self.url} takes no adapters while it runs.",
            hint=f"Start vLLM with {UPDATING}=True and --enable-lora, or name its adapters at the "
            "start with --lora-modules.",
        )

    def _accept(self, response: httpx.Response) -> None:
        if response.status_code != 200:
            said = message_of(response.text, self._key)
            raise denied(self._errors, response.status_code, said)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what the client raises into our errors."""
        try:
            yield
        except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
            raise self._errors.lost(error, begun=False, timeout_s=self._timeout_s) from None
        except (httpx.TransportError, OSError) as error:
            raise self._errors.absent(error) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._errors.garbage(error) from None
