"""Where the ledger's tests keep their ledgers: in SQLite files, or in the Postgres that VOLANO_TEST_POSTGRES names.

`tests/integration/test_ledger_on_postgres.py` starts such a server and runs these same tests on it.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

SERVER = "VOLANO_TEST_POSTGRES"


@pytest.fixture
def new_url(tmp_path: Path) -> Iterator[Callable[[], str]]:
    """URLs of databases that no one has used."""
    server, made = os.environ.get(SERVER), list[str]()

    def new() -> str:
        made.append(f"ledger_{uuid.uuid4().hex}")
        if not server:
            return f"sqlite:///{tmp_path / 'new folder' / made[-1]}.db"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {made[-1]}".encode())
        return make_url(server).set(database=made[-1]).render_as_string(hide_password=False)

    yield new
    if server:
        with psycopg.connect(server, autocommit=True) as connection:
            for name in made:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    """One such URL."""
    return new_url()


@pytest.fixture
def path(url: str) -> Path:
    """The file of the ledger of `url`."""
    if not url.startswith("sqlite"):
        pytest.skip("is about SQLite's file")
    return Path(url.removeprefix("sqlite:///"))
