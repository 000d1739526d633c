"""The format of an assistant's answers: a JSON schema in a file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assistant.config import VoiceSettings
from ingest.errors import ConfigError


def schema_of(voice: VoiceSettings) -> dict[str, Any] | None:
    """Return the format of a voice's answers, if it has one.

    Raises:
        ConfigError: as `read_schema` does.
    """
    return None if voice.schema_file is None else read_schema(voice.schema_file)


def read_schema(path: Path) -> dict[str, Any]:
    """Read a JSON schema.

    Raises:
        ConfigError: no such file, not JSON, or not a schema.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        schema: Any = json.loads(path.read_text(encoding="utf-8"))
        Draft202012Validator.check_schema(schema)
    except OSError as error:
        raise ConfigError(f"The schema {path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"The schema {path} is not JSON: {error}.") from None
    except SchemaError as error:
        raise ConfigError(f"{path} is not a JSON schema: {error.message}.") from None
    if not isinstance(schema, Mapping):
        raise ConfigError(f"{path} is not a JSON schema of an object.")
    return dict(schema)
