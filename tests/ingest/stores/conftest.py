"""The real servers behind the stores, one of each for all of these tests."""

import os
from collections.abc import Iterator

import pytest

from tests import chroma_server, postgresql_server


@pytest.fixture(scope="session")
def chroma_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chroma_server.started(tmp_path_factory.mktemp("chroma")) as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """The address of a database that all of these tests share."""
    binaries = postgresql_server.find_binaries()
    if binaries is None:
        if os.environ.get("CI"):
            pytest.fail(postgresql_server.MISSING)
        pytest.skip(postgresql_server.MISSING)
    with postgresql_server.started(binaries) as url:
        yield url


@pytest.fixture
def empty_postgresql(postgresql_url: str) -> str:
    """The same, with nothing in it."""
    postgresql_server.empty(postgresql_url)
    return postgresql_url
