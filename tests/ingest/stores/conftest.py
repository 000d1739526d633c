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
def postgresql_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster's first database, which has the rights to make others."""
    binaries = postgresql_server.find_binaries()
    if binaries is None:
        if os.environ.get("CI"):
            pytest.fail(postgresql_server.MISSING)
        pytest.skip(postgresql_server.MISSING)
    with postgresql_server.started(binaries, tmp_path_factory.mktemp("postgresql")) as url:
        yield url
