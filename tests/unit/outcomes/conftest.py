"""A real PostgreSQL for the tests of outcomes, started when the first asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from real_postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The URL of a new, empty database."""
    with postgres.database() as url:
        yield url
