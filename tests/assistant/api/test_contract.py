"""The service keeps what its OpenAPI document promises, whatever it is sent.

More of it by hand: `GROUNDTUNE_EXAMPLES=500 python -m pytest tests/assistant/api/test_contract.py`.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from assistant.api.app import create_app
from ingest.files import Upload
from tests.assistant.api.conftest import PUMP, listening, tuned
from tests.fakes import ScriptedEngine, small_workspace

EXAMPLES = int(os.environ.get("GROUNDTUNE_EXAMPLES", "5"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def promised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The OpenAPI document of a service that runs."""
    workspace = small_workspace(tmp_path_factory.mktemp("home"), ScriptedEngine("To 2.1 N.m."))
    workspace.pipeline.run([Upload("sculpin.md", None, lambda: PUMP)], collection="default")
    tuned(workspace, "house:v1")
    with listening(create_app(workspace)) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_breaks_the_contract(promised: Any, mode: GenerationMode) -> None:
    tried = 0
    for found in promised.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def keeps_it(case: Any) -> None:
            case.call_and_validate(checks=CHECKS)

        try:
            keeps_it()
        except Unsatisfiable:
            continue  # a request without fields cannot be wrong
        tried += 1
    assert tried > 5
