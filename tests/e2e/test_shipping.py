"""A real server whose PostgreSQL fails: no answer waits for it, and it has each record once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from callers import Callers
from real_postgres import Postgres

from asfitted.prediction_log.query import Query
from asfitted.prediction_log.shipper import Shipper
from asfitted.prediction_log.sinks import sink_records

if TYPE_CHECKING:
    from conftest import Serve, Server, Site

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.xdist_group("shipping"),
    # MLflow asks SQLAlchemy for what the newest deprecates.
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*"),
]

PATIENCE_S = 60
# A backlog in memory would be more; what an interpreter needs varies by less.
GROWTH_KB = 60_000


def comes_true(is_so: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


def in_sink(url: str) -> list[dict[str, Any]]:
    return list(sink_records(url, Query(), on_problem=pytest.fail))


def memory_kb(server: Server) -> int:
    total = 0
    for pid in server.processes():
        status = Path(f"/proc/{pid}/status").read_text()
        total += int(status.partition("VmRSS:")[2].split()[0])
    return total


def is_of(callers: Callers, record: dict[str, Any]) -> bool:
    """The rows of the large requests have the same orders: these are told apart by their ids."""
    return callers.told.get(record["keys"]["order"]) == record["prediction_id"]


def test_a_sink_that_is_gone_for_a_while(
    site: Site, serve: Serve, tmp_path: Path, postgres: Postgres
) -> None:
    with postgres.database() as url:
        arguments = ["--env-manager", "local", "-w", "2"]
        server = serve(tmp_path, arguments=arguments, variables={"ASFITTED_SINK": url})
        with Callers(site, server, threads=3) as callers:
            callers.wait_for_more(30)
            assert comes_true(lambda: len(in_sink(url)) >= 30)

            # Nobody takes records, and no answer waits for that.
            postgres.kill()
            told = len(callers.told)
            callers.wait_for_more(150)
            many = site.payload("dataframe_split", site.rows)
            sizes = []
            for _ in range(36):
                assert server.ask(many)[0] == 200
                sizes.append(memory_kb(server))
            assert sizes[-1] - sizes[6] < GROWTH_KB, sizes
            postgres.start()
            assert comes_true(lambda: len(in_sink(url)) >= 36 * 600 + told + 150)

            # A session is killed while it waits, in a transaction, for a lock.
            with postgres.connect(url) as admin, postgres.connect(url) as other:
                admin.execute("BEGIN; LOCK TABLE predictions IN EXCLUSIVE MODE")
                waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                assert comes_true(lambda: other.execute(waiting).fetchone() is not None)
                callers.wait_for_more(50)
                (pid,) = other.execute(waiting).fetchone() or (0,)
                other.execute("SELECT pg_terminate_backend(%s)", [pid])
                admin.execute("COMMIT")
            callers.wait_for_more(50)
            told = len(callers.told)
            assert comes_true(lambda: len(in_sink(url)) >= 36 * 600 + told)

            postgres.kill()
            callers.wait_for_more(50)
        assert set(callers.statuses) == {200}
        begun = time.monotonic()
        server.stop()
        assert time.monotonic() - begun < 29, "it was killed: SIGTERM had not been enough"
        # It ended without its sink: the rest is in its journals, for whoever comes next.
        postgres.start()
        with Shipper(server.log, url, on_problem=pytest.fail) as shipper:
            assert shipper.ship() > 0
        found = in_sink(url)
    assert len({record["prediction_id"] for record in found}) == len(found)
    mine = [record for record in found if is_of(callers, record)]
    callers.assert_on_record(mine)
    assert len(mine) == len(callers.told) == len(callers.sent) == len(found) - 36 * 600


# Everything is read-only but the folder in which the server works.
WRAPPER = """#!/bin/sh
exec unshare --mount --propagation private sh -c '
mount --bind {folder} {folder} || exit 97
for at in $(cut -d" " -f5 /proc/self/mountinfo); do
  case $at in /proc*|/sys*|/dev*|{folder}) ;; *) mount -o remount,bind,ro "$at" || exit 97 ;; esac
done
exec {python} "$@"' sh "$@"
"""
TOUCH = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()"


def test_a_read_only_machine_with_one_folder_to_write_to(site: Site, serve: Serve) -> None:
    # Not below pytest's own folder, which is to be read-only.
    with tempfile.TemporaryDirectory(prefix="asfitted-rw-") as top:
        folder, outside = Path(top), site.folder / "touched"
        bin_ = folder / "bin"
        bin_.mkdir()
        wrapper = bin_ / "python"
        wrapper.write_text(WRAPPER.format(folder=folder, python=sys.executable))
        wrapper.chmod(0o755)
        uvicorn = shutil.which("uvicorn", path=os.path.dirname(sys.executable))
        assert uvicorn is not None
        (bin_ / "uvicorn").symlink_to(uvicorn)

        def touches(path: Path) -> int:
            command = [wrapper, "-c", TOUCH, path]
            return subprocess.run(command, capture_output=True, check=False).returncode

        if os.geteuid() != 0 or touches(folder / "inside") != 0:
            pytest.skip("no namespace with a read-only root here")
        assert touches(outside) != 0
        assert not outside.exists()
        url = f"sqlite:///{folder}/sink.sqlite"
        server = serve(
            folder,
            python=wrapper,
            model_uri=str(site.artifact),
            variables={"ASFITTED_SINK": url},
        )
        with Callers(site, server, threads=2) as callers:
            callers.wait_for_more(20)
        server.stop()
        assert set(callers.statuses) == {200}
        callers.assert_on_record(in_sink(url))
        assert len(in_sink(url)) == len(callers.told)
