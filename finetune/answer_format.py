"""The declared format of answers: a JSON schema, patterns, or both."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ingest.errors import ConfigError


class AnswerFormat:
    """Says why an answer is not as declared."""

    def __init__(self, schema: Mapping[str, Any] | None, patterns: Sequence[str] = ()) -> None:
        """Take a JSON schema (draft 2020-12), and regular expressions that are all to be found.

        Raises:
            ConfigError: a pattern is none.
        """
        from jsonschema import Draft202012Validator

        self.declared = schema is not None or bool(patterns)
        self._validator = None if schema is None else Draft202012Validator(dict(schema))
        try:
            self._patterns = [re.compile(pattern) for pattern in patterns]
        except re.error as error:
            raise ConfigError(f"{error.pattern!r} is no regular expression: {error}.") from None

    def reason(self, answer: str) -> str:
        """Return what is wrong with `answer`; empty where it is as declared."""
        for pattern in self._patterns:
            if not pattern.search(answer):
                return f"does not match {pattern.pattern!r}"
        if self._validator is None:
            return ""
        try:
            value = json.loads(answer)
        except ValueError as error:
            return f"is not JSON: {error}"
        issue = next(iter(self._validator.iter_errors(value)), None)
        if issue is None:
            return ""
        place = "/".join(str(part) for part in issue.absolute_path)
        return f"{place}: {issue.message}" if place else issue.message
